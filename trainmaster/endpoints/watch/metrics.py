"""How each version of an endpoint did: how often it was called, how fast it answered, how often it failed, and what that cost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import TYPE_CHECKING

from trainmaster.budget.money import rounded, shown
from trainmaster.budget.stays import Stay, stays_of
from trainmaster.endpoints.deploying import find_config
from trainmaster.endpoints.metering import endpoint_arn
from trainmaster.endpoints.plan import VARIANT
from trainmaster.endpoints.watch.datapoints import Points, Series, datapoints, kept_period, period_of
from trainmaster.errors import StorageUnavailableError
from trainmaster.training.desk import Desk

if TYPE_CHECKING:
    from mypy_boto3_cloudwatch import CloudWatchClient

LOOK_BACK = timedelta(hours=24)
PERCENTILES = ("p50", "p95", "p99")
_COUNTS = ("Invocations", "InvocationModelErrors", "Invocation4XXErrors", "Invocation5XXErrors")
Span = tuple[datetime, datetime]
_Kind = tuple[str, str, str]  # variant, metric, statistic


@dataclass(frozen=True)
class VariantMetrics:
    """One variant of a version. Latencies are the model's, in milliseconds, None where nobody called; each is the mean of the
    percentiles of CloudWatch's periods, weighted by their calls. `errors` are what the model did not answer by 2xx."""

    variant: str
    invocations: int
    milliseconds: Mapping[str, float | None]
    errors: int
    client_errors: int
    server_errors: int

    @property
    def error_percent(self) -> float | None:
        """None where nobody called."""
        return 100 * self.errors / self.invocations if self.invocations else None


@dataclass(frozen=True)
class VersionMetrics:
    """One configuration of an endpoint while it alone served, within the time looked at. `cost` is its part of what its hours cost in
    the books, in US dollars."""

    endpoint: str
    config: str
    begins: datetime
    ends: datetime
    variants: Sequence[VariantMetrics]
    cost: Decimal

    @property
    def invocations(self) -> int:
        return sum(one.invocations for one in self.variants)

    @property
    def cost_per_1000(self) -> Decimal | None:
        """US dollars for a thousand predictions; None where there was none."""
        return rounded(self.cost * 1000 / self.invocations) if self.invocations else None

    def rows(self) -> Iterator[dict[str, str]]:
        """For a table, one of each variant."""
        for one in self.variants:
            latencies = {name: _milliseconds(one.milliseconds[name]) for name in PERCENTILES}
            yield {
                "version": self.config,
                "variant": one.variant,
                "from": f"{self.begins:%Y-%m-%d %H:%M}",
                "to": f"{self.ends:%Y-%m-%d %H:%M}",
                "invocations": f"{one.invocations:,}",
                **latencies,
                "errors": "" if one.error_percent is None else f"{one.error_percent:.2f} %",
                "4xx": f"{one.client_errors:,}",
                "5xx": f"{one.server_errors:,}",
                "cost": shown(self.cost),
                "per 1,000": "" if self.cost_per_1000 is None else shown(self.cost_per_1000),
            }


def version_metrics(desk: Desk, endpoint_name: str, look_back: timedelta = LOOK_BACK) -> list[VersionMetrics]:
    """Every version that served within `look_back`, the newest first.

    CloudWatch does not tell versions apart, so only the time in which one alone was there counts for it: while one replaces
    another, calls are nobody's. Raises botocore's errors, and StorageUnavailableError where CloudWatch could not read a metric.
    """
    now = desk.ledger.now()
    stays = stays_of(desk.ledger, endpoint_arn(desk, endpoint_name))
    by_config: dict[str, list[tuple[Stay, Span]]] = {}
    for stay, span in alone(stays, now - look_back, now):
        by_config.setdefault(stay.part, []).append((stay, span))
    found = [_of_version(desk, endpoint_name, config, served, now) for config, served in by_config.items()]
    return sorted(found, key=lambda version: version.ends, reverse=True)


def alone(stays: Sequence[Stay], begins: datetime, ends: datetime) -> Iterator[tuple[Stay, Span]]:
    """Of each stay the stretches of time in which no other was there, within two moments."""
    changes = [at for stay in stays for at in (stay.began_at, stay.ended_at) if at and begins < at < ends]
    for start, end in pairwise(sorted({begins, *changes, ends})):
        there = [stay for stay in stays if stay.began_at <= start and (stay.ended_at is None or stay.ended_at >= end)]
        if len(there) == 1:
            yield there[0], (start, end)


def _of_version(
    desk: Desk, endpoint: str, config_name: str, served: Sequence[tuple[Stay, Span]], now: datetime
) -> VersionMetrics:
    config = find_config(desk.client("sagemaker"), config_name) or {}
    variants = [one["VariantName"] for one in config.get("ProductionVariants", [{"VariantName": VARIANT}])]
    gathered: dict[_Kind, list[tuple[datetime, float]]] = {}
    cost = Decimal(0)
    for stay, (begins, ends) in served:
        period = max(period_of(ends - begins), kept_period(now - begins))
        wanted = [Series(endpoint, *kind, period) for kind in _kinds(variants)]
        for series, points in _read(desk.client("cloudwatch"), wanted, (begins, ends)).items():
            gathered.setdefault((series.variant, series.metric, series.statistic), []).extend(points)
        whole = (stay.ended_at or now) - stay.began_at
        share = Decimal(str((ends - begins).total_seconds())) / Decimal(str(max(whole.total_seconds(), 1e-6)))
        cost += stay.cost * min(share, Decimal(1))
    return VersionMetrics(
        endpoint,
        config_name,
        min(begins for _, (begins, _) in served),
        max(ends for _, (_, ends) in served),
        [_of_variant(gathered, variant) for variant in variants],
        rounded(cost),
    )


def _kinds(variants: Sequence[str]) -> Iterator[_Kind]:
    for variant in variants:
        yield from ((variant, metric, "Sum") for metric in _COUNTS)
        yield from ((variant, "ModelLatency", percentile) for percentile in PERCENTILES)


def _read(cloudwatch: CloudWatchClient, wanted: Sequence[Series], span: Span) -> Mapping[Series, Points]:
    found = datapoints(cloudwatch, wanted, *span)
    if len(found) < len(wanted):
        raise StorageUnavailableError(f"CloudWatch does not say how {wanted[0].endpoint} did; later it may.")
    return found


def _of_variant(gathered: Mapping[_Kind, Points], variant: str) -> VariantMetrics:
    of_it = {(metric, statistic): points for (one, metric, statistic), points in gathered.items() if one == variant}
    counts = {metric: round(sum(value for _, value in of_it.get((metric, "Sum"), ()))) for metric in _COUNTS}
    calls = dict(of_it.get(("Invocations", "Sum"), ()))
    return VariantMetrics(
        variant,
        counts["Invocations"],
        {one: _weighted(of_it.get(("ModelLatency", one), ()), calls) for one in PERCENTILES},
        counts["InvocationModelErrors"],
        counts["Invocation4XXErrors"],
        counts["Invocation5XXErrors"],
    )


def _weighted(points: Points, calls: Mapping[datetime, float]) -> float | None:
    """In milliseconds, of CloudWatch's microseconds."""
    weights = [(value, calls.get(at, 0.0)) for at, value in points]
    total = sum(weight for _, weight in weights)
    return sum(value * weight for value, weight in weights) / total / 1000 if total else None


def _milliseconds(value: float | None) -> str:
    return "" if value is None else f"{value:.1f} ms"
