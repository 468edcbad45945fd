"""What CloudWatch has of endpoints, and of anything else: many series in one call, each with what is known of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from trainmaster.errors import WaitTimedOutError

if TYPE_CHECKING:
    from mypy_boto3_cloudwatch import CloudWatchClient

NAMESPACE = "AWS/SageMaker"
AT_ONCE = 500
"""Series that GetMetricData gives in one call."""
MOST_PAGES = 1000
"""Of one call's answer, far more than its 100,800 datapoints a page need: what has no end must end."""


@dataclass(frozen=True)
class Series:
    """One metric of one variant, by a statistic such as Sum or p95 of each period of so many seconds."""

    endpoint: str
    variant: str
    metric: str
    statistic: str
    period: int

    def query(self, number: int) -> dict[str, Any]:
        dimensions = [
            {"Name": "EndpointName", "Value": self.endpoint},
            {"Name": "VariantName", "Value": self.variant},
        ]
        metric = {"Namespace": NAMESPACE, "MetricName": self.metric, "Dimensions": dimensions}
        return {
            "Id": f"m{number}",
            "MetricStat": {"Metric": metric, "Period": self.period, "Stat": self.statistic},
            "ReturnData": True,
        }


class Queried(Protocol):
    """A series of anything: hashable, and told apart from others by what it is asked with."""

    def query(self, number: int) -> dict[str, Any]:
        """A MetricDataQuery with the id `m` and the number."""
        ...


S = TypeVar("S", bound=Queried)
Points = Sequence[tuple[datetime, float]]
"""Each the beginning of a period and its value; a period without one has none."""


def datapoints(
    cloudwatch: CloudWatchClient, wanted: Sequence[S], begins: datetime, ends: datetime
) -> Mapping[S, Points]:
    """Of each series what CloudWatch has between two moments, oldest first. One it could not read is absent: unknown, not none.

    Raises botocore's errors, and WaitTimedOutError when an answer does not end.
    """
    found: dict[S, Points] = {}
    begins = begins.replace(second=0, microsecond=0)  # as CloudWatch does: what began with the minute is of it
    for start in range(0, len(wanted), AT_ONCE):
        found |= _read(cloudwatch, wanted[start : start + AT_ONCE], begins, ends)
    return found


def period_of(length: timedelta) -> int:
    """In seconds, how long a period may be to show so much time finely enough."""
    return 60 if length <= timedelta(hours=3) else 300 if length <= timedelta(days=1) else 3600


def kept_period(age: timedelta) -> int:
    """In seconds, the shortest period CloudWatch still has of what is so old: minutes for 15 days, five for 63; a little less."""
    return 60 if age <= timedelta(days=14) else 300 if age <= timedelta(days=62) else 3600


def _read(cloudwatch: CloudWatchClient, batch: Sequence[S], begins: datetime, ends: datetime) -> dict[S, Points]:
    points: dict[str, list[tuple[datetime, float]]] = {}
    unread: set[str] = set()
    queries: Any = [series.query(number) for number, series in enumerate(batch)]
    pages = cloudwatch.get_paginator("get_metric_data").paginate(
        MetricDataQueries=queries, StartTime=begins, EndTime=ends, ScanBy="TimestampAscending"
    )
    for number, page in enumerate(pages):
        if number == MOST_PAGES:
            raise WaitTimedOutError(f"CloudWatch's answer had not ended after {MOST_PAGES} pages.")
        for result in page["MetricDataResults"]:
            read = zip(result["Timestamps"], result["Values"], strict=True)
            points.setdefault(result["Id"], []).extend(read)
            if result.get("StatusCode") in {"InternalError", "Forbidden"}:
                unread.add(result["Id"])
    return {
        series: sorted(points.get(f"m{number}", []))
        for number, series in enumerate(batch)
        if f"m{number}" not in unread
    }
