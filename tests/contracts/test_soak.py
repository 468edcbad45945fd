"""A small soak, whole: what `make soak` does at length. That its audit finds what is broken, test_soak_audit shows."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
JOBS, SEED = 4, 3762
"""Of which one request is sent twice, followers are killed, a job of two hosts fails, and one that is interrupted is cancelled by the
application after its only follower died."""


@pytest.mark.timeout(600)  # half a minute where nothing else runs
def test_a_small_soak_breaks_no_invariant(tmp_path: Path) -> None:
    command = ["-m", "benchmarks.soak", "--jobs", str(JOBS), "--seed", str(SEED), "--minutes", "5"]
    done = subprocess.run(
        [sys.executable, *command, "--keep", str(tmp_path)],
        cwd=ROOT, env=os.environ, capture_output=True, text=True, timeout=580, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    said = json.loads(done.stdout.splitlines()[-1])
    held = ["jobs", "duplicates", "lost_log_lines", "doubled_log_lines", "unsettled", "ledger_minus_bill_usd"]
    assert [said[name] for name in held] == [JOBS, 0, 0, 0, 0, "0.00"]
    assert list(said)[:6] == ["jobs", "duplicates", "lost_log_lines", "unsettled", "ledger_minus_bill_usd", "api_calls"]
    assert min(said["api_calls"], said["faults"], said["kills"], said["log_lines"]) > 0
