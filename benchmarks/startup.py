"""How long `trainmaster` takes to start: `--help`, and commands that need neither AWS nor a database, beside Python itself and peers.

Turns are interleaved, so that whatever else the machine does slows all of them alike; medians are compared as ratios to a bare
`python -c pass`. `busy` is processor time, which other work does not lengthen much: it is what a machine with nothing else to do takes.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

TURNS = 7
LIMIT = 0.300
"""Seconds that `--help` and pure commands may take."""
BIN = Path(sys.executable).parent
BARE = "python -c pass"
_OURS: Sequence[str] = (
    "--help",
    "train --help",
    "endpoints --help",
    "datasets check --help",
    "prices show",
    "prices equivalent",
    "policy check",
    "policy explain",
    "templates",
)
_PEERS: Mapping[str, tuple[str, ...]] = {
    "prefect version": (str(BIN / "prefect"), "version"),
    "aws --version": (str(BIN.parent / "awscli" / "bin" / "aws"), "--version"),
    "zenml version": (str(BIN / "zenml"), "version"),
}
"""Measured where they are installed; `make test` installs the AWS CLI."""


@dataclass(frozen=True)
class Start:
    """Medians of a command, in seconds."""

    command: str
    seconds: float
    busy: float


def main() -> int:
    """Exit code 0, whatever was measured: a machine that does other work as well takes longer for everything."""
    commands = {BARE: (sys.executable, "-c", "pass")}
    commands |= {f"trainmaster {one}": (str(BIN / "trainmaster"), *one.split()) for one in _OURS}
    commands |= {name: command for name, command in _PEERS.items() if Path(command[0]).is_file()}
    turns: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(TURNS + 1):
            for name, command in commands.items():
                took = _timed(command, folder)
                if turn:  # the first fills caches
                    turns[name].append(took)
    starts = [
        Start(name, *(statistics.median(column) for column in zip(*taken, strict=True)))
        for name, taken in turns.items()
    ]
    bare = starts[0]
    print(f"{'COMMAND':<34} {'SECONDS':>8} {'BUSY':>7} {'× PYTHON':>9}")
    for one in starts:
        print(f"{one.command:<34} {one.seconds:>8.3f} {one.busy:>7.3f} {one.seconds / bare.seconds:>9.1f}")
    slow = [one.command for one in starts if one.command.startswith("trainmaster") and one.busy > LIMIT]
    print(f"Over {LIMIT:.1f} s of processor time: {', '.join(slow) or 'none'}.")
    told = {one.command: {"seconds": round(one.seconds, 4), "busy": round(one.busy, 4)} for one in starts}
    print(json.dumps({"benchmark": "startup", "limit": LIMIT, "slow": slow, "commands": told}))
    return 0


def _timed(command: Sequence[str], folder: str) -> tuple[float, float]:
    """Wall and processor seconds of one start, with what Python keeps compiled, as everywhere but in development containers."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    nowhere = subprocess.DEVNULL
    subprocess.run(command, check=True, timeout=120, cwd=folder, env=environment, stdout=nowhere, stderr=nowhere)
    seconds, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    sys.exit(main())
