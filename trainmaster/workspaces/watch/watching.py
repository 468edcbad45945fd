"""Looking after workspaces: which nobody uses, and which no budget has money for; and carrying out what follows.

What people were told is in the workspace's row, so whoever looks next knows of it; any number may look at once. Files are never
taken away.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from trainmaster.budget.idle_stops import note_stop
from trainmaster.budget.metering import Meters
from trainmaster.endpoints.watch.idle import Warned
from trainmaster.endpoints.watch.watching import StopIdleRequest
from trainmaster.errors import NotConfiguredError
from trainmaster.training.desk import Desk
from trainmaster.workspaces.closing import stop_workspace
from trainmaster.workspaces.kinds import Seen
from trainmaster.workspaces.metering import see
from trainmaster.workspaces.policy.file import load_policy
from trainmaster.workspaces.policy.rules import Policy
from trainmaster.workspaces.seeing import see_workspace, see_workspaces
from trainmaster.workspaces.watch.activity import PASSING, Activity, activities
from trainmaster.workspaces.watch.idle import Act, Decision, Watched, decide
from trainmaster.workspaces.watch.results import SweptWorkspace
from trainmaster.workspaces.workspace import Workspace

_WOULD: Mapping[Act, str] = {
    "warn": "people would be warned",
    "forget": "its warning would be forgotten",
    "stop": "it would be stopped, its files kept",
}


@dataclass(frozen=True)
class _Found:
    """What is known of a workspace: its row, how AWS describes it, and when it was used last."""

    row: Workspace
    seen: Seen
    used: Activity | None


@dataclass(frozen=True)
class _Look:
    """One look at all of them. `policy` is None where it cannot be read."""

    desk: Desk
    request: StopIdleRequest
    policy: Policy | None
    now: datetime


def watch_workspaces(desk: Desk, request: StopIdleRequest) -> Iterator[SweptWorkspace]:
    """Each workspace of the desk's account and region, looked after once. What fails for one is said of it, and the others are looked
    after all the same; one that cannot be asked is in use. Where the policy cannot be read, `keep until` is honoured as it is."""
    now = desk.ledger.now()
    try:
        policy = load_policy(desk.settings)
    except NotConfiguredError as error:
        yield SweptWorkspace(workspace="all", region=desk.settings.region, failure=str(error), at=now)
        policy = None
    look = _Look(desk, request, policy, now)
    rows = desk.catalogue.workspaces.all(account=desk.account, region=desk.settings.region)
    seen = see_workspaces(desk, rows)
    failed = {} if request.dry_run else dict(_counted(look, rows, seen))
    used = activities(desk, [row for row in rows if _may_idle(row, seen[row.id])], now)
    for row in rows:
        if row.id in failed:
            yield _swept(row, now, failure=failed[row.id])
            continue
        try:
            yield _looked_after(look, _Found(row, seen[row.id], used.get(row.id)))
        except PASSING as error:
            yield _swept(row, now, failure=str(error))


def _counted(look: _Look, rows: Sequence[Workspace], seen: Mapping[UUID, Seen]) -> Iterator[tuple[UUID, str]]:
    """All brought into the books before anything that takes a while, for by then others may have started or stopped them; which
    could not be, and why."""
    for row in rows:
        try:
            see(look.desk, row, seen[row.id], asked_at=look.now)
        except PASSING as error:
            yield row.id, str(error)


def _may_idle(row: Workspace, seen: Seen) -> bool:
    return seen.status == "running" and row.auto_stop_minutes is not None


def _looked_after(look: _Look, found: _Found) -> SweptWorkspace:
    row, seen, used = found.row, found.seen, found.used
    if seen.status == "unknown":
        return _swept(row, look.now, failure=seen.detail or "AWS could not be asked")
    if not look.request.dry_run and used and used.used_at:
        look.desk.catalogue.workspaces.change(row, used_at=used.used_at)
    decision = decide(_watched(look, found), look.now, look.request.notice)
    why = decision.why or (used.why if used else "")
    swept = _swept(row, look.now, act=decision.act, reason=decision.reason, why=why)
    if decision.act == "leave":
        return swept
    if look.request.dry_run:
        return swept.model_copy(update={"done": _WOULD[decision.act]})
    return swept.model_copy(update=_carried_out(look, found, decision))


def _watched(look: _Look, found: _Found) -> Watched:
    row = found.row
    exhausted = Meters(look.desk.ledger).exhausted(row.resource)
    return Watched(
        found.seen.status,
        since=_since(look.desk, found),
        used_at=found.used.used_at if found.used else None,
        idle_after=timedelta(minutes=row.auto_stop_minutes) if row.auto_stop_minutes else None,
        keep_until=row.keep_until,
        longest_keep=_longest_keep(look.policy, row),
        exhausted=str(exhausted) if exhausted else "",
        warned=Warned.of(row.warned),
    )


def _longest_keep(policy: Policy | None, row: Workspace) -> timedelta | None:
    if policy is None:
        return None
    role, _ = policy.role_of(row.user_id, row.team)
    hours = policy.roles[role].rules(row.service_type).max_keep
    return None if hours is None else timedelta(hours=hours)


def _since(desk: Desk, found: _Found) -> datetime | None:
    """When it began to run: as AWS says, or as its machine was first seen; of what costs nothing, when it was opened."""
    if found.seen.since:
        return found.seen.since
    machines = [meter for meter in Meters(desk.ledger).running(found.row.resource) if meter.part == "machine"]
    return next((meter.seen_at for meter in machines), found.row.created_at)


def _carried_out(look: _Look, found: _Found, decision: Decision) -> dict[str, str]:
    """What changes of the report: what was done, in words; or that it was left alone after all, as it has changed."""
    row, rows = found.row, look.desk.catalogue.workspaces
    if decision.act == "warn" and decision.reason:
        rows.change(row, warned=Warned(decision.reason, look.now).tag())
        return {"done": _announced(found.seen, look.request)}
    if decision.act == "forget":
        rows.change(row, warned="")
        return {"done": "its warning is forgotten"}
    if not _still_so(look, found, decision):
        return {"act": "leave"}
    machines = [meter for meter in Meters(look.desk.ledger).running(row.resource) if meter.part == "machine"]
    stop_workspace(look.desk, row)
    rows.change(row, warned="")
    for meter in machines:
        note_stop(look.desk.ledger, meter, meter.hourly_now, str(decision.reason))
    return {"done": f"it is stopped and its files are kept; `trainmaster start {row.name}` brings it back"}


def _still_so(look: _Look, found: _Found, decision: Decision) -> bool:
    """Looking at many takes a while, in which somebody may have come back, or may have said that it is kept."""
    row = look.desk.catalogue.workspaces.find(found.row.user_id, found.row.name)
    if row is None or row.status == "deleted":
        return False
    seen = see_workspace(look.desk, row)
    used = activities(look.desk, [row], look.now).get(row.id) if decision.reason == "idle" else None
    again = decide(_watched(look, _Found(row, seen, used)), look.now, look.request.notice)
    return again.act == "stop" and again.reason == decision.reason


def _announced(seen: Seen, request: StopIdleRequest) -> str:
    """What a warning says will happen."""
    if seen.status == "running":
        return f"it is stopped in {request.notice_minutes} minutes if that is so still, and its files are kept"
    return "its files are kept, and go on costing money, until somebody deletes it"


def _swept(row: Workspace, now: datetime, **found: object) -> SweptWorkspace:
    given = {"workspace": row.name, "region": row.region, "user_id": row.user_id, "at": now, **found}
    return SweptWorkspace.model_validate(given)
