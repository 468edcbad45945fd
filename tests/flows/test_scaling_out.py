"""A migration by several processes: of a Dask cluster, and of runs of their own. All take part, and nobody does anything twice."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.scale_out import WORKERS, measure


@pytest.mark.parametrize("way", ["Dask, three processes", "three runs, a process each"])
def test_each_dataset_is_fetched_and_copied_once_by_whichever_of_three_processes(stack: Any, way: str) -> None:
    measured = measure(stack.environment, way, datasets=300, size=2_000)
    print(measured)
    assert (measured.copied, measured.failed) == (300, 0)
    assert (measured.fetches, measured.fetched_twice) == (300, 0)
    assert measured.workers == WORKERS
