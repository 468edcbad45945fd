"""Requests of what is paid by use are counted in the span they were made in: once each, and none is lost."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainmaster.budget.serverless import serverless_price
from trainmaster.endpoints.watch.usage import Span, Used, used
from trainmaster.errors import StorageUnavailableError

BEGAN = datetime(2026, 11, 1, 12, 0, 17, tzinfo=UTC)
MEMORY = {"all-traffic": 1024}


class CloudWatch:
    """Answers by the period it is asked for, from requests at moments that took so many microseconds."""

    def __init__(self, requests: Sequence[tuple[datetime, float]], status: str = "Complete") -> None:
        self.requests, self.status = requests, status
        self.periods: set[int] = set()

    def get_paginator(self, _: str) -> CloudWatch:
        return self

    def paginate(self, *, MetricDataQueries: Any, StartTime: datetime, EndTime: datetime, **_: Any) -> Any:  # noqa: N803
        for query in MetricDataQueries:
            period = query["MetricStat"]["Period"]
            self.periods.add(period)
            sums: dict[datetime, float] = {}
            for at, micros in self.requests:
                start = datetime.fromtimestamp(at.timestamp() // period * period, UTC)
                if StartTime <= start < EndTime:
                    sums[start] = sums.get(start, 0) + micros
            answer = {"Id": query["Id"], "Timestamps": list(sums), "Values": list(sums.values())}
            yield {"MetricDataResults": [{**answer, "StatusCode": self.status}]}


def read(cloudwatch: Any, spans: dict[int, Span], now: datetime) -> Used:
    return used(cloudwatch, "houses", MEMORY, spans, price=serverless_price("us-east-1"), now=now)


def tranches(count: int, until: datetime) -> dict[int, Span]:
    starts = [BEGAN + number * timedelta(hours=6) for number in range(count)]
    return {number: (start, min(start + timedelta(hours=6), until)) for number, start in enumerate(starts)}


@given(st.lists(st.tuples(st.integers(60, 18 * 3600 - 120), st.integers(1, 10**6)), max_size=30))
def test_every_request_is_counted_once(requests: list[tuple[int, int]]) -> None:
    until = BEGAN + timedelta(hours=18)
    made = [(BEGAN + timedelta(seconds=after), float(micros)) for after, micros in requests]
    cost = read(CloudWatch(made), tranches(3, until), until).cost
    assert sum(cost.values()) == Decimal(sum(micros for _, micros in requests)) / 10**6 * Decimal("0.00002")


def test_requests_are_counted_in_their_own_span() -> None:
    until = BEGAN + timedelta(hours=12)
    made = [(BEGAN + timedelta(hours=hours), 10.0**6) for hours in (1, 2, 7)]
    found = read(CloudWatch(made), tranches(2, until), until)
    assert found.cost == {0: Decimal("0.00004"), 1: Decimal("0.00002")}
    assert found.newest == made[-1][0].replace(second=0)


@pytest.mark.parametrize(("days", "period"), [(1, 60), (20, 300), (70, 3600)])
def test_what_is_long_ago_is_read_as_finely_as_cloudwatch_keeps_it(days: int, period: int) -> None:
    cloudwatch = CloudWatch([])
    read(cloudwatch, tranches(1, BEGAN + timedelta(hours=6)), BEGAN + timedelta(days=days))
    assert cloudwatch.periods == {period}


def test_what_cloudwatch_could_not_read_is_not_taken_for_nothing() -> None:
    until = BEGAN + timedelta(hours=6)
    with pytest.raises(StorageUnavailableError, match="how long requests to houses took"):
        read(CloudWatch([], status="InternalError"), tranches(1, until), until)


def test_without_spans_nothing_is_asked() -> None:
    assert read(None, {}, BEGAN) == Used({}, None)
