"""How many requests at once adapts to servers that complain, by a clock of the test's own."""

from __future__ import annotations

from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainmaster.storage.engine.concurrency import LONGEST_PAUSE, Concurrency

EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["succeeded", "throttled"]), st.floats(0, 5), st.floats(0, 3), st.none() | st.floats(0, 500)
    ),
    max_size=200,
)


@given(st.integers(1, 64), st.integers(0, 64), EVENTS)
def test_the_limit_stays_between_one_and_the_most_whatever_happens(
    first: int, more: int, events: list[tuple[str, float, float, float | None]]
) -> None:
    concurrency, now = Concurrency(first, first + more), 0.0
    for what, passed, took, retry_after in events:
        now += passed
        if what == "succeeded":
            concurrency.succeeded(concurrency.limit)
        else:
            concurrency.throttled(now - took, now, retry_after)
        assert 1 <= concurrency.limit <= first + more
        assert concurrency.closed_until <= now + LONGEST_PAUSE


def test_a_round_without_a_complaint_lets_one_more_in_and_a_complaint_halves() -> None:
    concurrency = Concurrency(16, 64)
    concurrency.throttled(began=1.0, now=2.0)
    assert concurrency.limit == 8
    for _ in range(9):  # the eight of the round that raises it, and what rounding swallowed
        concurrency.succeeded(8)
    assert concurrency.limit == 9
    concurrency.throttled(began=3.0, now=4.0)
    assert concurrency.limit == 4


def test_until_the_first_complaint_a_round_doubles_the_limit() -> None:
    concurrency = Concurrency(8, 64)
    for limit in (8, 16, 32, 64):
        assert concurrency.limit == limit
        for _ in range(limit):
            concurrency.succeeded(concurrency.limit)
    assert concurrency.limit == 64


def test_all_that_was_sent_before_it_was_lowered_lowers_it_once() -> None:
    concurrency = Concurrency(32, 64)
    for answered in range(20):
        concurrency.throttled(began=1.0 + answered / 100, now=2.0 + answered / 100)
    assert concurrency.limit == 16
    concurrency.throttled(began=2.5, now=3.0)
    assert concurrency.limit == 8


def test_a_limit_nobody_makes_use_of_does_not_grow() -> None:
    concurrency = Concurrency(8, 64)
    for _ in range(1000):
        concurrency.succeeded(7)
    assert concurrency.limit == 8


def test_a_server_that_asks_for_a_pause_gets_it_and_not_more_than_a_minute() -> None:
    concurrency = Concurrency(8, 64)
    concurrency.throttled(began=0.0, now=1.0, retry_after=7.0)
    concurrency.throttled(began=0.0, now=1.5, retry_after=2.0)
    assert concurrency.closed_until == 8.0
    concurrency.throttled(began=0.0, now=2.0, retry_after=86_400.0)
    assert concurrency.closed_until == 2.0 + LONGEST_PAUSE


def test_with_a_server_that_bears_so_many_it_settles_around_as_many() -> None:
    """A simulated server: each request takes a second; it throttles whatever is beyond what it bears at that moment."""
    bears, concurrency, now, at_work = 20, Concurrency(4, 64), 0.0, deque[tuple[float, bool]]()
    limits, complaints, done = [], 0, 0
    for _ in range(20_000):
        while len(at_work) < concurrency.limit:
            at_work.append((now, len(at_work) >= bears))
        began, refused = at_work.popleft()
        now = max(now, began + (0.01 if refused else 1.0))
        if refused:
            complaints += 1
            concurrency.throttled(began, now)
        else:
            done += 1
            concurrency.succeeded(len(at_work) + 1)
        limits.append(concurrency.limit)
    settled = limits[5000:]
    assert bears / 2 <= sum(settled) / len(settled) <= bears + 1
    assert max(settled) <= bears + 1
    assert complaints < done / 8


@pytest.mark.parametrize(("first", "most"), [(0, 4), (5, 4), (1, 0)])
def test_a_start_beyond_the_most_is_refused(first: int, most: int) -> None:
    with pytest.raises(ValueError, match="1 ≤ first ≤ most"):
        Concurrency(first, most)
