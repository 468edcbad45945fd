"""When an endpoint is over, and what is to be done about it: a pure rule from what is known of it to a decision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal, get_args

from trainmaster.endpoints.plan import HOPELESS

Reason = Literal["exhausted", "expired", "idle"]
"""The first that holds is told of: no budget has money for its hours, its time to live is over, nobody calls it."""
Policy = Literal["warn", "scale-down", "remove"]
Act = Literal["leave", "warn", "scale-down", "remove", "forget"]
"""Forget: it was warned of something that is not so any more."""
WARNED_TAG = "trainmaster:warned"
"""On an endpoint: of what people were warned, and when (ISO, UTC)."""
GRACE = timedelta(minutes=15)
"""CloudWatch shows nothing of an endpoint that nobody has called, as of one whose first calls it has yet to show: so much longer
than its idle time one must have been in service before silence counts."""
STANDING = {"InService", *HOPELESS}
"""Statuses in which an endpoint stays, and its instances are paid for: also where nobody can call it."""
REMIND = timedelta(hours=24)
"""Where nothing is done but to warn."""


@dataclass(frozen=True)
class Warned:
    """What people were told last."""

    reason: Reason
    at: datetime

    def tag(self) -> str:
        return f"{self.reason} {self.at.astimezone(UTC).isoformat(timespec='seconds')}"

    @classmethod
    def of(cls, tag: str) -> Warned | None:
        """None for what is no such tag, as after somebody's hand: then they are warned again."""
        reason, _, at = tag.partition(" ")
        found = next((known for known in get_args(Reason) if known == reason), None)
        moment = moment_of(at)
        return cls(found, moment) if found and moment else None


@dataclass(frozen=True)
class Calls:
    """Of one datapoint of CloudWatch's: how many there were in the time that begins then."""

    at: datetime
    count: float


@dataclass(frozen=True)
class Watched:
    """An endpoint as AWS and the books know it. `since` is when it came into service or was last changed; `exhausted` is
    which budget lacks money for it, in words; `calls` are None where CloudWatch could not be asked."""

    name: str
    status: str
    since: datetime
    calls: Sequence[Calls] | None = ()
    policy: Policy = "warn"
    idle_after: timedelta | None = None
    expires: datetime | None = None
    exhausted: str = ""
    shrinkable: bool = False
    warned: Warned | None = None


@dataclass(frozen=True)
class Decision:
    """What to do with an endpoint, and why in words."""

    act: Act
    reason: Reason | None = None
    why: str = ""


@dataclass(frozen=True)
class _Over:
    reason: Reason
    why: str
    due: datetime


def decide(endpoint: Watched, now: datetime, notice: timedelta) -> Decision:
    """Nothing is scaled down or removed without a warning `notice` before, for the same reason, which still holds."""
    if endpoint.status not in STANDING:
        return Decision("leave", why=f"it is {endpoint.status}")
    reasons = [one for one in (_exhausted(endpoint, now), _expired(endpoint, now, notice), _idle(endpoint, now)) if one]
    warned = endpoint.warned
    if not reasons:
        return Decision("forget" if warned else "leave")
    over = next((one for one in reasons if warned and one.reason == warned.reason), None)
    if warned is None or over is None:
        return Decision("warn", reasons[0].reason, reasons[0].why)
    if endpoint.policy == "warn" or (endpoint.policy == "scale-down" and not endpoint.shrinkable):
        return Decision("warn" if now >= warned.at + REMIND else "leave", over.reason, over.why)
    if now < max(over.due, warned.at + notice):
        return Decision("leave", over.reason, f"{over.why}; people were warned at {warned.at:%H:%M} UTC")
    return Decision(endpoint.policy, over.reason, over.why)


def moment_of(text: str) -> datetime | None:
    """A point in time of an ISO text, in UTC where it names no zone; None for what is none."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _exhausted(endpoint: Watched, now: datetime) -> _Over | None:
    return _Over("exhausted", endpoint.exhausted, now) if endpoint.exhausted else None


def _expired(endpoint: Watched, now: datetime, notice: timedelta) -> _Over | None:
    expires = endpoint.expires
    if expires is None or now < expires - notice:
        return None
    tense = "was" if now >= expires else "is"
    return _Over("expired", f"its time to live {tense} over at {expires:%Y-%m-%d %H:%M} UTC", expires)


def _idle(endpoint: Watched, now: datetime) -> _Over | None:
    """Unknown counts as active: where CloudWatch could not be asked, and where it has nothing to show of one that is young."""
    silence = endpoint.idle_after
    if silence is None or endpoint.calls is None:
        return None
    recent = [one for one in endpoint.calls if one.at > now - silence]
    if any(one.count > 0 for one in recent):
        return None
    if now - endpoint.since < (silence if recent else silence + GRACE):
        return None
    minutes = silence // timedelta(minutes=1)
    return _Over("idle", f"nobody has called it for {minutes} minutes", now)
