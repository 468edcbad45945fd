"""Objects that were put, until they are seen at both ends: many by one listing of each where that pays, the others by looks."""

from __future__ import annotations

import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from trainmaster.errors import ObjectChangedError, TrainmasterError
from trainmaster.storage.ends.protocols import FEWEST_LISTED, Version, folder_of, same_tag
from trainmaster.storage.engine.asking import MOST_TURNS, EndFailedError, Order, Run
from trainmaster.storage.engine.desk import OverError, Work
from trainmaster.storage.engine.settling import Sent, copied, settled
from trainmaster.storage.engine.transfers import Copied, End

ENOUGH, LONGEST_WAIT = 900, 2.0
"""So many objects are not kept waiting for more, nor is one for more than so many seconds. With those that lie between them as
they are still on their way, so many of one folder fill a page of its listing, which is of 1,000."""


@dataclass(frozen=True, eq=False)
class Put:
    """An object that was put: which version of it was read, and what the destination answered."""

    order: Order
    version: Version
    sent: Sent

    def path(self, end: End) -> str:
        return self.order.transfer.source if end == "source" else self.order.transfer.destination

    def is_shown(self, end: End, found: Version | None) -> bool:
        """Whether that is at the destination what was put, or at the source what was read."""
        tag = self.version.tag if end == "source" else self.sent.tag
        return found is not None and found.size == self.version.size and same_tag(found.tag, tag)


class Gathering:
    """What was put and is yet to be seen. Nothing is held wrong, and nothing removed, on the word of a listing: that asks for a look."""

    def __init__(self, run: Run, again: Callable[[Order], None]) -> None:
        """`again` is told of an object that was replaced at the source meanwhile, and is to be copied anew."""
        self._run, self._again, self._lock = run, again, threading.Lock()
        self._lists: dict[End, bool] = {"source": run.source.lists, "destination": run.destination.lists}
        self._waiting: list[Put] = []
        self._looks: deque[Work] = deque()
        self._since, self._is_dropped = 0.0, False

    def add(self, put: Put) -> bool:
        """False where no end can list: it is to be looked at now."""
        if not any(self._lists.values()):
            return False
        with self._lock:
            if not self._waiting:
                self._since = time.monotonic()
            if not self._is_dropped:
                self._waiting.append(put)
        return True

    def next(self, *, nothing_else: bool) -> Work | None:
        """What is to be seen now; `nothing_else`: there is none to be waited for. Quick: it is called with the desk locked."""
        if not (self._looks or self._waiting):
            return None
        with self._lock:
            if self._run.desk.failure:
                self._looks.clear()  # one listing more may show what arrived; a failed end is not asked for each object
            if self._looks:
                return self._looks.popleft()
            is_due = nothing_else or len(self._waiting) >= ENOUGH or time.monotonic() - self._since >= LONGEST_WAIT
            if not (self._waiting and is_due):
                return None
            puts, self._waiting = self._waiting, []
        return _Listing(self, puts)

    def drop(self) -> None:
        """See nothing more: a later try will, of what is there."""
        with self._lock:
            self._is_dropped = True
            self._waiting.clear()
            self._looks.clear()

    def settle(self, puts: Sequence[Put]) -> None:
        """Hand out what the listings show to be copied; the others are looked at, by as many threads as there are."""
        try:
            there, unchanged = self._shown("destination", puts), self._shown("source", puts)
        except OverError:
            return
        unseen = [put for put in puts if not (put in there and put in unchanged)]
        for put in there & unchanged:
            self._run.hand_out(copied(put.order, put.version, put.sent))
        if unseen:
            with self._lock:
                self._looks.extend(_Look(self, put, put in there, put in unchanged) for put in unseen)
            self._run.desk.wake()

    def look(self, put: Put, *, is_there: bool, is_unchanged: bool) -> None:
        """Hand out what comes of an object of which not everything was seen yet."""

        def looked(order: Order) -> Copied | None:
            try:
                return settled(self._run, order, put.version, put.sent, is_there=is_there, is_unchanged=is_unchanged)
            except ObjectChangedError:
                if order.turns >= MOST_TURNS:
                    raise
                self._again(order)
                return None
            except EndFailedError:
                if self._run.desk.is_over:
                    self.drop()  # nobody waits for an end that answers no more
                raise

        self._run.conclude(put.order, looked)

    def _shown(self, end: End, puts: Iterable[Put]) -> set[Put]:
        folders: defaultdict[str, list[Put]] = defaultdict(list)
        for put in puts:
            folders[folder_of(put.path(end))].append(put)
        shown: set[Put] = set()
        fewest = 1 if self._run.desk.failure else FEWEST_LISTED  # of a failed end nobody asks for a look
        for together in folders.values():
            if len(together) >= fewest and self._lists[end]:
                found = self._listed(end, together)
                shown.update(put for put in together if put.is_shown(end, found.get(put.path(end))))
        return shown

    def _listed(self, end: End, puts: Sequence[Put]) -> dict[str, Version]:
        """Raises OverError."""
        run = self._run
        ask, listing = (
            (run.at_source, run.source.listing) if end == "source" else (run.at_destination, run.destination.listing)
        )
        first = min((put.order for put in puts), key=lambda order: order.deadline)
        try:
            return dict(ask(first, listing, [put.path(end) for put in puts]))
        except EndFailedError as failure:
            if run.desk.is_over:
                self.drop()
                raise OverError from failure
            self._lists[end] = not failure.altogether  # who may not list may look
        except TrainmasterError:
            self._lists[end] = False
        return {}


class _Listing:
    is_large, weight = False, 0

    def __init__(self, gathering: Gathering, puts: Sequence[Put]) -> None:
        self._gathering, self._puts = gathering, puts

    def run(self) -> int:
        self._gathering.settle(self._puts)
        return 0


class _Look:
    is_large, weight = False, 0

    def __init__(self, gathering: Gathering, put: Put, is_there: bool, is_unchanged: bool) -> None:
        self._gathering, self._put = gathering, put
        self._is_there, self._is_unchanged = is_there, is_unchanged

    def run(self) -> int:
        self._gathering.look(self._put, is_there=self._is_there, is_unchanged=self._is_unchanged)
        return 0
