"""Drift: PSI, what chance alone does to it, what is concluded of how much, and the picture of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from model.train import shares
from trainmaster.endpoints.watch.drift import (
    Arrivals,
    CheckDriftRequest,
    DriftReport,
    FeatureDrift,
    TrainedFeature,
    chance,
    drift_of,
    psi,
    trained_features,
)
from trainmaster.endpoints.watch.pictures import bin_labels, picture

REQUEST = CheckDriftRequest()
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


def trained_on(values: Iterable[float], name: str = "sqft") -> TrainedFeature:
    """As a card written by model/train.py has it."""
    column = np.array(list(values), dtype=float)
    one = {"min": column.min(), "max": column.max(), "mean": column.mean(), **shares(column)}
    [feature] = trained_features({"rows": {"training": len(column)}, "features": {name: one}})
    return feature


def drift(trained: TrainedFeature, values: Iterable[Any], request: CheckDriftRequest = REQUEST) -> FeatureDrift:
    arrived = Arrivals(trained)
    for value in values:
        arrived.add(value)
    [found] = drift_of([arrived], request)
    return found


def report(*features: FeatureDrift) -> DriftReport:
    return DriftReport("houses", "s3://bucket/m", NOW - timedelta(days=7), NOW, 300, 0, 300, False, features)


def normal(mean: float, count: int, seed: int) -> list[float]:
    found: list[float] = np.random.default_rng(seed).normal(mean, 300, count).tolist()
    return found


def test_psi_is_the_sum_over_bins_that_the_books_give() -> None:
    """Of (0.5, 0.5) against (0.9, 0.1): 0.4 ln 1.8 + (-0.4) ln 0.2 = 0.879; of many rows the half row added to each matters not."""
    assert psi((0.5, 0.5), 10**9, [9 * 10**8, 10**8]) == pytest.approx(0.8789, abs=1e-4)


@given(counts=st.lists(st.integers(0, 10**6), min_size=2, max_size=12).filter(any))
def test_psi_is_never_negative_and_nothing_where_both_are_alike(counts: list[int]) -> None:
    total = sum(counts)
    alike = [count / total for count in counts]
    assert psi(alike, total, counts) == pytest.approx(0, abs=1e-9)
    assert psi(list(reversed(alike)), total, counts) >= 0


def test_chance_reaches_its_bound_once_in_a_thousand_and_no_oftener() -> None:
    """Samples of the very distribution that was trained on: beyond the bound lies about one in a thousand."""
    chosen = np.random.default_rng(7)
    bins, rows, checks = 10, 500, 20_000
    then = chosen.multinomial(rows, [1 / bins] * bins, checks)
    now = chosen.multinomial(rows, [1 / bins] * bins, checks)
    a, b = (then + 0.5) / (rows + 5), (now + 0.5) / (rows + 5)
    beyond = (((b - a) * np.log(b / a)).sum(axis=1) > chance(bins, rows, rows)).mean()
    assert 0.0003 < beyond < 0.003


def test_rows_like_those_trained_on_are_steady() -> None:
    found = drift(trained_on(normal(1800, 2000, 1)), normal(1800, 1000, 2))
    assert (found.verdict, found.psi is not None and found.psi < 0.1) == ("steady", True)


def test_rows_that_moved_have_drifted_and_the_sentence_says_how() -> None:
    found = drift(trained_on(normal(1800, 2000, 1)), normal(2300, 1000, 2))
    assert found.verdict == "drifted"
    assert report(found).verdict == "drifted"
    said = report(found).sentence()
    assert "have drifted: sqft (PSI " in said
    assert "% outside" in said


def test_values_outside_all_that_was_trained_on_have_drifted_whatever_psi_says() -> None:
    trained = replace(trained_on(range(1000)), edges=(), shares=())
    inside, outside = [500] * 940, [5000] * 60
    found = drift(trained, [*inside, *outside])
    assert (found.psi, found.verdict, round(found.outside, 2)) == (None, "drifted", 0.06)
    assert drift(trained, [*inside, *outside[:40]]).verdict == "steady"


def test_of_few_rows_nothing_is_concluded() -> None:
    found = drift(trained_on(range(1000)), [5000] * 99)
    assert (found.verdict, report(found).verdict) == ("too few", "too few")
    assert "too few" in report(found).sentence()
    nothing = drift(trained_on(range(1000)), [])
    assert (nothing.verdict, nothing.psi, nothing.mean) == ("too few", None, 0)


def test_a_large_psi_that_chance_explains_is_no_drift() -> None:
    """Of a model trained on twenty rows its card knows little."""
    chosen = np.random.default_rng(3)
    sample = chosen.choice(1000, 20, replace=False)
    found = drift(trained_on(sample), chosen.integers(sample.min(), sample.max(), 100).tolist())
    assert found.psi is not None
    assert found.by_chance > REQUEST.psi_threshold
    assert (found.verdict, found.psi < found.by_chance) == ("steady", True)


def test_a_feature_that_was_always_alike_drifts_when_it_is_not() -> None:
    found = drift(trained_on([3] * 500, "bedrooms"), [4] * 200)
    assert (found.verdict, found.outside) == ("drifted", 1.0)
    assert found.shares == (0, 0, 1)


def test_what_is_no_number_is_counted_apart() -> None:
    found = drift(trained_on(range(1000)), [*[500] * 200, None, "12", True, float("nan"), {}])
    assert (found.rows, found.unusable) == (200, 5)


def test_a_card_without_bins_or_rows_or_ranges_is_held_against_what_it_has() -> None:
    card = {"features": {"a": {"min": 0, "max": 1, "mean": 0.5}, "b": {"mean": 3}}}
    [only] = trained_features(card)
    assert (only.name, only.shares, only.rows) == ("a", (), 0)
    assert trained_features({}) == []


def test_the_picture_has_the_bars_of_every_feature_and_none_where_nothing_can_be_compared() -> None:
    first = drift(trained_on(normal(1800, 2000, 1)), normal(2300, 1000, 2))
    second = drift(trained_on([1, 2, 2, 3, 3, 3] * 50, "bedrooms $x_1$"), [2, 3] * 100)
    drawn = picture(report(first, second, second))
    assert drawn is not None
    assert drawn.startswith(b"\x89PNG")
    assert picture(report(replace(first, psi=None))) is None


def test_bins_are_named_by_what_lies_in_them() -> None:
    assert bin_labels(trained_on([1, 2, 3, 4] * 10)) == ["< 1", "1–2", "2–3", "3–4", "4", "> 4"]


def test_the_table_has_a_row_for_each_feature() -> None:
    [row] = report(drift(trained_on(range(1000)), range(1000))).table()
    assert (row["feature"], row["verdict"], row["outside"]) == ("sqft", "steady", "0.0%")


@pytest.mark.parametrize("given", [{"days": 0}, {"psi_threshold": 0}, {"least_rows": 1}, {"endpoint": "typo"}])
def test_a_request_out_of_bounds_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        CheckDriftRequest(**given)
