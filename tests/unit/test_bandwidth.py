"""Bytes go no faster than they may, by a clock of the test's own."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainmaster.storage.engine.bandwidth import Bandwidth


@given(st.integers(1, 1000), st.lists(st.tuples(st.integers(0, 5000), st.floats(0, 10)), min_size=1, max_size=50))
def test_never_more_passes_than_the_time_allows(rate: int, wanted: list[tuple[int, float]]) -> None:
    bandwidth, now, passed = Bandwidth(rate), 0.0, list[tuple[float, int]]()
    for size, later in wanted:
        now += later
        passed.append((now + bandwidth.reserve(size, now), size))
    for first, (start, _) in enumerate(passed):
        for last in range(first, len(passed)):
            moved = sum(size for _, size in passed[first:last])  # the last one itself may be larger than the bucket
            assert moved <= rate * (passed[last][0] - start + 1.0) + 1e-6 * rate


def test_one_after_the_other_each_waits_for_what_went_before() -> None:
    bandwidth = Bandwidth(100)
    assert [bandwidth.reserve(100, 10.0) for _ in range(4)] == [0.0, 0.0, 1.0, 2.0]
    assert bandwidth.reserve(100, 20.0) == 0.0


def test_without_a_cap_nobody_waits() -> None:
    assert Bandwidth(None).reserve(1 << 40, 0.0) == 0.0


def test_a_cap_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Bandwidth(0)
