"""Duplicates are found exactly, whatever their number and however little may be held."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from trainmaster.datasets.duplicates import Duplicates


def naive(texts: list[bytes]) -> list[tuple[int, int]]:
    first: dict[bytes, int] = {}
    return [(n, first[text]) for n, text in enumerate(texts, 1) if first.setdefault(text, n) != n]


def found(texts: list[bytes], run: int, step: int) -> tuple[int, list[tuple[int, int]]]:
    with Duplicates(run=run) as duplicates:
        for at in range(0, len(texts), step):
            block = texts[at : at + step]
            duplicates.add(block, range(at + 1, at + 1 + len(block)))
        return duplicates.result()


@given(st.lists(st.integers(0, 30), max_size=400), st.integers(1, 500), st.integers(1, 60))
def test_they_are_those_a_set_of_all_examples_finds(kinds: list[int], run: int, step: int) -> None:
    texts = [b"%d" % kind for kind in kinds]
    pairs = naive(texts)
    assert found(texts, run, step) == (len(pairs), pairs[:100])


def test_runs_on_disk_find_what_memory_would() -> None:
    texts = [b"%d" % (n * n % 9973) for n in range(30_000)]
    pairs = naive(texts)
    assert found(texts, run=1000, step=37) == found(texts, run=10**6, step=37) == (len(pairs), pairs[:100])


def test_a_file_of_one_example_over_and_over_takes_no_more_than_any_other() -> None:
    assert found([b"same"] * 50_000, run=500, step=250) == (49_999, [(n, 1) for n in range(2, 102)])
