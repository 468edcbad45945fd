"""A score is made of parts that each follow from a count, and no defect is to anyone's advantage."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainmaster.datasets.quality import Defects, assess


@st.composite
def defects(draw: st.DrawFn) -> Defects:
    total = draw(st.integers(1, 5000))
    malformed = draw(st.integers(0, total))
    sound = total - malformed
    duplicates, outliers, short = (draw(st.integers(0, sound)) for _ in range(3))
    return Defects(total, malformed, duplicates, outliers, short)


def test_a_large_dataset_without_defects_scores_100() -> None:
    found = assess(Defects(total=1000))
    assert found.score == 100
    assert {lost for lost, _ in found.parts.values()} == {0.0}


@pytest.mark.parametrize(
    ("found", "score", "part", "lost"),
    [
        (Defects(1000, malformed=10), 96, "malformed", 4.0),
        (Defects(1000, duplicates=100), 90, "duplicates", 10.0),
        (Defects(1000, outliers=80), 96, "outliers", 4.0),
        (Defects(1000, short_outputs=1000), 90, "short outputs", 10.0),
        (Defects(20), 92, "size", 8.0),
        (Defects(0), 0, "size", 100.0),
        (Defects(50, malformed=50), 0, "malformed", 400.0),
    ],
)
def test_each_defect_costs_what_is_documented(found: Defects, score: int, part: str, lost: float) -> None:
    quality = assess(found)
    assert quality.score == score
    assert quality.parts[part][0] == pytest.approx(lost)


@given(defects())
def test_a_score_is_100_less_its_parts_between_0_and_100(found: Defects) -> None:
    quality = assess(found)
    assert 0 <= quality.score <= 100
    assert all(lost >= 0 for lost, _ in quality.parts.values())
    assert quality.score == int(max(0, 100 - sum(lost for lost, _ in quality.parts.values())))


@given(defects(), st.sampled_from(["malformed", "duplicates", "outliers", "short_outputs"]), st.integers(1, 500))
def test_more_of_any_defect_never_raises_the_score(found: Defects, defect: str, more: int) -> None:
    worse = replace(found, **{defect: getattr(found, defect) + more})
    assert assess(worse).score <= assess(found).score


@given(defects(), st.sampled_from(["duplicates", "outliers", "short_outputs"]))
def test_an_example_that_is_malformed_costs_no_less_than_one_that_is_sound_with_any_other_defect(
    found: Defects, defect: str
) -> None:
    if getattr(found, defect):
        worse = replace(found, malformed=found.malformed + 1, **{defect: getattr(found, defect) - 1})
        assert assess(worse).score <= assess(found).score


def test_the_reason_gives_both_numbers_and_the_price() -> None:
    def why(found: Defects) -> str:
        return assess(found).parts["malformed"][1]

    assert why(Defects(1000, malformed=3)) == "3 of 1,000 (0.3%) are malformed; each 1% costs 4"
    assert why(Defects(1, malformed=1)) == "1 of 1 (100%) is malformed; each 1% costs 4"
    assert why(Defects(100_000, malformed=99_999)) == "99,999 of 100,000 (100%) are malformed; each 1% costs 4"
