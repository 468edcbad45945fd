"""How many bytes may be held at once."""

from __future__ import annotations


class InFlight:
    """A budget of bytes: who wants to hold some takes them first, and gives them back once they are let go of.

    What is more than the whole budget is let in alone: nothing waits for ever. Not locked: whoever shares it does that.
    """

    def __init__(self, limit: int) -> None:
        if limit < 1:
            raise ValueError(f"A budget of {limit} bytes lets nothing in; at least 1 is needed.")
        self.limit, self.now, self.peak = limit, 0, 0

    def fits(self, size: int) -> bool:
        return self.now == 0 or self.now + size <= self.limit

    def take(self, size: int) -> None:
        """Only what `fits`."""
        self.now += size
        self.peak = max(self.peak, self.now)

    def give_back(self, size: int) -> None:
        if size > self.now:
            raise ValueError(f"{size} bytes cannot be given back where {self.now} are held.")
        self.now -= size
