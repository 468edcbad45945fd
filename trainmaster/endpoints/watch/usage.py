"""What was used of what is paid by use: the seconds that requests took, as CloudWatch says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

from trainmaster.budget.metering import Measured
from trainmaster.budget.serverless import ServerlessPrice
from trainmaster.endpoints.watch.datapoints import Series, datapoints, kept_period
from trainmaster.errors import StorageUnavailableError

if TYPE_CHECKING:
    from mypy_boto3_cloudwatch import CloudWatchClient

LATE = timedelta(minutes=5)
"""CloudWatch may show what happened so much after it did."""
LATENCY = "ModelLatency"
"""In microseconds, of each request: what AWS bills is that time, and not its own around it."""
Span = tuple[datetime, datetime]


@dataclass(frozen=True)
class Used:
    """US dollars by tranche, and when the newest request was that CloudWatch knows of."""

    cost: Measured
    newest: datetime | None


def used(
    cloudwatch: CloudWatchClient,
    endpoint: str,
    memory: Mapping[str, int],
    spans: Mapping[int, Span],
    *,
    price: ServerlessPrice,
    now: datetime,
) -> Used:
    """What requests cost in each span, by the memory in MB of each variant; spans that meet share no request and lose none.

    Raises botocore's errors, and StorageUnavailableError where CloudWatch could not read a metric.
    """
    if not spans:
        return Used({}, None)
    begins, ends = min(begin for begin, _ in spans.values()), max(end for _, end in spans.values())
    period = kept_period(now - begins)
    series = {variant: Series(endpoint, variant, LATENCY, "Sum", period) for variant in memory}
    read = datapoints(cloudwatch, list(series.values()), _floor(begins, period), _floor(ends, period) + _second)
    if missing := [variant for variant, one in series.items() if one not in read]:
        raise StorageUnavailableError(
            f"CloudWatch does not say how long requests to {endpoint} took ({', '.join(missing)})."
        )
    cost = dict.fromkeys(spans, Decimal(0))
    for number, (begin, end) in spans.items():
        for variant, one in series.items():
            inside = [value for at, value in read[one] if _floor(begin, period) <= at < _floor(end, period)]
            seconds = Decimal(str(sum(inside))) / 10**6
            cost[number] += price.seconds(memory[variant], seconds)
    return Used(cost, max((at for one in series.values() for at, _ in read[one]), default=None))


_second = timedelta(seconds=1)


def _floor(moment: datetime, period: int) -> datetime:
    return datetime.fromtimestamp(moment.timestamp() // period * period, UTC)
