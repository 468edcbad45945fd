"""What AWS does a while after it was asked: one thread that carries changes out in their time."""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
import time
from collections.abc import Callable

SETTLE_SECONDS = 0.1
"""How long a part stays Pending, Updating or Deleting. AWS takes from seconds to minutes."""

_log = logging.getLogger(__name__)


class Settling:
    """Safe to share between threads. What has not come about when it is closed is left to the next start's recovery."""

    def __init__(self, seconds: float = SETTLE_SECONDS) -> None:
        self._seconds = seconds
        self._changed = threading.Condition()
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers, self._closed = itertools.count(), False
        self._thread = threading.Thread(target=self._run, name="studio-settling", daemon=True)
        self._thread.start()

    def later(self, change: Callable[[], None]) -> None:
        """Carry the change out in a while."""
        with self._changed:
            heapq.heappush(self._due, (time.monotonic() + self._seconds, next(self._numbers), change))
            self._changed.notify()

    def close(self) -> None:
        """Back when no change is under way; none begins any more."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while (change := self._next()) is not None:
            try:
                change()
            except Exception:  # noqa: BLE001 - one change that fails stops no other
                _log.exception("A change of Studio's did not come about.")

    def _next(self) -> Callable[[], None] | None:
        with self._changed:
            while not self._closed:
                wait = self._due[0][0] - time.monotonic() if self._due else None
                if wait is not None and wait <= 0:
                    return heapq.heappop(self._due)[2]
                self._changed.wait(wait)
            return None
