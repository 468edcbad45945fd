"""Whose turn it is to rehearse on an endpoint: a tag of it, which its holder renews, and which runs out without them."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

TURN_TAG = "trainmaster:rehearsed-by"
LASTS = timedelta(minutes=5)
"""Without renewal, for those who cannot see whether its holder lives: on other machines."""


@dataclass(frozen=True)
class Turn:
    """One holder's, named by host, process and a mark of its own, until a moment."""

    holder: str
    until: datetime

    @classmethod
    def begun(cls) -> Turn:
        """This process's, from now on."""
        return cls(f"{socket.gethostname()}:{os.getpid()}:{uuid4().hex[:12]}", datetime.now(UTC) + LASTS)

    @classmethod
    def read(cls, tags: Mapping[str, str]) -> Turn | None:
        """What the tags of an endpoint tell; None where it is nobody's turn, or nobody can say whose."""
        holder, _, until = tags.get(TURN_TAG, "").partition(" ")
        try:
            return cls(holder, datetime.fromisoformat(until).astimezone(UTC))
        except ValueError:
            return None

    def tags(self) -> dict[str, str]:
        return {TURN_TAG: f"{self.holder} {self.until.isoformat(timespec='seconds')}"}

    def renewed(self) -> Turn:
        """For as long again, once a quarter of it has passed."""
        until = datetime.now(UTC) + LASTS
        return replace(self, until=until) if until - self.until > LASTS / 4 else self

    def is_over(self) -> bool:
        """It has run out, or its holder was a process of this machine that is no more."""
        host, _, process = self.holder.rpartition(":")[0].rpartition(":")
        died = host == socket.gethostname() and process.isdecimal() and not _lives(int(process))
        return died or self.until <= datetime.now(UTC)


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True  # somebody else's
    return True
