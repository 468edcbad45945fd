"""How far the reading of a large file is, on a line of the terminal that is gone in the end."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self, TextIO

from trainmaster.datasets.showing.wording import size

FIRST_AFTER, EVERY = 1.0, 0.2
"""Seconds: what takes less than the first is done before anyone could read it."""


class Progress:
    """Shown on a terminal alone. `total` is in bytes, 0 when it is not known."""

    def __init__(self, total: int, stream: TextIO) -> None:
        self._total, self._stream = total, stream
        self._on_terminal = stream.isatty()
        self._began = time.monotonic()
        self._next = self._began + FIRST_AFTER
        self._shown = False

    def show(self, read: int) -> None:
        """So many bytes have been read."""
        now = time.monotonic()
        if not self._on_terminal or now < self._next:
            return
        self._next, self._shown = now + EVERY, True
        share = f"{min(read / self._total, 1):4.0%} of {size(self._total)}" if self._total else size(read)
        rate = size(int(read / (now - self._began)))
        self._stream.write(f"\r\033[K  {share}, {rate} a second")
        self._stream.flush()

    def say(self, line: str) -> None:
        """A line that stays, where the progress was."""
        self._stream.write(f"\r\033[K{line}\n" if self._shown else f"{line}\n")
        self._stream.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._shown:
            self._stream.write("\r\033[K")
            self._stream.flush()
