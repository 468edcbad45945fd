"""Hosts of fine-tuning jobs as SageMaker lays them out, in a folder: started, killed, and what they left."""

from __future__ import annotations

import importlib
import json
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from pathlib import Path
from typing import IO, Any

from benchmarks.tiny_model import make_tiny_model, texts_in
from model.finetune.checkpoints import staging_for
from model.finetune.job import STAGING, Place

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
    for b in range(6)
]


def given(folder: Path, count: int) -> dict[str, Path]:
    """The channels of a job: a tiny base model and so many conversations."""
    make_tiny_model(folder / "model", [text for each in ANSWERED for text in texts_in(each)], hidden=16, layers=1)
    (folder / "training").mkdir()
    (folder / "training/data.jsonl").write_text("".join(f"{json.dumps(each)}\n" for each in ANSWERED[:count]))
    return {"model": folder / "model", "training": folder / "training"}


def train_in(environment: dict[str, str], said: Connection) -> None:
    """What a process of `Trainers` does, as `model.finetune.job` has it done."""
    os.setsid()
    for stream in (1, 2):
        os.dup2(said.fileno(), stream)
    said.close()
    os.environ.update(environment)
    os.environ[STAGING] = str(staging_for(Place.here().checkpoints))
    sys.exit(importlib.import_module("model.finetune.training").main())


class Trainers:
    """Starts the only process of a job with all that is heavy imported."""

    def __init__(self) -> None:
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["model.finetune.training"])
        search = {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
        before = {name: os.environ.get(name) for name in search}
        os.environ.update(search)
        forkserver.ensure_running()
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})

    def start(self, environment: dict[str, str]) -> tuple[Any, IO[str]]:
        said, saying = self._context.Pipe(duplex=False)
        child = self._context.Process(target=train_in, args=(environment, saying))
        child.start()
        saying.close()
        return child, os.fdopen(os.dup(said.fileno()), encoding="utf-8")


class Host:
    """One host's /opt/ml. What it runs is started by torchrun and all, or where it has `trainers` by them."""

    def __init__(self, folder: Path, channels: dict[str, Path], trainers: Trainers | None = None, **asked: Any) -> None:
        self.ml, self.channels, self.asked, self._trainers = folder, channels, asked, trainers
        for name in ("input/data", "model", "output", "checkpoints"):
            (folder / name).mkdir(parents=True)
        for name, given in channels.items():
            (folder / "input/data" / name).symlink_to(given)
        self.lines: list[str] = []

    def run(self, **asked: Any) -> int:
        """Its exit code, once it has ended."""
        return self._until(None, lambda _: None, asked)

    def killed_after(self, steps: int, *, seconds: float = 0, rank: int | None = None) -> int:
        """Its exit code. It says so many steps, and has some seconds more; then all its processes are killed at once, or only the one
        of this rank."""

        def kill(pid: int) -> None:
            time.sleep(seconds)
            self._end(pid, rank)

        return self._until(steps, kill, {})

    def told_to_end_after(self, steps: int) -> int:
        """Its exit code, SIGTERM being sent when it has said so many steps."""
        return self._until(steps, lambda pid: os.kill(pid, signal.SIGTERM), {})

    def _until(self, steps: int | None, end: Callable[[int], None], asked: dict[str, Any]) -> int:
        (self.ml / "output/failure").unlink(missing_ok=True)
        pid, said, ended = self._started(asked)
        watchdog = threading.Timer(WITHIN, self._end, [pid, None])
        watchdog.start()
        seen = 0
        for line in said:
            self.lines.append(line.rstrip())
            if STEP.search(line):
                seen += 1
                if seen == steps:
                    end(pid)
        watchdog.cancel()
        assert steps is None or seen >= steps, self.text()
        return ended()

    def _end(self, pid: int, rank: int | None) -> None:
        """torchrun's processes are in sessions of their own, so it is their environment that they are known by."""
        if rank is None:
            os.killpg(pid, signal.SIGKILL)
        marks = {f"SAGEMAKER_BASE_DIR={self.ml}".encode(), *([f"RANK={rank}".encode()] if rank is not None else [])}
        for process in Path("/proc").glob("[0-9]*/environ"):
            with suppress(OSError):  # ended meanwhile, or another user's
                if marks <= set(process.read_bytes().split(b"\0")):
                    os.kill(int(process.parent.name), signal.SIGKILL)

    def _started(self, asked: dict[str, Any]) -> tuple[int, IO[str], Callable[[], int]]:
        environment = {
            "SAGEMAKER_BASE_DIR": str(self.ml),
            "SM_HPS": json.dumps({name: str(value) for name, value in (self.asked | asked).items()}),
            "SM_CHANNELS": json.dumps(sorted(self.channels)),
            "PYTHONUNBUFFERED": "1",
        }
        if self._trainers:
            child, said = self._trainers.start(environment)

            def ended() -> int:
                child.join()
                return int(child.exitcode)

            return child.pid, said, ended
        started = subprocess.Popen(
            [sys.executable, "-m", "model.fine_tune"], cwd=ROOT, env=os.environ | environment | {"OMP_NUM_THREADS": "1"},
            text=True, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        assert started.stdout
        return started.pid, started.stdout, started.wait

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
