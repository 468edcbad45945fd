"""What lets somebody in once, and for a short time only."""

from __future__ import annotations

import hashlib
import secrets
import threading
from dataclasses import dataclass


@dataclass(frozen=True)
class Visit:
    """Who comes to what: a profile of a domain, to a space where one is named, to a place within Studio."""

    domain: str
    profile: str
    space: str
    landing: str


class Tickets:
    """Each is good for one visit. They are not kept: none outlives the process. Safe to share between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._issued: dict[str, tuple[float, Visit]] = {}

    def issue(self, visit: Visit, *, now: float, seconds: float) -> str:
        """A secret that `take` gives the visit for until so many seconds have passed."""
        ticket = secrets.token_urlsafe(32)
        with self._lock:
            self._issued = {digest: held for digest, held in self._issued.items() if held[0] > now}
            self._issued[_digest(ticket)] = now + seconds, visit
        return ticket

    def take(self, ticket: str, *, now: float) -> Visit | None:
        """The visit it is good for; None when it was never issued, was used, or its time is over."""
        with self._lock:
            until, visit = self._issued.pop(_digest(ticket), (0.0, None))
        return visit if now < until else None


def _digest(ticket: str) -> str:
    return hashlib.sha256(ticket.encode()).hexdigest()
