"""Reading an object to its end over connections that break."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from trainmaster.errors import StorageUnavailableError


@dataclass(frozen=True)
class Opened:
    """An answer that is being read. `chunks` raise StorageUnavailableError where the connection breaks."""

    chunks: Iterator[bytes]
    close: Callable[[], None]


@contextmanager
def resumed(open_at: Callable[[int], Opened], start: int, *, tries: int, backoff: float) -> Iterator[Iterator[bytes]]:
    """All bytes from `start`, opened before the block begins and again, further on, where the connection breaks.

    `tries` is how often it may break without a byte in between. `backoff` is in seconds, doubled each time, with jitter.
    """
    opened = open_at(start)

    def chunks() -> Iterator[bytes]:
        nonlocal opened
        position, failures = start, 0
        while True:
            try:
                for chunk in opened.chunks:
                    position, failures = position + len(chunk), 0
                    yield chunk
                return
            except StorageUnavailableError:
                failures += 1
                if failures >= tries:
                    raise
            finally:
                opened.close()
            time.sleep(backoff * 2**failures * random.uniform(0.5, 1))  # noqa: S311 - jitter, not a secret
            opened = open_at(position)

    try:
        yield chunks()
    finally:
        opened.close()
