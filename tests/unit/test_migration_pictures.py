"""The throughput of a migration: what its batches moved together, and the picture of it."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainmaster.migration.pictures import MOST_STRETCHES, Stretch, picture, throughput

moments = st.floats(0, 1e5)
STRETCHES = st.lists(st.builds(lambda began, lasted, size: Stretch(began, began + lasted, size), moments, moments, st.integers(0, 10**12)), max_size=30)  # fmt: skip


def test_batches_at_work_at_once_are_added_up() -> None:
    two = [Stretch(0, 10, 1_000), Stretch(5, 15, 2_000)]
    assert throughput(two) == [(0, 100), (5, 300), (10, 200), (15, 0)]


@given(STRETCHES)
def test_what_moved_is_the_area_below(stretches: list[Stretch]) -> None:
    steps = throughput(stretches)
    moved = sum(rate * (after - at) for (at, rate), (after, _) in pairwise(steps))
    assert moved == pytest.approx(sum(one.size for one in stretches), rel=1e-3, abs=1)
    assert all(rate >= 0 for _, rate in steps)
    assert [at for at, _ in steps] == sorted(at for at, _ in steps)


@pytest.mark.parametrize(
    "stretches",
    [
        [Stretch(1e9, 1e9, 5)] * 3,  # over before the clock moved
        [Stretch(1e9 + day * 86400, 1e9 + (day + 2) * 86400, 10**13) for day in range(3)],
        [Stretch(number, number + 9, 10**6) for number in range(MOST_STRETCHES + 1)],
    ],
)
def test_any_run_can_be_drawn(stretches: list[Stretch]) -> None:
    drawn = picture(stretches, "$5 of <b> and {x}")
    assert drawn
    assert drawn.startswith(b"\x89PNG")


def test_there_is_no_picture_of_nothing_nor_of_so_few_batches_that_it_would_be_flat() -> None:
    assert picture([Stretch(0, 5, 10), Stretch(5, 9, 20), Stretch(5, 9, 0)], "two") is None
    assert picture([Stretch(0, 5, 0)], "nothing") is None
    assert picture([], "nothing") is None
