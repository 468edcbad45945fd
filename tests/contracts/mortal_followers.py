"""`python mortal_followers.py FOLDER JOB HOSTS DEATHS SEED`: follow a job into FOLDER/log by one process after another, each killed
at a step, until so many have died; then the job is stopped, and the last one follows it to its end.

Prints one JSON line: how often it was at which of the STEPS that a follower died.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import boto3
import desks

from trainmaster.budget.approval import Rate
from trainmaster.training.following import Cadence, follow_training
from trainmaster.training.log_sinks import FileSink, Line
from trainmaster.training.logs import LogReader

STEPS = [
    "a call of AWS begun", "a call of AWS answered", "lines about to be written", "half-way through the lines",
    "lines written", "position about to be noted", "position noted",
]  # fmt: skip


class Death:
    """Comes when that step is taken so many times."""

    def __init__(self, at: str, times: int) -> None:
        self._at, self._left = at, times

    def step(self, what: str) -> None:
        self._left -= what == self._at
        if not self._left:
            os.kill(os.getpid(), signal.SIGKILL)


class MortalSink(FileSink):
    def __init__(self, path: Path, death: Death) -> None:
        super().__init__(path)
        self._death = death

    def tell(self, lines: Sequence[Line]) -> None:
        self._death.step("lines about to be written")
        half = len(lines) // 2
        super().tell(lines[:half])
        torn = os.dup(self._file)
        os.write(torn, b"2026-01-01T00:00:00.000+00:00 torn half a li")  # as a write that was cut
        self._death.step("half-way through the lines")
        os.ftruncate(torn, os.fstat(torn).st_size - 44)
        super().tell(lines[half:])
        self._death.step("lines written")


class MortalPositions:
    def __init__(self, inner: Any, death: Death) -> None:
        self._inner, self._death = inner, death

    def load(self, job: str, reader: str, /) -> Mapping[str, str | None]:
        found: Mapping[str, str | None] = self._inner.load(job, reader)
        return found

    def save(self, job: str, reader: str, positions: Mapping[str, str | None], /) -> None:
        self._death.step("position about to be noted")
        self._inner.save(job, reader, positions)
        self._death.step("position noted")


def follow(folder: Path, job: str, hosts: int, death: Death) -> None:
    with desks.desk_at(folder, os.environ) as desk, MortalSink(folder / "log", death) as sink:

        def client(service: str) -> Any:
            found = desk.client(service)
            if not getattr(found, "mortal", False):
                found.mortal = True
                found.meta.events.register("before-call", lambda **_: death.step("a call of AWS begun"))
                found.meta.events.register("after-call", lambda **_: death.step("a call of AWS answered"))
            return found

        reader = LogReader(client, job, hosts, sink, MortalPositions(desk.catalogue.log_positions, death), "file")
        for _ in follow_training(client, reader, Rate(Decimal(1)), Cadence(0.05, 60)):
            pass


def main(folder: Path, job: str, hosts: int, deaths: int, seed: int) -> None:
    dice, died = random.Random(seed), Counter[str]()  # noqa: S311 - repeatable, not secret
    with desks.desk_at(folder, os.environ) as desk:  # what takes long to load is then there for every child
        desk.client("sagemaker"), desk.client("logs")
    while True:
        alive = died.total() < deaths
        at = STEPS[died.total() % len(STEPS)] if alive else ""
        if not alive:
            boto3.client("sagemaker").stop_training_job(TrainingJobName=job)
        if not (child := os.fork()):
            follow(folder, job, hosts, Death(at, dice.randint(1, 4)))
            os._exit(0)
        status = os.waitpid(child, 0)[1]
        if not os.WIFSIGNALED(status):
            print(json.dumps(died))
            sys.exit(os.WEXITSTATUS(status))
        died.update([at])


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5]))
