"""How far the reading of a large file is: a bar on the terminal, or a line where colours are not wanted, that is gone in the end."""

from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING, Self, TextIO

from trainmaster.commands.terminal.looks import is_styled
from trainmaster.plain_words import size

if TYPE_CHECKING:
    from trainmaster.commands.terminal.bar import Bar

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
        self._bar: Bar | None = None

    def show(self, read: int) -> None:
        """So many bytes have been read."""
        now = time.monotonic()
        if not self._on_terminal or now < self._next:
            return
        self._next = now + EVERY
        share = f"{min(read / self._total, 1):4.0%} of {size(self._total)}" if self._total else size(read)
        said = f"{share}, {size(int(read / (now - self._began)))} a second"
        if not self._shown and is_styled(self._stream):
            from trainmaster.commands.terminal.bar import Bar  # noqa: PLC0415 - Rich is for terminals alone

            self._bar = Bar(self._total, self._stream)
        self._shown = True
        if self._bar:
            self._bar.show(read, said)
        else:
            self._write(f"\r\033[K  {said}")

    def say(self, line: str) -> None:
        """A line that stays, where the progress was."""
        if self._bar:
            self._bar.say(line)
        else:
            self._write(f"\r\033[K{line}\n" if self._shown else f"{line}\n")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._bar:
            self._bar.close()
        elif self._shown:
            self._write("\r\033[K")

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()
