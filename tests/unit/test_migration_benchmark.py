"""What `make bench-migration` copies and how it counts."""

from __future__ import annotations

import gzip
import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.migrating import stopwatch
from benchmarks.migrating.engines import BOUND, OURS, RCLONE, S5CMD
from benchmarks.migrating.report import Run, Trial, summary, table
from benchmarks.migrating.workloads import WORKLOADS, Workload, make

TRIAL = Trial(
    "seaweedfs", "S", 100, 2_000_000_000,
    {
        BOUND: [Run(1, 1, 10), Run(2, 1, 10), Run(1, 1, 10)],
        RCLONE: [Run(10, 6, 90), Run(30, 9, 95), Run(10, 6, 90)],
        S5CMD: [Run(8, 8, 30), Run(24, 16, 30), Run(8, 8, 30)],
        OURS: [Run(5, 3, 200, 1, 1), Run(30, 9, 210, 6, 3), Run(4, 3, 205, 1, 1)],
    },
)  # fmt: skip


@pytest.mark.parametrize("workload", [Workload("s", 100, 20_000), Workload("l", 2, 3 << 20, chats=True)])
def test_every_object_is_whole_gzip_of_about_its_size_and_unlike_any_other(tmp_path: Path, workload: Workload) -> None:
    made = make(workload, tmp_path)
    for each in made:
        packed = (tmp_path / each.path).read_bytes()
        assert gzip.decompress(packed)
        assert (len(packed), hashlib.sha256(packed).hexdigest()) == (each.size, each.sha256)
    assert len({each.sha256 for each in made}) == len({each.id for each in made}) == workload.objects
    assert sum(each.size for each in made) == pytest.approx(workload.objects * workload.bytes_each, rel=0.25)


def test_a_workload_is_scaled_by_its_objects_or_by_their_size() -> None:
    assert WORKLOADS["S"].scaled(0.1) == Workload("S", 500, 20_000)
    assert WORKLOADS["L"].scaled(0.5) == Workload("L", 4, 256 << 20)


def test_ratios_are_of_runs_of_the_same_round() -> None:
    assert TRIAL.times_as_fast(OURS, RCLONE) == 2
    assert TRIAL.times_the_cpu(OURS, RCLONE) == 0.5
    assert TRIAL.ratios()["throughput_to_best_peer"] == 1.6
    assert TRIAL.once_started.times_as_fast(OURS, RCLONE) == 2.5


def test_the_summary_holds_the_ratios_of_each_workload_and_is_json() -> None:
    said = json.loads(json.dumps(summary([TRIAL])))["seaweedfs"]["S"]
    assert said.keys() == {*TRIAL.ratios(), "peak_mb", "once_started"}
    assert (said["peak_mb"], said["once_started"]["throughput_to_rclone"]) == (205, 2.5)


def test_the_table_has_a_line_for_each_engine() -> None:
    lines = table(TRIAL).splitlines()
    assert len(lines) == 1 + len(TRIAL.runs)
    assert next(line for line in lines if " s5cmd  " in line and "seaweedfs" in line).split()[3:8] == [
        "8.00", "250", "12.5", "4.00", "30",
    ]  # fmt: skip


def test_the_stopwatch_adds_up_what_commands_took_and_ends_with_the_first_that_fails(tmp_path: Path) -> None:
    def timed(*code: str) -> int:
        commands = [[sys.executable, "-c", each] for each in code]
        line = [sys.executable, "-I", "-S", str(stopwatch.__file__), str(tmp_path / "figures"), json.dumps(commands)]
        return subprocess.run(line, check=False).returncode

    assert timed("b'x' * 200_000_000", "sum(range(3_000_000))") == 0
    figures = json.loads((tmp_path / "figures").read_text())
    assert figures["cpu"] > 0
    assert figures["wall"] > 0
    assert 200 < figures["peak"] < 300
    (tmp_path / "figures").unlink()
    assert timed("raise SystemExit(3)", "0") == 3
    assert not (tmp_path / "figures").exists()
