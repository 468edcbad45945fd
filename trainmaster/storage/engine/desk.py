"""Who does what next: work for threads, with as many at it and as many bytes held at once as may be."""

from __future__ import annotations

import heapq
import queue
import threading
import time
from collections import deque
from collections.abc import Mapping
from typing import Protocol

from trainmaster.errors import DestinationFailedError, SourceFailedError, TrainmasterError
from trainmaster.storage.engine.bandwidth import Bandwidth
from trainmaster.storage.engine.concurrency import Concurrency
from trainmaster.storage.engine.in_flight import InFlight
from trainmaster.storage.engine.transfers import Copied, CopyLimits, End, NotCopied, Tally

_MOMENT = 0.1
"""Seconds in which somebody who waits notices that he was told to stop."""
_BESIDE = 64 << 10
"""Bytes that a connection holds beside what it moves."""
_LARGEST_KEPT = 4 << 20
"""Bytes: about so large is the largest of which the allocator keeps many."""


def weight(size: int) -> int:
    """What holding so many bytes counts: half as much again, which HTTP clients hold beside them, and what the allocator keeps
    for the next of a size it takes from its heaps.

    Measured with 256 MiB, 95 MB of Python included: parts of 16 MiB stay below 290 MB of RSS; so do objects of 2 MB, which
    took 370 MB where they counted half as much again only.
    """
    return size + size // 2 + min(size, _LARGEST_KEPT) * 3 // 2 + _BESIDE


class OverError(Exception):
    """Raised in a thread that would begin something more when all is over."""


class Work(Protocol):
    """Something for one thread to do, that may hold `weight` while it does."""

    weight: int
    is_large: bool

    def run(self) -> int:
        """What it gives back of its weight at its end; what it handed on is given back by others. Raises no error of a transfer."""


class Large(Protocol):
    """A large object, several of whose pieces can be worked on at once. Called with the desk locked."""

    size: int

    def next_weight(self) -> int | None:
        """What the next piece weighs; None while there is none to begin."""

    def next(self) -> Work: ...

    def abandon(self) -> None:
        """Leave nothing half-done; called without a thread at it, the desk not locked."""


class Gathered(Protocol):
    """Objects that are all but done, and wait for others to be ended together with."""

    def next(self, *, nothing_else: bool) -> Work | None:
        """What is due; all of it where there is `nothing_else`. Called with the desk locked."""

    def drop(self) -> None:
        """Nothing of it is to be ended any more."""


class Desk:
    """Hands work to threads: of large objects first, the largest ahead; while small ones wait, half of the hands are theirs.

    It also knows when all is over: told to stop, or an end of the copy failed altogether.
    """

    def __init__(self, limits: CopyLimits, tally: Tally, stop: threading.Event, names: Mapping[End, str]) -> None:
        self.limits, self.tally, self._stop, self._names = limits, tally, stop, names
        self.results: queue.SimpleQueue[Copied | NotCopied] = queue.SimpleQueue()
        self.active_large: list[Large] = []
        self.failure: BaseException | None = None
        self.gathering: Gathered | None = None
        self._ended = threading.Event()
        self._changed = threading.Condition()
        self._concurrency = Concurrency(min(limits.first_at_once, limits.most_at_once), limits.most_at_once)
        self._in_flight, self._bandwidth = InFlight(limits.in_flight_bytes), Bandwidth(limits.bytes_per_second)
        self._small: deque[Work] = deque()
        self._large: list[tuple[int, int, Large]] = []
        self._at_work = self._at_large = self._idle = self._pausing = self._arrivals = 0
        self._is_all_in = False
        self._failed_in_a_row: dict[End, int] = {"source": 0, "destination": 0}

    @property
    def is_over(self) -> bool:
        return self._ended.is_set() or self._stop.is_set()

    def end(self, failure: BaseException | None = None) -> None:
        """Nothing more is begun. The first failure is the one that counts."""
        with self._changed:
            self.failure = self.failure or failure
            self._ended.set()
            self._changed.notify_all()

    def all_in(self) -> None:
        """Nothing more is added but what comes of what was: what was gathered waits for nothing else."""
        with self._changed:
            self._is_all_in = True
            self._changed.notify()

    def wake(self) -> None:
        """There is something gathered to be ended."""
        with self._changed:
            self._changed.notify_all()

    def add(self, work: Work) -> None:
        with self._changed:
            self._small.append(work)
            self._changed.notify()

    def add_large(self, large: Large) -> None:
        with self._changed:
            self._arrivals += 1
            heapq.heappush(self._large, (-large.size, self._arrivals, large))
            self._changed.notify()

    def drop_large(self, large: Large) -> None:
        """It came to an end: another may be begun."""
        with self._changed:
            self.active_large.remove(large)

    def wants_hands(self, hands: int) -> bool:
        """Whether one more thread than so many would find something to do."""
        if hands >= self.limits.most_at_once:
            return False
        with self._changed:
            waiting = bool(self._small or self._large or self.active_large)
            return waiting and not self._idle and self._has_a_place()

    def take(self) -> Work | None:
        """The next work, once there is some; None when all is over and nothing is left that was gathered.

        Who takes it says when he has `finished`.
        """
        with self._changed:
            while True:
                is_over = self.is_over
                if (is_over or self._has_a_place()) and (work := self._chosen(is_over)):
                    self._at_work += 1
                    self._at_large += work.is_large
                    self._in_flight.take(work.weight)
                    self.tally.began(work.weight)
                    if self._idle:
                        self._changed.notify()  # there may be something for one more
                    return work
                if is_over:
                    return None
                self._wait()

    def finished(self, work: Work, given_back: int) -> None:
        with self._changed:
            self._at_work -= 1
            self._at_large -= work.is_large
            self._in_flight.give_back(given_back)
            self.tally.ended(given_back)
            if self._pausing:
                self._changed.notify_all()

    def give_back(self, size: int) -> None:
        """Of what was handed on by a work that is finished."""
        with self._changed:
            self._in_flight.give_back(size)
            self.tally.let_go(size)
            self._changed.notify()

    def throttled(self, began: float, retry_after: float | None) -> None:
        """An end asked for fewer requests, of one that began then."""
        with self._changed:
            self._concurrency.throttled(began, time.monotonic(), retry_after)
        self.tally.complained()

    def pause(self, seconds: float) -> None:
        """Wait, while somebody else may work instead. Raises OverError."""
        with self._changed:
            self._at_work -= 1
            self._pausing += 1
            self._changed.notify()
        self._sleep(seconds)
        with self._changed:
            while not (self.is_over or self._has_a_place()):
                self._wait()
            self._pausing -= 1
            self._at_work += 1
        self.require_not_over()

    def wait_to_read(self, size: int) -> None:
        """As long as the bandwidth asks for. Raises OverError."""
        if self.limits.bytes_per_second:
            with self._changed:
                seconds = self._bandwidth.reserve(size, time.monotonic())
            self._sleep(seconds)
            self.require_not_over()

    def require_not_over(self) -> None:
        if self.is_over:
            raise OverError

    def succeeded(self) -> None:
        """Both ends did what they were asked for."""
        with self._changed:
            self._concurrency.succeeded(self._at_work)
            self._failed_in_a_row["source"] = self._failed_in_a_row["destination"] = 0

    def failed(self, end: End, error: TrainmasterError, *, altogether: bool) -> None:
        """An end failed an object after all tries; `altogether` when it will fail all others as well."""
        with self._changed:
            self._failed_in_a_row[end] += 1
            count = self._failed_in_a_row[end]
        if altogether or count >= self.limits.failures_in_a_row:
            kind = SourceFailedError if end == "source" else DestinationFailedError
            why = "cannot be used" if altogether else f"failed {count} objects in a row"
            failure = kind(f"{self._names[end]} {why}, so nothing more was tried. {error}")
            failure.__cause__ = error
            self.end(failure)

    def _chosen(self, is_over: bool) -> Work | None:
        waiting = self._at_work or self._small or self._large or self.active_large
        nothing_else = is_over or (self._is_all_in and not waiting)
        if self.gathering and (work := self.gathering.next(nothing_else=nothing_else)):
            return work
        return None if is_over else self._to_begin()

    def _to_begin(self) -> Work | None:
        crowded = bool(self._small) and self._at_large >= max(1, self._concurrency.limit // 2)
        work = None if crowded else self._of_large()
        if work is None and self._small and self._in_flight.fits(self._small[0].weight):
            work = self._small.popleft()
        return work

    def _of_large(self) -> Work | None:
        """Of the one begun longest ago that has something to begin, so that it ends; else of the largest that waits."""
        for large in self.active_large:
            if self._fits(large):
                return large.next()
        if self._large and len(self.active_large) < self.limits.large_at_once and self._fits(self._large[0][2]):
            large = heapq.heappop(self._large)[2]
            self.active_large.append(large)
            return large.next()
        return None

    def _fits(self, large: Large) -> bool:
        needed = large.next_weight()
        return needed is not None and self._in_flight.fits(needed)

    def _has_a_place(self) -> bool:
        return self._at_work < self._concurrency.limit and time.monotonic() >= self._concurrency.closed_until

    def _wait(self) -> None:
        closed = self._concurrency.closed_until - time.monotonic()
        self._idle += 1
        self._changed.wait(min(closed, 1.0) if closed > 0 else 1.0)
        self._idle -= 1

    def _sleep(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while not self.is_over and (left := until - time.monotonic()) > 0:
            self._ended.wait(min(left, _MOMENT))
