"""Two runs of a migration side by side, each killed at random times and started again until nothing is left to move."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from benchmarks.soaking.carrier import DONE, carry
from benchmarks.soaking.passage import Passage

LOOKS_EVERY = 0.005
LATEST_KILL = 0.4
"""Seconds between the request that a kill is due with and the kill: so it comes anywhere in what follows, too."""
READING = "/object/authenticated/training-datasets/"


@dataclass
class Run:
    """One of the runs, over all its lives. Its `passage` is its own way to Supabase, so what it read is known."""

    name: str
    passage: Passage
    process: Any = None
    reading: set[str] = field(default_factory=set)
    """What its present life has begun to read."""
    read: set[str] = field(default_factory=set)
    _seen: int = 0

    def look(self) -> None:
        for call in self.passage.passed[self._seen :]:
            self._seen += 1
            if call.method == "GET" and READING in call.path:
                self.reading.add(call.path.partition(READING)[2])
        self.read |= self.reading


@dataclass
class Voyage:
    """`step` until `is_over`. `lost` counts, by path, how often it was being read, or read and not yet catalogued, at a kill."""

    runs: list[Run]
    environment: Mapping[str, str]
    folder: Path
    kills: int
    objects: int
    seed: int
    catalogued: Callable[[], Set[str]]
    """Paths at the source of the datasets that the catalogue has in S3 by now."""
    counts: Counter[str] = field(default_factory=Counter)
    lost: Counter[str] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._dice = random.Random(f"{self.seed}/voyage")  # noqa: S311 - repeatable
        self._context = get_context("forkserver")
        self._context.set_forkserver_preload(["benchmarks.soaking.carrier"])
        # By how much has been read, not by the clock: so they are spread over the work however fast the machine is.
        self._due = sorted(self._dice.randrange(self.objects * 9 // 10) for _ in range(self.kills))
        self._kill_at: list[float] = []

    @property
    def is_over(self) -> bool:
        """Whether a run found nothing left to do after the last kill, and none is at work any more."""
        return bool(self.counts["ended"]) and not any(run.process for run in self.runs)

    def sentence(self) -> str:
        return f"{len(self.catalogued())} of {self.objects} datasets in S3 after {self.counts['kills']} kills"

    def step(self) -> None:
        for run in self.runs:
            run.look()
        now, begun = time.monotonic(), len(set().union(*(run.read for run in self.runs)))
        while self._due and begun > self._due[0]:
            self._due.pop(0)
            self._kill_at.append(now + self._dice.uniform(0.0, LATEST_KILL))
        if self._kill_at and now >= min(self._kill_at) and self._kill_one():
            self._kill_at.remove(min(self._kill_at))
        for run in self.runs:
            self._look_after(run)
        time.sleep(LOOKS_EVERY)

    def dismiss(self) -> None:
        for run in self.runs:
            if run.process:
                run.process.kill()
                run.process.join()

    def _look_after(self, run: Run) -> None:
        if run.process is None:
            if not self.counts["ended"]:
                self._start(run)
        elif (code := run.process.exitcode) is not None:
            run.process.join()
            run.process = None
            if code == DONE:
                self.counts["ended"] += 1
                self._due, self._kill_at = [], []
            else:
                self.broken.append(f"{run.name} ended with {code}; see {self._log(run)}")

    def _start(self, run: Run) -> None:
        run.reading.clear()
        environment = {**self.environment, "SUPABASE_URL": run.passage.url}
        run.process = self._context.Process(target=carry, args=(environment, self._log(run)), name=run.name)
        run.process.start()
        self.counts["lives"] += 1

    def _kill_one(self) -> bool:
        """One that has begun to read, if there is any; and note what it was at."""
        at_work = [run for run in self.runs if run.process and run.process.exitcode is None and run.reading]
        if not at_work:
            return False
        run = self._dice.choice(at_work)
        os.kill(run.process.pid, signal.SIGKILL)
        run.process.join()
        run.process = None
        run.look()
        self.counts["kills"] += 1
        self.lost.update(run.reading - self.catalogued())
        return True

    def _log(self, run: Run) -> Path:
        return self.folder / f"{run.name}.txt"
