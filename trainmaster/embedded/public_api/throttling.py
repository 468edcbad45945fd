"""How often a client may ask: token buckets by plan and key and by method, and a count for each day."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable, Mapping
from datetime import UTC, datetime
from typing import Any

from trainmaster.embedded.public_api import refusals
from trainmaster.embedded.public_api.refusals import RequestRefusedError


class Throttles:
    """Counts requests, and raises RequestRefusedError for one that is too many. Safe to share between threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._lock = clock, threading.Lock()
        self._buckets: dict[Hashable, tuple[float, float]] = {}
        self._days: dict[Hashable, tuple[str, int]] = {}

    def plan(self, whose: Hashable, throttle: Mapping[str, Any], quota: Mapping[str, Any]) -> None:
        self._take(whose, throttle.get("rateLimit"), throttle.get("burstLimit"))
        if quota and quota.get("period") == "DAY":
            self._count(whose, int(quota["limit"]))

    def method(self, which: Hashable, settings: Mapping[str, Any]) -> None:
        self._take(which, settings.get("throttlingRateLimit"), settings.get("throttlingBurstLimit"))

    def _take(self, whose: Hashable, rate: float | None, burst: int | None) -> None:
        if not rate or not burst:
            return
        with self._lock:
            now = self._clock()
            left, at = self._buckets.get(whose, (float(burst), now))
            left = min(float(burst), left + (now - at) * rate)
            if left < 1:
                self._buckets[whose] = (left, now)
                raise RequestRefusedError(refusals.THROTTLED)
            self._buckets[whose] = (left - 1, now)

    def _count(self, whose: Hashable, limit: int) -> None:
        today = datetime.now(UTC).date().isoformat()
        with self._lock:
            day, count = self._days.get(whose, (today, 0))
            count = count if day == today else 0
            if count >= limit:
                raise RequestRefusedError(refusals.QUOTA_EXCEEDED)
            self._days[whose] = (today, count + 1)
