"""How often each operation was called, and what went wrong on command: what tests and measurements ask afterwards."""

from __future__ import annotations

import threading
from collections import Counter


class Tally:
    """Counts since the process began. Safe to share between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls, self._faults = Counter[str](), Counter[str]()

    def call(self, operation: str) -> None:
        with self._lock:
            self._calls[operation] += 1

    def fault(self, kind: str) -> None:
        with self._lock:
            self._faults[kind] += 1

    def counts(self) -> dict[str, dict[str, int]]:
        """`calls` by operation, those that failed included, and `faults` by kind."""
        with self._lock:
            return {"calls": dict(self._calls), "faults": dict(self._faults)}
