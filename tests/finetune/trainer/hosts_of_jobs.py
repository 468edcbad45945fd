"""Hosts of fine-tuning jobs as SageMaker lays them out, in a folder: started, killed, and what they left."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks.tiny_model import make_tiny_model, texts_in

ROOT = Path(__file__).parents[3]
STEP = re.compile(r"step=(\d+)/\d+; loss=([^;]+);")
WITHIN = 200.0

ANSWERED = [
    {
        "messages": [
            {"role": "user", "content": f"What is {a} and {b}?"},
            {"role": "assistant", "content": f"It is {a + b}, of course."},
        ]
    }
    for a in range(6)
    for b in range(5)
]


def given(folder: Path) -> dict[str, Path]:
    """The channels of a job: a tiny base model and 30 conversations."""
    make_tiny_model(folder / "model", [text for each in ANSWERED for text in texts_in(each)], hidden=16, layers=1)
    (folder / "training").mkdir()
    (folder / "training/data.jsonl").write_text("".join(f"{json.dumps(each)}\n" for each in ANSWERED))
    return {"model": folder / "model", "training": folder / "training"}


class Host:
    """One host's /opt/ml."""

    def __init__(self, folder: Path, channels: dict[str, Path], **asked: Any) -> None:
        self.ml, self.channels, self.asked = folder, channels, asked
        for name in ("input/data", "model", "output", "checkpoints"):
            (folder / name).mkdir(parents=True)
        for name, given in channels.items():
            (folder / "input/data" / name).symlink_to(given)
        self.lines: list[str] = []

    def start(self, **asked: Any) -> subprocess.Popen[str]:
        """A process group of its own; its lines are added to `lines`."""
        (self.ml / "output/failure").unlink(missing_ok=True)
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("SM_", "PYTHONDONT"))},
            "SAGEMAKER_BASE_DIR": str(self.ml),
            "SM_HPS": json.dumps({name: str(value) for name, value in (self.asked | asked).items()}),
            "SM_CHANNELS": json.dumps(sorted(self.channels)),
            "OMP_NUM_THREADS": "1",
            "PYTHONUNBUFFERED": "1",
        }
        return subprocess.Popen(
            [sys.executable, "-m", "model.fine_tune"], cwd=ROOT, env=environment, text=True, start_new_session=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def run(self, **asked: Any) -> int:
        """Its exit code, once it has ended."""
        child = self.start(**asked)
        watchdog = threading.Timer(WITHIN, self.kill, [child])
        watchdog.start()
        self._read(child, None)
        watchdog.cancel()
        return child.wait()

    def killed_at(self, line: str, **asked: Any) -> None:
        """Run it until it prints a line that begins so, then kill all its processes at once."""
        child = self.start(**asked)
        watchdog = threading.Timer(WITHIN, self.kill, [child])
        watchdog.start()
        seen = self._read(child, line)
        self.kill(child)
        watchdog.cancel()
        child.wait()
        assert seen, "\n".join(self.lines)

    @staticmethod
    def kill(child: subprocess.Popen[str]) -> None:
        os.killpg(child.pid, signal.SIGKILL)

    def _read(self, child: subprocess.Popen[str], until: str | None) -> bool:
        assert child.stdout
        for line in child.stdout:
            self.lines.append(line.rstrip())
            if until and until in line:
                return True
        return False

    @property
    def failure(self) -> str:
        path = self.ml / "output/failure"
        return path.read_text() if path.exists() else ""

    @property
    def kept(self) -> list[Path]:
        """Its checkpoints, the oldest first."""
        return sorted((self.ml / "checkpoints").glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))

    def losses(self) -> dict[int, float]:
        """The loss of each step, as it was said last."""
        return {int(m[1]): float(m[2]) for line in self.lines if (m := STEP.search(line))}

    def resumed(self) -> list[tuple[int, int]]:
        """Of each start that went on from before: the step, and how many were lost."""
        found = [re.search(r"resumed_from_step=(\d+); steps_lost=(\d+);", line) for line in self.lines]
        return [(int(m[1]), int(m[2])) for m in found if m]

    def text(self, last: Iterable[str] | None = None) -> str:
        return "\n".join(last or self.lines)
