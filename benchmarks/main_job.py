"""How long the main job takes after set-up, and where the time goes: fresh state, then again on the same state."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time

RUNS = 3


def main() -> int:
    fresh, again = [], []
    for _ in range(RUNS):
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as state:
            fresh.append(measure(state))
            again.append(measure(state))
    phases = list(fresh[0]) + [phase for phase in again[0] if phase not in fresh[0]]
    print(f"{'seconds (median of ' + str(RUNS) + ')':<40} {'fresh state':>12} {'again':>8}")
    for phase in phases:
        print(f"{phase:<40} {median(fresh, phase):>12.1f} {median(again, phase):>8.1f}")
    print(json.dumps({"cores": os.cpu_count(), "fresh": medians(fresh), "again": medians(again)}))
    return 0


def measure(state: str) -> dict[str, float]:
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "trainmaster.cli", "run", "--json"],
        env={**os.environ, "TRAINMASTER_STATE_DIR": state},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    if done.returncode:
        sys.exit(f"The main job failed:\n{done.stderr}")
    seconds: dict[str, float] = json.loads(done.stdout.splitlines()[-1])["seconds"]
    return {**seconds, "process, start to end": time.monotonic() - began}


def median(runs: list[dict[str, float]], phase: str) -> float:
    return sorted(run.get(phase, 0.0) for run in runs)[len(runs) // 2]


def medians(runs: list[dict[str, float]]) -> dict[str, float]:
    return {phase: round(median(runs, phase), 2) for phase in runs[0]}


if __name__ == "__main__":
    sys.exit(main())
