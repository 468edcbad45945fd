"""What is counted of a dataset, against sorting all of it."""

from __future__ import annotations

import math
import random
import tracemalloc
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainmaster.datasets.formats import Canonical
from trainmaster.datasets.report import DatasetStatistics
from trainmaster.datasets.statistics import MOST_BINS, MOST_DISTINCT, MOST_SEQUENCES, OTHER, Lengths, Tally

PERCENTS = (5, 25, 50, 75, 95, 99)
LENGTHS = st.integers(0, 300) | st.integers(0, 1 << 26)
FEW = st.lists(LENGTHS, min_size=1, max_size=200)


def example(given: int = 40, answer: int = 60, roles: tuple[str, ...] = ("user", "assistant")) -> Canonical:
    return Canonical({}, given, answer, roles)


def tallied(canonicals: list[Canonical], block: int = 7) -> DatasetStatistics:
    """Of examples that stand at 1, 2, 3 …"""
    tally = Tally()
    for start in range(0, len(canonicals), block):
        tally.add(canonicals[start : start + block], range(start + 1, start + 1 + block)[: len(canonicals) - start])
    return tally.result()


def nearest_rank(values: list[int], percent: float) -> int:
    return sorted(values)[math.ceil(percent / 100 * len(values)) - 1]


def measured(values: list[int], block: int = 1000) -> Lengths:
    lengths = Lengths()
    for start in range(0, len(values), block):
        lengths.add(values[start : start + block])
    return lengths


@given(FEW, st.integers(1, 20))
def test_of_few_different_lengths_everything_is_exact(values: list[int], block: int) -> None:
    found = measured(values, block).distribution()
    shown = [found.p5, found.p25, found.p50, found.p75, found.p95, found.p99]
    assert shown == [nearest_rank(values, percent) for percent in PERCENTS]
    assert (found.count, found.low, found.high) == (len(values), min(values), max(values))
    assert found.mean == pytest.approx(sum(values) / len(values))


@pytest.fixture(scope="module")
def many() -> list[int]:
    """Three times as many different lengths as are counted one by one; half of them short ones."""
    chance = random.Random(4)  # noqa: S311 - the same every time is what is wanted
    long = chance.sample(range(256, 1 << 26), 3 * MOST_DISTINCT)
    values = long + [chance.randrange(256) for _ in long]
    chance.shuffle(values)
    return values


def test_of_any_number_of_lengths_percentiles_are_within_one_percent_and_exact_below_256(many: list[int]) -> None:
    lengths = measured(many)
    for percent in (0.1, 1, 5, 10, 25, 40, 49.9, 50.1, 60, 75, 90, 95, 99, 99.9, 100):
        wanted = nearest_rank(many, percent)
        assert lengths.percentile(percent) == (wanted if wanted < 256 else pytest.approx(wanted, rel=0.01))


def test_of_any_number_of_lengths_count_mean_lowest_and_highest_are_exact(many: list[int]) -> None:
    found = measured(many).distribution()
    assert (found.count, found.low, found.high) == (len(many), min(many), max(many))
    assert found.mean == sum(many) / len(many)


def test_the_order_of_examples_does_not_matter(many: list[int]) -> None:
    assert measured(many).distribution() == measured(sorted(many), block=333).distribution()


@given(FEW, st.booleans())
def test_the_bins_of_a_histogram_touch_one_another_and_hold_every_example(values: list[int], folded: bool) -> None:
    lengths = measured(values)
    if folded:
        lengths._fold()
    bins = lengths.distribution().histogram
    assert 1 <= len(bins) <= MOST_BINS
    assert bins[0][2] > 0
    assert bins[-1][2] > 0
    assert bins[0][0] <= min(values)
    assert max(values) < bins[-1][1]
    for (_, end, _), (start, _, _) in pairwise(bins):
        assert end == start
    if not folded:
        assert [count for *_, count in bins] == [sum(a <= value < b for value in values) for a, b, _ in bins]
    assert sum(count for *_, count in bins) == len(values)


@given(st.integers(256, 1 << 40))
def test_lengths_are_counted_together_only_when_less_than_one_percent_apart(value: int) -> None:
    lengths = measured([value])
    lengths._fold()
    start = lengths.counted_as(value)
    assert start <= value <= 1.008 * start


def test_memory_stays_the_same_whatever_the_number_of_examples() -> None:
    chance = random.Random(1)  # noqa: S311 - as above
    tally = Tally()
    tracemalloc.start()
    try:
        for number in range(0, 45_000, 300):
            block = [
                example(
                    chance.randrange(1 << 26), chance.randrange(1 << 26), ("user", "assistant") * chance.randrange(90)
                )
                for _ in range(300)
            ]
            tally.add(block, range(number, number + 300))
        del block
        assert tracemalloc.get_traced_memory()[0] < 10 << 20
    finally:
        tracemalloc.stop()
    assert tally.result().total_examples == 45_000


def test_averages_are_of_characters_as_the_catalogue_has_them() -> None:
    found = tallied([example(10, 30), example(20, 30), example(30, 31)])
    assert (found.total_examples, found.avg_input_length) == (3, 20.0)
    assert found.avg_output_length == pytest.approx(91 / 3)
    assert found.estimated_tokens == round((60 + 91) / 4)
    assert (found.exact_tokens, found.tokenizer) == (None, None)


def test_nothing_sound_gives_zeros() -> None:
    found = Tally().result(bad_examples=3)
    assert (found.total_examples, found.avg_input_length, found.estimated_tokens) == (0, 0.0, 0)
    assert found.input_length.histogram == ()
    assert (found.longest, found.shortest, found.quality.score) == ((), (), 0)


def test_examples_far_from_the_rest_are_counted_and_named_by_their_numbers() -> None:
    examples = [example(100 + n % 10, 100) for n in range(200)]
    examples[41] = example(5000, 100)
    examples[77] = example(1, 0)
    examples[150] = example(900, 100)
    found = tallied(examples)
    assert (found.long_outliers, found.short_outliers) == (2, 1)
    assert found.longest == ((42, 5100), (151, 1000))
    assert found.shortest == ((78, 1),)


def test_of_many_outliers_ten_are_named_the_first_of_equals() -> None:
    found = tallied([example(100, n % 5) for n in range(400)] + [example(1000, 0)] * 15)
    assert found.long_outliers == 15
    assert found.longest == tuple((number, 1000) for number in range(401, 411))


@given(st.lists(st.integers(0, 500) | st.integers(400, 420), min_size=4, max_size=150), st.integers(1, 30))
def test_outliers_are_those_beyond_one_and_a_half_interquartile_ranges(totals: list[int], block: int) -> None:
    found = tallied([example(total, 0) for total in totals], block)
    q1, q3 = nearest_rank(totals, 25), nearest_rank(totals, 75)
    low, high = q1 - 1.5 * (q3 - q1), q3 + 1.5 * (q3 - q1)
    long = sorted((-total, number) for number, total in enumerate(totals, 1) if total > high)
    short = sorted((total, number) for number, total in enumerate(totals, 1) if total < low)
    assert (found.long_outliers, found.short_outliers) == (len(long), len(short))
    assert found.longest == tuple((number, -total) for total, number in long[:10])
    assert found.shortest == tuple((number, total) for total, number in short[:10])


def test_outliers_named_and_counted_agree_where_lengths_are_counted_together(many: list[int]) -> None:
    narrow = [10_000_000 + value % 40_000 for value in many]
    found = tallied([example(value, 0) for value in [*narrow, 10_300_000, 9_000_000]], block=500)
    assert found.long_outliers == len(found.longest) == 1
    assert found.short_outliers == len(found.shortest) == 1


def test_turns_are_counted_by_role_and_sequence() -> None:
    found = tallied(
        [example(roles=("system", "user", "assistant"))] * 3
        + [example(roles=("user", "assistant", "user", "assistant"))] * 5
        + [example(roles=())]
    )
    assert found.roles == {"user": 13, "assistant": 13, "system": 3}
    assert found.turns == {"user, assistant, user, assistant": 5, "system, user, assistant": 3}


@given(st.lists(st.lists(st.sampled_from(["user", "assistant", "tool"]), min_size=1, max_size=80), max_size=60))
def test_every_turn_counts_even_of_sequences_too_long_to_be_kept(spoken: list[list[str]]) -> None:
    found = tallied([example(roles=tuple(roles)) for roles in spoken])
    assert found.roles == Counter(role for roles in spoken for role in roles)
    assert sum(found.turns.values()) == len(spoken)


def test_of_countless_sequences_the_commonest_are_kept_and_the_rest_is_other() -> None:
    rare = [tuple(f"{n:b}") for n in range(1, 3 * MOST_SEQUENCES)]
    spoken = [roles for n, roles in enumerate(rare) for roles in (("user", "assistant"), roles, ("user",))[: 2 + n % 2]]
    found = tallied([example(roles=roles) for roles in spoken], block=50)
    assert list(found.turns)[:2] == ["user, assistant", "user"]
    assert found.turns["user, assistant"] == len(rare)
    assert OTHER in found.turns
    assert len(found.turns) <= 21
    assert sum(found.turns.values()) == len(spoken)


def test_duplicates_are_passed_on_and_lower_the_score() -> None:
    tally = Tally()
    tally.add([example()] * 200, range(1, 201))
    found = tally.result(duplicates=20, duplicate_pairs=[(3, 1)], bad_examples=0)
    assert (found.duplicates, found.duplicate_pairs) == (20, ((3, 1),))
    assert found.quality.score == 90
