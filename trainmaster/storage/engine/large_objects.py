"""Copying a large object: its pieces worked on at once by whichever threads are there, phase after phase."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import Protocol, runtime_checkable

from trainmaster.errors import TrainmasterError
from trainmaster.storage.engine.asking import EndFailedError, Order, Run
from trainmaster.storage.engine.desk import OverError, Work
from trainmaster.storage.engine.in_order import Hold
from trainmaster.storage.engine.transfers import Copied

ENDS_IT = (TrainmasterError, EndFailedError, OverError)


def reason(failure: Exception) -> Exception:
    """What an end's failure was."""
    return failure.error if isinstance(failure, EndFailedError) else failure


@runtime_checkable
class Phase(Protocol):
    """A part of the copying of one large object, made of numbered pieces of the same weight."""

    numbers: deque[int]
    """Of the pieces yet to be begun."""
    weight: int

    def may_begin(self, number: int, running: int) -> bool:
        """Whether the piece may be begun beside so many others. Quick: it is asked with locks held."""

    def do(self, number: int, hold: Hold) -> None:
        """One piece; `hold` is shared with whoever keeps its bytes for longer. Raises any of `ENDS_IT`."""

    def close(self) -> Phase | Copied | None:
        """Called once all pieces are done: what comes next, or of it; None where the object goes another way."""

    def give_up(self, failure: Exception) -> None:
        """Called once nothing of it runs any more, when one of `ENDS_IT` ended it. Leaves nothing that is of no use. Raises nothing."""


class _Piece:
    is_large = True

    def __init__(self, of: LargeObject, phase: Phase, number: int) -> None:
        self._of, self._phase, self._number = of, phase, number
        self.weight = phase.weight

    def run(self) -> int:
        return self._of.do(self._phase, self._number)


class LargeObject:
    """A large object on its way. The last thread at work on a phase closes it."""

    def __init__(self, run: Run, order: Order, opening: Phase) -> None:
        self.size = order.size or 0
        self._run, self._order, self._phase = run, order, opening
        self._lock = threading.Lock()
        self._running = 0
        self._failure: Exception | None = None

    def next_weight(self) -> int | None:
        with self._lock:
            numbers = self._phase.numbers
            if self._failure or not numbers or not self._phase.may_begin(numbers[0], self._running):
                return None
            return self._phase.weight

    def next(self) -> Work:
        with self._lock:
            self._running += 1
            return _Piece(self, self._phase, self._phase.numbers.popleft())

    def do(self, phase: Phase, number: int) -> int:
        """One piece, and what is due after it. Returns how much of its weight is to be given back."""
        order, desk = self._order, self._run.desk
        order.deadline = min(order.deadline, time.monotonic() + self._run.limits.object_seconds)
        hold, failure = Hold(lambda: desk.give_back(phase.weight)), None
        try:
            phase.do(number, hold)
        except ENDS_IT as error:
            failure = error
        given_back = phase.weight if hold.is_last() else 0
        with self._lock:
            self._failure = self._failure or failure
            self._running -= 1
            is_last = not self._running and bool(self._failure or not phase.numbers)
        if is_last:
            self._run.conclude(order, self._closed)
        return given_back

    def abandon(self) -> None:
        """Called when all is over and no thread is left."""
        self._phase.give_up(OverError())

    def _closed(self, _: Order) -> Copied | None:
        try:
            if self._failure:
                raise self._failure
            outcome = self._phase.close()
            while isinstance(outcome, Phase) and not outcome.numbers:  # all its pieces were done by an earlier try
                with self._lock:
                    self._phase = outcome
                outcome = outcome.close()
        except ENDS_IT as failure:
            self._phase.give_up(failure)
            self._run.desk.drop_large(self)
            raise
        if outcome is None or isinstance(outcome, Copied):
            self._run.desk.drop_large(self)
            return outcome
        with self._lock:
            self._phase = outcome
        return None
