"""Bytes held at once never exceed their budget, and nothing waits for ever."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainmaster.storage.engine.in_flight import InFlight


@given(st.integers(1, 1000), st.lists(st.integers(0, 1500), max_size=60), st.data())
def test_what_fits_never_exceeds_the_budget_but_for_one_that_is_alone(
    limit: int, sizes: list[int], data: st.DataObject
) -> None:
    budget, held = InFlight(limit), list[int]()
    for size in sizes:
        while not budget.fits(size):
            assert held, "nothing is held, and yet it does not fit"
            budget.give_back(held.pop(data.draw(st.integers(0, len(held) - 1))))
        budget.take(size)
        held.append(size)
        assert budget.now == sum(held)
        assert budget.now <= limit or sum(one > 0 for one in held) == 1
        assert budget.peak >= budget.now


def test_more_cannot_be_given_back_than_is_held() -> None:
    budget = InFlight(10)
    budget.take(4)
    with pytest.raises(ValueError, match=r"5 bytes .* 4 are held"):
        budget.give_back(5)


def test_a_budget_that_lets_nothing_in_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        InFlight(0)
