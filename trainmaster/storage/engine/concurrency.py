"""How many things to do at once with servers that say when it is too much."""

from __future__ import annotations

LONGEST_PAUSE = 60.0
"""Seconds; however long a server asks for."""


class Concurrency:
    """Additive increase, multiplicative decrease: one more at once for each round without a complaint, half after one.

    The rule that keeps TCP fair and stable (Chiu and Jain, 1989), with its slow start: until the first complaint each round
    doubles the limit, as many small objects would be copied before it had grown by one at a time. Times are seconds of one
    clock, which the caller reads. Not locked: whoever shares it does that.
    """

    def __init__(self, first: int, most: int) -> None:
        if not 1 <= first <= most:
            raise ValueError(f"To start with {first} of at most {most} at once makes no sense: 1 ≤ first ≤ most.")
        self._window, self._most, self._lowered_at = float(first), most, float("-inf")
        self.closed_until = float("-inf")
        """Nothing new is to begin before: a server asked for a pause."""

    @property
    def limit(self) -> int:
        return int(self._window)

    def succeeded(self, at_once: int) -> None:
        """One thing was done while so many were. A limit that was not made use of proves nothing and does not grow."""
        if at_once >= self.limit:
            never_lowered = self._lowered_at == float("-inf")
            self._window = min(self._window + (1.0 if never_lowered else 1 / self._window), float(self._most))

    def throttled(self, began: float, now: float, retry_after: float | None = None) -> None:
        """A server complained of a request that began then.

        All those that were sent before the limit was lowered complain of the same: they lower it once.
        """
        if retry_after:
            self.closed_until = max(self.closed_until, now + min(retry_after, LONGEST_PAUSE))
        if began >= self._lowered_at:
            self._window, self._lowered_at = max(self._window / 2, 1.0), now
