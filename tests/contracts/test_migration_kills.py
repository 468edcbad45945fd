"""Two runs at once, killed at random times: what `make soak-migration` does at length."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.soak_migration import Ordered, soak

ROOT = Path(__file__).parents[2]
DATASETS, KILLS, SEED = 110, 4, 5


@pytest.mark.timeout(600)
def test_two_runs_killed_again_and_again_move_each_dataset_once_and_leave_nothing_half(
    embedded: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(
        "PYTHONPATH", os.pathsep.join([str(ROOT), *sys.path])
    )  # their processes do not search where we do
    findings = soak(embedded.environment, tmp_path, Ordered(DATASETS, KILLS, SEED, longest=500))
    assert not findings.offenders, "\n".join(findings.sentences())
    counts = findings.counts
    assert (counts["datasets"], counts["verified_once"], counts["kills"]) == (DATASETS, DATASETS, KILLS)
    left = ("pending", "stray_objects", "orphan_uploads", "downloads_beyond_those_in_flight")
    assert [counts[name] for name in left] == [0, 0, 0, 0]
    assert counts["of_several_parts"] >= 1
    assert counts["bytes_read_again"] <= counts["bytes_in_flight_at_kills"]
