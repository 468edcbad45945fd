"""Those who work on the errands: a few followers at a time, each a process, killed and started again until every request has
ended; and those who reconcile meanwhile."""

from __future__ import annotations

import json
import random
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from datetime import timedelta
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from benchmarks.soaking.errands import Errand
from benchmarks.soaking.follower import AGAIN, BROKEN, DONE, RECONCILED, REFUSED, follow, reconcile_once

KILLED = -9
RECONCILE_EVERY = 4.0
RECONCILES_AT_ONCE = 2
MOST_LIVES = 40
"""A follower that has not come to an end by then never will."""
HANGS_AFTER = 240.0
"""Seconds. No job of a soak takes half of it."""


@dataclass
class Following:
    """One follower of an errand, over all its lives."""

    errand: Errand
    place: int
    lives: int = 0
    not_before: float = 0.0
    began: float = 0.0
    process: Any = None

    @property
    def run(self) -> str:
        return self.errand.runs()[self.place]


@dataclass
class Crew:
    """`step` starts whoever is due and sees who has ended. Nobody is left when `dismiss` returns."""

    errands: list[Errand]
    folder: Path
    size: int
    seed: int
    release_after: timedelta
    counts: Counter[str] = field(default_factory=Counter)
    followed: set[str] = field(default_factory=set)
    """Runs that saw their job's end."""
    refused: set[str] = field(default_factory=set)
    """Names of errands that are to be given up when they are refused: what stopped them came before their launch."""
    broken: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._context = get_context("forkserver")
        self._context.set_forkserver_preload(["benchmarks.soaking.follower"])
        self._dice = random.Random(f"{self.seed}/crew")  # noqa: S311 - repeatable
        self._waiting = deque(Following(errand, place) for errand in self.errands for place in range(errand.followers))
        self._working: list[Following] = []
        self._reconciling: list[tuple[Any, float]] = []
        self._next_reconcile = time.monotonic() + RECONCILE_EVERY
        self._rounds = 0

    @property
    def is_done(self) -> bool:
        return not self._waiting and not self._working

    def sentence(self) -> str:
        return f"{len(self._working)} followers at work, {len(self._waiting)} waiting, {len(self.followed)} done"

    def step(self, stopped: set[str]) -> None:
        """`stopped` are the errands somebody asked to stop."""
        self._see_who_has_ended(stopped)
        now = time.monotonic()
        for following in list(self._waiting):
            if len(self._working) >= self.size:
                break
            if following.not_before <= now:
                self._waiting.remove(following)
                self._start(following)
        self._reconcile(now)

    def reconcile(self) -> None:
        """One round, to its end."""
        process = self._start_reconcile()
        process.join(120)
        self._see_reconciled(process)

    def reconciled(self) -> Counter[str]:
        """How often reconciling found what. A job that is stopping is found so more than once."""
        path = self.folder / RECONCILED
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        return Counter(json.loads(line)["what"] for line in lines)

    def dismiss(self) -> None:
        for process in [following.process for following in self._working] + [one for one, _ in self._reconciling]:
            process.kill()
            process.join()

    def _start(self, following: Following) -> None:
        errand, life = following.errand, following.lives
        kills = errand.kills[following.place]
        kill = kills[life] if life < len(kills) else None
        following.lives += 1
        following.began = time.monotonic()
        arguments = (errand, following.run, kill, self.folder)
        following.process = self._context.Process(target=follow, args=arguments, name=following.run)
        following.process.start()
        self._working.append(following)

    def _see_who_has_ended(self, stopped: set[str]) -> None:
        for following in list(self._working):
            code = following.process.exitcode
            if code is None and time.monotonic() - following.began > HANGS_AFTER:
                self.broken.append(f"{following.run} did not come to an end in {HANGS_AFTER:.0f} s")
                following.process.kill()
                following.process.join()
                code = following.process.exitcode
            if code is None:
                continue
            following.process.join()
            self._working.remove(following)
            if not self._is_over(following, code, stopped):
                following.not_before = time.monotonic() + self._dice.uniform(0.0, 1.5)
                self._waiting.appendleft(following)

    def _is_over(self, following: Following, code: int, stopped: set[str]) -> bool:
        errand = following.errand
        names = {KILLED: "killed", DONE: "done", REFUSED: "refused", AGAIN: "cut short", BROKEN: "broken"}
        self.counts[f"followers {names.get(code, f'exit {code}')}"] += 1
        if code == DONE:
            self.followed.add(following.run)
        elif code == REFUSED and errand.name in stopped:
            self.refused.add(errand.name)
        elif code == KILLED and errand.fate != "followed":
            pass
        else:
            if code not in (KILLED, REFUSED, AGAIN):
                self.broken.append(f"{following.run} broke; see {self.folder / following.run}.txt")
            if following.lives < MOST_LIVES and len(self.broken) < MOST_LIVES:
                return False
            self.broken.append(f"{following.run} was given up after {following.lives} lives")
        return True

    def _reconcile(self, now: float) -> None:
        for process, killed_at in list(self._reconciling):
            if process.exitcode is None and now > killed_at:
                process.kill()
            if process.exitcode is not None:
                self._reconciling.remove((process, killed_at))
                self._see_reconciled(process)
        if now >= self._next_reconcile and not self._reconciling:
            self._next_reconcile = now + self._dice.uniform(0.5, 1.5) * RECONCILE_EVERY
            for _ in range(self._dice.randint(1, RECONCILES_AT_ONCE)):
                killed_after = self._dice.uniform(0.5, 2.0) if self._dice.random() < 0.2 else HANGS_AFTER
                self._reconciling.append((self._start_reconcile(), now + killed_after))

    def _start_reconcile(self) -> Any:
        self._rounds += 1
        arguments = (self.release_after, self.folder, self._rounds)
        process = self._context.Process(target=reconcile_once, args=arguments, name=f"reconcile-{self._rounds}")
        process.start()
        return process

    def _see_reconciled(self, process: Any) -> None:
        process.join()
        names = {KILLED: "killed", DONE: "done", AGAIN: "cut short"}
        self.counts[f"reconciles {names.get(process.exitcode, 'broken')}"] += 1
        if process.exitcode not in names:
            self.broken.append(f"{process.name} broke; see {self.folder / process.name}.txt")
