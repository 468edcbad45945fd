"""Pieces of an object that are worked on at once, and hashed one after the other."""

from __future__ import annotations

import threading
from collections.abc import Callable

from trainmaster.storage.engine.wholeness import Wholeness


class Hold:
    """Memory held by several users: the last that lets go of it gives it back, or is told to."""

    def __init__(self, give_back: Callable[[], None]) -> None:
        self._lock, self._users, self._give_back = threading.Lock(), 1, give_back

    def share(self) -> None:
        with self._lock:
            self._users += 1

    def let_go(self) -> None:
        if self.is_last():
            self._give_back()

    def is_last(self) -> bool:
        """Let go of it; True where nobody else holds it, and the caller is to give it back."""
        with self._lock:
            self._users -= 1
            return self._users == 0


class InOrder:
    """Feeds numbered pieces, from 1, in their order, whichever order they come in. What comes early is held.

    Whoever brings the piece that was waited for feeds it and those after it; nobody waits for another.
    """

    def __init__(self, whole: Wholeness) -> None:
        self.next = 1
        self._whole, self._lock = whole, threading.Lock()
        self._early: dict[int, tuple[memoryview, Hold]] = {}
        self._feeding = False

    def add(self, number: int, data: memoryview, hold: Hold) -> None:
        """Raises DatasetRefusedError as the bytes do; afterwards nothing more is fed."""
        hold.share()
        with self._lock:
            self._early[number] = (data, hold)
            if self._feeding:
                return
            self._feeding = True
        while piece := self._due():
            try:
                self._whole.feed(piece[0])
            finally:
                piece[1].let_go()
            self.next += 1

    def finish(self) -> str:
        """The SHA-256 of all, hexadecimal. Raises DatasetRefusedError."""
        return self._whole.finish()

    def drop(self) -> None:
        """Let go of what is held still: it will not be fed."""
        with self._lock:
            early, self._early = self._early, {}
        for _, hold in early.values():
            hold.let_go()

    def _due(self) -> tuple[memoryview, Hold] | None:
        with self._lock:
            piece = self._early.pop(self.next, None)
            self._feeding = piece is not None
            return piece
