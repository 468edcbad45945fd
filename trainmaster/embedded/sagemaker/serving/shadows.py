"""Copies of requests for shadow variants, sent beside the traffic and never in its way."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

AT_ONCE = 16
WAITING = 64
"""Copies sent and waiting; those beyond are left out, as a shadow that cannot keep up gets less than its share on AWS."""


class Shadows:
    """Calls `copied` with what it is given, in threads of its own. Safe to share between threads."""

    def __init__(self, copied: Callable[..., None]) -> None:
        self._copied = copied
        self._places = threading.BoundedSemaphore(WAITING)
        self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="shadow")

    def send(self, *copy: Any) -> None:
        """Returns at once."""
        if not self._places.acquire(blocking=False):
            return
        try:
            self._pool.submit(self._copied, *copy).add_done_callback(self._done)
        except RuntimeError:  # closed meanwhile
            self._places.release()

    def close(self) -> None:
        """Send no more; those under way end by themselves."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _done(self, _: Future[None]) -> None:
        self._places.release()
