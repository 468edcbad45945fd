"""A file or a pipe that stops when the user says so, even while nothing comes through it."""

from __future__ import annotations

import io
import os
import select
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_BUFFER = 1 << 20
_LOOK = 0.1  # seconds


class StoppedError(KeyboardInterrupt):
    """Raised when Ctrl-C or SIGTERM ends the command; `exit_code` is what a shell says of it."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.exit_code = 128 + number


@contextmanager
def stoppable(descriptor: int) -> Iterator[IO[bytes]]:
    """What the descriptor, which is closed in the end, gives. At a signal StoppedError is raised and the stream ends, so that
    no thread that reads it waits for ever for a pipe, or for long for a file of many gigabytes."""
    raw = _Stoppable(descriptor)

    def stop(number: int, _frame: FrameType | None) -> None:
        raw.stopped = True
        raise StoppedError(number)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with io.BufferedReader(raw, _BUFFER) as stream:
            yield stream
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Stoppable(io.RawIOBase):
    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.stopped = False

    def readable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def readinto(self, buffer: WriteableBuffer) -> int:
        while not self.stopped:
            if select.select([self._descriptor], [], [], _LOOK)[0]:
                return os.readv(self._descriptor, [buffer])
        return 0

    def close(self) -> None:
        if not self.closed:
            os.close(self._descriptor)
        super().close()
