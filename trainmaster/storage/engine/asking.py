"""Asking the ends of a copy for one thing at a time, again while that may help."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

from trainmaster.errors import (
    CorruptedUploadError,
    NotConfiguredError,
    StorageUnavailableError,
    TrainmasterError,
    WaitTimedOutError,
)
from trainmaster.storage.ends.protocols import Checks, Destination, NoRoomError, Piece, Source, ThrottledError, Version
from trainmaster.storage.engine.concurrency import LONGEST_PAUSE as MOST_OBEYED
from trainmaster.storage.engine.desk import Desk, OverError
from trainmaster.storage.engine.transfers import Copied, CopyLimits, End, Journal, NotCopied, Transfer

LONGEST_PAUSE = 20.0
"""Seconds between two tries, where nobody asked for more."""

MOST_TURNS = 4
"""So often an object is begun anew whose source says now one thing of it and now another."""

P = ParamSpec("P")
T = TypeVar("T")


class EndFailedError(Exception):
    """Raised when an end still fails after all tries, or did wrong; `altogether` when the next object will do no better."""

    def __init__(self, end: End, error: TrainmasterError, *, altogether: bool) -> None:
        super().__init__(str(error))
        self.end: End = end
        self.error, self.altogether = error, altogether


class Order:
    """A transfer on its way. `size` is what it is known or believed to be, `deadline` a time.monotonic().

    `turns` is how often it was begun anew.
    """

    __slots__ = ("bytes_read", "deadline", "size", "transfer", "turns")

    def __init__(self, transfer: Transfer) -> None:
        self.transfer, self.size = transfer, transfer.size
        self.deadline = float("inf")
        self.bytes_read = self.turns = 0


@dataclass(frozen=True)
class Run:
    """Everything that the copying of many objects has in common. Shared by its threads."""

    source: Source
    destination: Destination
    checks: Checks
    limits: CopyLimits
    journal: Journal | None
    desk: Desk

    def at_source(self, order: Order, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What the source answers. Raises its refusals as they are; EndFailedError, OverError."""
        return self._ask("source", order, lambda: call(*args, **kwargs))

    def at_destination(self, order: Order, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What the destination answers. Raises as `at_source` does."""
        return self._ask("destination", order, lambda: call(*args, **kwargs))

    def read(self, order: Order, start: int, length: int, version: Version | None = None) -> Piece:
        """Bytes of the source's object, no faster than the bandwidth allows."""
        self.desk.wait_to_read(length)
        piece = self.at_source(order, self.source.read, order.transfer.source, start, length, version)
        order.bytes_read += len(piece.data)
        self.desk.tally.read(len(piece.data))
        return piece

    def require_ours(self, order: Order) -> None:
        """Raises LeaseLostError when what lies at the destination may be somebody else's by now."""
        if self.journal:
            self.journal.require_ours(order.transfer)

    def remove(self, order: Order) -> None:
        """What lies at the destination, unless that may be somebody else's."""
        self._if_ours(order, lambda: self.destination.delete(order.transfer.destination))

    def abort(self, order: Order, upload_id: str) -> None:
        """A multipart upload that may be somebody else's, unless it is."""
        self._if_ours(order, lambda: self.destination.abort(order.transfer.destination, upload_id))

    def conclude(self, order: Order, copying: Callable[[Order], Copied | None]) -> None:
        """Copy, and hand out what came of it; nothing where that is yet to come, or all is over."""
        outcome: Copied | NotCopied | None
        try:
            outcome = copying(order)
        except EndFailedError as failure:
            outcome = NotCopied(order.transfer, failure.error, order.bytes_read, failure.end)
            self.desk.failed(failure.end, failure.error, altogether=failure.altogether)
        except TrainmasterError as error:
            # What an end got wrong comes as that end's failure; this one is what nobody vouches for.
            wrong: End | None = "source" if isinstance(error, CorruptedUploadError) else None
            outcome = NotCopied(order.transfer, error, order.bytes_read, wrong)
        except OverError:
            outcome = None
        if outcome is None:
            return
        if isinstance(outcome, Copied):
            self.desk.succeeded()
        self.hand_out(outcome)

    def hand_out(self, outcome: Copied | NotCopied) -> None:
        self.desk.tally.came_of(outcome)
        self.desk.results.put(outcome)

    def _if_ours(self, order: Order, remove: Callable[[], None]) -> None:
        def removed() -> None:
            self.require_ours(order)  # before each try: between two somebody else may have taken it over
            remove()

        self.at_destination(order, removed)

    def _ask(self, end: End, order: Order, call: Callable[[], T]) -> T:
        failures = 0
        while True:
            began, retry_after = time.monotonic(), None
            if began > order.deadline:
                raise self._late(end, order)
            failure: TrainmasterError
            try:
                return call()
            except ThrottledError as error:
                failure, retry_after = error, error.retry_after
                self.desk.throttled(began, retry_after)
            except (NoRoomError, NotConfiguredError) as error:
                raise EndFailedError(end, error, altogether=True) from error
            except (StorageUnavailableError, CorruptedUploadError) as error:
                failure = error
            failures += 1
            if failures >= self.limits.tries or self.desk.is_over:
                raise EndFailedError(end, failure, altogether=False) from failure
            self._pause(end, order, failures, retry_after)

    def _pause(self, end: End, order: Order, failures: int, retry_after: float | None) -> None:
        longest = min(self.limits.pause_seconds * 2 ** (failures - 1), LONGEST_PAUSE)
        seconds = max(min(retry_after or 0.0, MOST_OBEYED), longest * random.uniform(0.5, 1))  # noqa: S311 - jitter, not a secret
        if time.monotonic() + seconds > order.deadline:
            raise self._late(end, order)
        self.desk.pause(seconds)

    def _late(self, end: End, order: Order) -> EndFailedError:
        late = WaitTimedOutError(
            f"{order.transfer.source} was not copied within the {self.limits.object_seconds:g} s it was given;"
            f" {order.bytes_read:,} bytes were read. Try again later."
        )
        return EndFailedError(end, late, altogether=False)
