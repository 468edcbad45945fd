"""`trainmaster train` as it is typed: what a command said, and a terminal to type answers in."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

COMMAND = [sys.executable, "-m", "trainmaster.cli", "train"]
PATIENCE = 180.0
"""Seconds, on a machine that has much else to do."""


@dataclass(frozen=True)
class Said:
    """How a command ended, and what it said."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Its stdout, which must be one JSON value and nothing else."""
        assert self.out.count("\n") == 1, self.out
        return json.loads(self.out)


def in_a_terminal(arguments: list[str], answers: dict[str, str], environment: dict[str, str], folder: Path) -> Said:
    """As somebody would type it who answers each question once; what was on the screen is its `out`."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, *arguments],
        env={**environment, "TERM": "xterm"}, cwd=folder, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    screen, left = "", dict(answers)
    deadline = time.monotonic() + PATIENCE
    try:
        while time.monotonic() < deadline:
            try:
                read = os.read(ours, 65536)
            except OSError:  # what Linux says when the other side is closed
                break
            screen += read.decode(errors="replace")
            for question in [one for one in left if one in screen]:
                os.write(ours, f"{left.pop(question)}\n".encode())
        return Said(process.wait(PATIENCE), screen, "")
    finally:
        process.kill()
        process.wait(PATIENCE)
        os.close(ours)
