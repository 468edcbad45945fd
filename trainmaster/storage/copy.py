"""The copy engine: many objects from one end to the other, each proven, as fast as the ends and the limits allow.

Small objects take one read and one put, hashed and proven in the thread that holds them; large ones go in parts, several at once.
All requests are obstore's, in plain threads: it leaves Python while it moves bytes.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator
from dataclasses import replace

from trainmaster.errors import ObjectChangedError
from trainmaster.storage.ends.protocols import Checks, Destination, Source
from trainmaster.storage.engine.asking import MOST_TURNS, EndFailedError, Order, Run
from trainmaster.storage.engine.desk import Desk, OverError
from trainmaster.storage.engine.gathering import Gathering
from trainmaster.storage.engine.large_objects import LargeObject
from trainmaster.storage.engine.parts import Opening
from trainmaster.storage.engine.server_side import ServerSide
from trainmaster.storage.engine.transfers import BegunUpload, Copied, CopyLimits, Journal, NotCopied, Tally, Transfer
from trainmaster.storage.engine.whole_objects import WholeObject

__all__ = ["BegunUpload", "Copied", "CopyLimits", "Journal", "NotCopied", "Tally", "Transfer", "copy_objects"]

LOOK_AHEAD = 1000
"""Transfers taken in before there is a thread for them: among these the large ones go first."""
_AT_A_TIME = 50
_MOMENT = 0.1
"""Seconds in which `stop` is noticed."""


def copy_objects(
    source: Source,
    destination: Destination,
    transfers: Iterable[Transfer],
    *,
    limits: CopyLimits = CopyLimits(),  # noqa: B008 - frozen
    journal: Journal | None = None,
    stop: threading.Event | None = None,
    tally: Tally | None = None,
) -> Iterator[Copied | NotCopied]:
    """What comes of each transfer, as it comes, in any order. `transfers` are taken in while results are, a thousand ahead at most.

    Best given in the order of their paths: those that follow each other are seen together, by listings that begin at the first of
    them. In any other order each listing goes through whole folders.
    Holds at most `limits.in_flight_bytes`, whatever the sizes. After `stop` nothing more is begun, what needs one more moment
    is ended, and what was not begun is not spoken of. When the iterator ends, raises or is closed, no thread of it is left, and of
    what it did not complete only multipart uploads that the journal knows: the next try goes on with them.
    Raises SourceFailedError or DestinationFailedError when an end takes or gives nothing any more: at once when it is gone,
    closed to us or full, else after `limits.failures_in_a_row` objects.
    """
    stop = stop or threading.Event()
    desk = Desk(limits, tally or Tally(), stop, {"source": source.name, "destination": destination.name})
    crew = _Crew(source, destination, limits, journal, desk)
    try:
        yield from crew.results(iter(transfers))
    finally:
        crew.abandon()


class _Crew:
    """The threads of one copy, as many as find something to do."""

    def __init__(
        self, source: Source, destination: Destination, limits: CopyLimits, journal: Journal | None, desk: Desk
    ) -> None:
        self._source, self._destination = source, destination
        self._limits, self._journal, self._desk = limits, journal, desk
        self._threads: list[threading.Thread] = []
        self._gathering: Gathering  # once there is a run
        self._taken = self._given = 0

    def results(self, transfers: Iterator[Transfer]) -> Iterator[Copied | NotCopied]:
        """Raises SourceFailedError, DestinationFailedError, or what was a bug, once all that came before was handed out."""
        first = next(transfers, None)
        if first is None:
            return
        run = self._prepared(first)
        if run:
            self._desk.gathering = self._gathering = Gathering(run, lambda order: self._again(run, order))
            self._give(run, Order(first))
            yield from self._while_it_lasts(run, transfers)
            self.leave()
            while not self._desk.results.empty():
                yield self._desk.results.get()
        if self._desk.failure:
            raise self._desk.failure

    def abandon(self) -> None:
        """Leave, when nobody takes results any more."""
        if self._desk.gathering:
            self._desk.gathering.drop()
        self.leave()

    def leave(self) -> None:
        """Returns when no thread is left, and nothing half-done but what the journal knows of."""
        self._desk.end()
        for thread in self._threads:
            thread.join()
        self._threads.clear()
        for large in self._desk.active_large:
            large.abandon()
        self._desk.active_large.clear()

    def _prepared(self, first: Transfer) -> Run | None:
        """What all have in common, once it is known what the destination checks by itself; None where it cannot be asked."""
        source, destination, limits = self._source, self._destination, self._limits
        unknown = Run(source, destination, Checks(objects=False, parts=False), limits, self._journal, self._desk)
        try:
            checks = unknown.at_destination(Order(first), destination.checks)
        except EndFailedError as failure:
            self._desk.failed(failure.end, failure.error, altogether=True)
            return None
        except OverError:
            return None
        return replace(unknown, checks=checks)

    def _while_it_lasts(self, run: Run, transfers: Iterator[Transfer]) -> Iterator[Copied | NotCopied]:
        desk, exhausted = self._desk, False
        while not desk.is_over:
            for _ in range(min(_AT_A_TIME, LOOK_AHEAD - self._taken + self._given)):
                transfer = next(transfers, None)
                if transfer is None:
                    exhausted = True
                    desk.all_in()
                    break
                self._give(run, Order(transfer))
            if exhausted and self._given == self._taken:
                return
            waits = exhausted or self._taken - self._given >= LOOK_AHEAD
            try:
                outcome = desk.results.get(timeout=_MOMENT if waits else 0)
            except queue.Empty:
                self._hire()
                continue
            self._given += 1
            yield outcome

    def _give(self, run: Run, order: Order) -> None:
        self._taken += 1
        self._route(run, order)
        self._hire()

    def _route(self, run: Run, order: Order) -> None:
        """Where an order goes by its size, as far as that is known."""

        def again(order: Order) -> None:
            self._again(run, order)

        if self._destination.can_copy_from(self._source):
            self._desk.add(ServerSide(run, order))
        elif order.size is None or order.size <= self._limits.part_bytes:
            self._desk.add(WholeObject(run, order, self._gathering, again))
        else:
            self._desk.add_large(LargeObject(run, order, Opening(run, order, again)))

    def _again(self, run: Run, order: Order) -> None:
        """What turned out to be of another size, or was replaced meanwhile."""

        def disagreed(order: Order) -> Copied:
            raise ObjectChangedError(
                f"{self._source.name}/{order.transfer.source} was of another size each of the {order.turns} times it was asked"
                f" for, {order.size:,} bytes at last: it is being replaced, or a cache gives other versions of it. Try again later."
            )

        order.turns += 1
        if order.turns > MOST_TURNS:
            run.conclude(order, disagreed)
        else:
            self._route(run, order)

    def _hire(self) -> None:
        while self._desk.wants_hands(len(self._threads)):
            thread = threading.Thread(target=self._work, name=f"copy-{len(self._threads)}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def _work(self) -> None:
        try:
            while work := self._desk.take():
                self._desk.finished(work, work.run())
        except BaseException as error:  # noqa: BLE001 - raised where results are taken
            self._desk.end(error)
