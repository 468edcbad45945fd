"""What AWS publishes of an endpoint's invocations to CloudWatch, namespace AWS/SageMaker, by EndpointName and VariantName."""

from __future__ import annotations

import math
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import accumulate

NAMESPACE = "AWS/SageMaker"
MINUTE = 60
KEPT_MINUTES = 15 * 24 * 60
"""As long as AWS keeps data of one minute."""
UNITS = {"ModelLatency": "Microseconds", "OverheadLatency": "Microseconds"}
"""Of the others it is None."""
METRICS = (
    "Invocations",
    "InvocationsPerInstance",
    "Invocation4XXErrors",
    "Invocation5XXErrors",
    "InvocationModelErrors",
    "ModelLatency",
    "OverheadLatency",
)
_FINENESS = 100.0
"""Values are told apart that differ by more than 1 %."""


@dataclass
class Distribution:
    """What is known of many values of 0 and more: exact but for percentiles, which are within 1 %."""

    count: int = 0
    total: float = 0.0
    least: float = math.inf
    most: float = 0.0
    shares: Counter[int | None] = field(default_factory=Counter)

    def add(self, value: float) -> None:
        self.count += 1
        self.total += value
        self.least = min(self.least, value)
        self.most = max(self.most, value)
        self.shares[round(math.log(value) * _FINENESS) if value > 0 else None] += 1

    def merge(self, other: Distribution) -> None:
        self.count += other.count
        self.total += other.total
        self.least = min(self.least, other.least)
        self.most = max(self.most, other.most)
        self.shares.update(other.shares)

    def statistic(self, name: str) -> float:
        """Sum, Average, Minimum, Maximum, SampleCount or a percentile such as p95. Raises KeyError for another."""
        if name.startswith("p"):
            return self._percentile(name)
        return {
            "Sum": self.total,
            "Average": self.total / self.count,
            "Minimum": self.least,
            "Maximum": self.most,
            "SampleCount": float(self.count),
        }[name]

    def _percentile(self, name: str) -> float:
        try:
            wanted = self.count * float(name[1:]) / 100
        except ValueError:
            raise KeyError(name) from None
        ordered = sorted(self.shares, key=lambda share: -math.inf if share is None else share)
        for share, reached in zip(ordered, accumulate(self.shares[share] for share in ordered), strict=True):
            if reached >= wanted:
                value = 0.0 if share is None else math.exp(share / _FINENESS)
                return min(max(value, self.least), self.most)
        return self.most


@dataclass(frozen=True)
class Series:
    """One metric of one variant."""

    endpoint: str
    variant: str
    metric: str


class InvocationMetrics:
    """Counts in memory by the minute, as CloudWatch shows it. Safe to share between threads."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._minutes: dict[tuple[str, str], dict[int, dict[str, Distribution]]] = {}

    def count(
        self, endpoint: str, variant: str, *, status: int, model_seconds: float, overhead_seconds: float, instances: int
    ) -> None:
        """One invocation; `status` is the model's, 0 when it gave none in time or at all."""
        values = (
            1.0,
            1.0 / max(instances, 1),
            float(400 <= status < 500),
            float(status >= 500),
            float(not 200 <= status < 300),
            model_seconds * 1e6,
            overhead_seconds * 1e6,
        )
        minute = int(self._clock() // MINUTE)
        with self._lock:
            known = self._minutes.setdefault((endpoint, variant), {})
            if minute not in known:
                known[minute] = {metric: Distribution() for metric in METRICS}
                for old in [one for one in known if one <= minute - KEPT_MINUTES]:
                    del known[old]
            for distribution, value in zip(known[minute].values(), values, strict=True):
                distribution.add(value)

    def during(self, series: Series, start: float, end: float) -> Distribution | None:
        """Of the minutes that begin within these epoch seconds; None when nothing was counted."""
        found = Distribution()
        for values in self.periods(series, start, end, MINUTE).values():
            found.merge(values)
        return found if found.count else None

    def periods(self, series: Series, start: float, end: float, period: int) -> dict[int, Distribution]:
        """What was counted in each period with minutes that begin within these epoch seconds, by when it began."""
        found: dict[int, Distribution] = defaultdict(Distribution)
        within = range(math.ceil(start / MINUTE), math.ceil(end / MINUTE))
        with self._lock:
            known = self._minutes.get((series.endpoint, series.variant), {})
            for minute in within if len(within) < len(known) else list(known):
                if minute in within and minute in known and series.metric in known[minute]:
                    found[minute * MINUTE // period * period].merge(known[minute][series.metric])
        return dict(found)

    def all(self) -> Iterator[tuple[Series, int, Distribution]]:
        """Everything counted: each series, the epoch second its minute began, and its values."""
        with self._lock:
            known = [
                (Series(endpoint, variant, metric), minute * MINUTE, distribution)
                for (endpoint, variant), minutes in self._minutes.items()
                for minute, distributions in minutes.items()
                for metric, distribution in distributions.items()
            ]
        yield from known
