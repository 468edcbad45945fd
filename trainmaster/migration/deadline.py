"""When a run is to be over: its time is up, or its window closes; what is under way then is left to the next run."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from trainmaster.migration.window import Window


def now() -> datetime:
    """This moment, in UTC."""
    return datetime.now(UTC)


@dataclass(frozen=True)
class Deadline:
    """The moment from which on nothing more is begun, and why that is so. Travels with a batch, to other machines as well."""

    at: datetime
    why: str

    @property
    def is_over(self) -> bool:
        """Whether it is, at this moment."""
        return self.has_come(now())

    def has_come(self, moment: datetime) -> bool:
        """Whether it is over at that moment."""
        return moment >= self.at


def deadline_of(began: datetime, minutes: float | None, window: Window | None = None) -> Deadline | None:
    """The first of those that a run has which began then, if it has any."""
    deadlines = []
    if minutes is not None:
        asked = f"{minutes:g} {'minute was' if minutes == 1 else 'minutes were'} asked for at most"
        deadlines.append(Deadline(began + timedelta(minutes=minutes), asked))
    if window and (closes := window.closes(began)):
        deadlines.append(Deadline(closes, f"the time window {window} is closed"))
    return min(deadlines, key=lambda one: one.at, default=None)


class Halt(threading.Event):
    """Set by who has it, when one of `others` is, and by itself from a deadline on. It is asked, not waited for."""

    def __init__(self, *others: threading.Event, until: Deadline | None = None) -> None:
        super().__init__()
        self._others, self._until = others, until

    def is_set(self) -> bool:
        """Whether nothing more is to be begun."""
        is_late = self._until is not None and self._until.is_over
        return super().is_set() or is_late or any(other.is_set() for other in self._others)
