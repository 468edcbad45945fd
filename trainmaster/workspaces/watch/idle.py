"""When a workspace is over, and what is to be done about it: a pure rule from what is known of it to a decision."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from trainmaster.endpoints.watch.idle import REMIND, Warned
from trainmaster.workspaces.workspace import Status

Reason = Literal["exhausted", "idle"]
"""The first that holds is told of: no budget has money for its hours, nobody uses it."""
Act = Literal["leave", "warn", "stop", "forget"]
"""Forget: it was warned of something that is not so any more."""


@dataclass(frozen=True)
class Watched:
    """A workspace as AWS and the books know it. `since` is when it began to run; `used_at` when it was last in use, None where
    nobody can say; `exhausted` is which budget lacks money for it, in words. `keep_until` is its owner's, `longest_keep` how long
    after it began to run the policy honours that."""

    status: Status
    since: datetime | None = None
    used_at: datetime | None = None
    idle_after: timedelta | None = None
    keep_until: datetime | None = None
    longest_keep: timedelta | None = None
    exhausted: str = ""
    warned: Warned | None = None

    @property
    def kept_until(self) -> datetime | None:
        """As far as the policy lets it."""
        if self.keep_until is None or self.longest_keep is None or self.since is None:
            return self.keep_until
        return min(self.keep_until, self.since + self.longest_keep)


@dataclass(frozen=True)
class Decision:
    """What to do with a workspace, and why in words."""

    act: Act
    reason: Reason | None = None
    why: str = ""


def decide(workspace: Watched, now: datetime, notice: timedelta) -> Decision:
    """Nothing is stopped without a warning `notice` before, for the same reason, which still holds. Of what does not run people are
    only warned that its files cost money nobody has; files are never taken away."""
    reasons = [one for one in (_exhausted(workspace), _idle(workspace, now)) if one]
    warned = workspace.warned
    if not reasons:
        return Decision("forget" if warned else "leave")
    over = next((one for one in reasons if warned and one.reason == warned.reason), None)
    if warned is None or over is None:
        return Decision("warn", reasons[0].reason, reasons[0].why)
    if workspace.status != "running":
        return Decision("warn" if now >= warned.at + REMIND else "leave", over.reason, over.why)
    if now < warned.at + notice:
        return Decision("leave", over.reason, f"{over.why}; people were warned at {warned.at:%H:%M} UTC")
    return Decision("stop", over.reason, over.why)


def _exhausted(workspace: Watched) -> Decision | None:
    return Decision("warn", "exhausted", workspace.exhausted) if workspace.exhausted else None


def _idle(workspace: Watched, now: datetime) -> Decision | None:
    """Unknown counts as in use: where nobody can say when it was used last, or when it began to run."""
    silence, since, used_at = workspace.idle_after, workspace.since, workspace.used_at
    if workspace.status != "running" or silence is None or since is None or used_at is None:
        return None
    if now - max(used_at, since) < silence or (workspace.kept_until and now < workspace.kept_until):
        return None
    return Decision("warn", "idle", f"nobody has used it for {silence // timedelta(minutes=1)} minutes")
