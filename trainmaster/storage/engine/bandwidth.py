"""How fast bytes may go, on average."""

from __future__ import annotations


class Bandwidth:
    """A token bucket of `bytes_per_second`, a second's worth deep: who wants to move bytes is told how long to wait first.

    More than the bucket holds may be wanted at once; it is waited for beforehand by whoever comes next. So over any time at
    most that time's worth passes, one second's, and the last one wanted. Times are seconds of one clock, which the caller
    reads. Not locked: whoever shares it does that.
    """

    def __init__(self, bytes_per_second: int | None) -> None:
        if bytes_per_second is not None and bytes_per_second < 1:
            raise ValueError(f"At {bytes_per_second} bytes a second nothing ever ends; at least 1 is needed.")
        self._rate, self._free_at = bytes_per_second, float("-inf")

    def reserve(self, size: int, now: float) -> float:
        """Seconds to wait before that many bytes are moved; they count from now on."""
        if self._rate is None:
            return 0.0
        free_at = max(self._free_at, now - 1.0)
        self._free_at = free_at + size / self._rate
        return max(free_at - now, 0.0)
