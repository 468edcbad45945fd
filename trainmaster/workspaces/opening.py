"""Opening a workspace: its template under the policy and the budget, its row first, then what AWS makes of it."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from botocore.exceptions import BotoCoreError, ClientError

from trainmaster.aws.failures import is_passing
from trainmaster.budget.budgets import Standing
from trainmaster.budget.charge import Charge
from trainmaster.budget.entries import over_budget
from trainmaster.budget.metering import TRANCHE
from trainmaster.errors import (
    NameConflictError,
    RefusedError,
    TrainmasterError,
    WorkspaceBusyError,
    WorkspaceFailedError,
)
from trainmaster.training.desk import Desk
from trainmaster.workspaces import metering
from trainmaster.workspaces.closing import stop_workspace
from trainmaster.workspaces.deciding import Decision, decide, decide_start, recheck
from trainmaster.workspaces.kinds import Seen, Step
from trainmaster.workspaces.request import OpenWorkspaceRequest
from trainmaster.workspaces.seeing import require_here, require_there, see_workspace
from trainmaster.workspaces.services import kind_of
from trainmaster.workspaces.workspace import BILLABLE, Workspace

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PlannedWorkspace:
    """What opening would come to. Nothing was changed. `violations` are the policy's, in words; with any it would be refused,
    and with `over_budget`, which says what a budget lacks for its first hours."""

    workspace: Workspace
    """As it would be, with its costs by the hour; `status` is as seen."""
    steps: tuple[Step, ...]
    violations: tuple[str, ...] = ()
    standings: tuple[Standing, ...] = ()
    """Of every budget that pays."""
    over_budget: str = ""
    refusal: RefusedError | None = None
    """What opening it would raise."""

    @property
    def refusals(self) -> tuple[str, ...]:
        """All that is against it."""
        return (*self.violations, *filter(None, (self.over_budget,)))


@dataclass(frozen=True)
class OpenedWorkspace:
    """A workspace that runs. `steps` are what was done to get there; none when it ran already."""

    workspace: Workspace
    steps: tuple[Step, ...] = ()


def planned(desk: Desk, request: OpenWorkspaceRequest) -> PlannedWorkspace:
    """What opening would do and cost. Raises RefusedError where nobody can say."""
    decision = decide(desk, request)
    workspace = decision.wanted
    seen = _seen_as_it_is(desk, decision)
    _require_openable(decision, seen)
    steps = kind_of(workspace.service_type).plan_open(desk, workspace)
    with desk.ledger.reading() as entries:
        standings = entries.standings(workspace.payer.budgets(), entries.month)
    short = metering.shortfall(desk, workspace, seen)
    return PlannedWorkspace(
        replace(workspace, status=seen.status if seen else "pending"),
        tuple(steps),
        tuple(one.sentence() for one in decision.violations),
        tuple(standings),
        str(short or ""),
        decision.refusal or short,
    )


def open_workspace(desk: Desk, request: OpenWorkspaceRequest) -> OpenedWorkspace:
    """Running, its first hours reserved; the same again finds it, and starts it when it is stopped.

    Raises RefusedError before anything is made: PolicyRefusedError with all violations, UnknownPriceError, OverBudgetError,
    NameConflictError, NotConfiguredError, UnknownChoiceError. Raises WorkspaceFailedError where AWS could not make it.
    """
    decision = decide(desk, request)
    wanted = decision.approved()
    seen = _seen_as_it_is(desk, decision)
    _require_openable(decision, seen)
    steps = kind_of(wanted.service_type).plan_open(desk, wanted)  # what this refuses leaves no row
    row = desk.catalogue.workspaces.begin(wanted)
    if decision.found is None and (row.instance_type, row.volume_gb) != (wanted.instance_type, wanted.volume_gb):
        raise NameConflictError(
            f"Somebody opens workspace {row.name} at this moment, on {row.instance_type} with {row.volume_gb} GB instead of"
            f" {wanted.instance_type} with {wanted.volume_gb} GB. Choose another name, or ask again."
        )
    return _bring_up(desk, decision, row, steps, seen)


def start_workspace(desk: Desk, user_id: UUID | None, name: str, *, instance_type: str = "") -> OpenedWorkspace:
    """One that is there, running again; on another instance type when one is named, for which it is stopped first.

    Raises as `open_workspace`.
    """
    found = desk.catalogue.workspaces.get(user_id, name)
    require_here(desk, found)
    decision = decide_start(desk, found, instance_type)
    wanted, kind = decision.approved(), kind_of(found.service_type)
    seen, steps = see_workspace(desk, found), kind.plan_open(desk, wanted)
    if seen.status in BILLABLE and wanted.instance_type != found.instance_type:
        _require_fitting(desk, decision)
        stop_workspace(desk, found)
        seen, steps = see_workspace(desk, found), [_stop_of(found), *kind.plan_open(desk, wanted)]
    _require_openable(decision, seen)
    return _bring_up(desk, decision, found, steps, seen)


def _bring_up(desk: Desk, decision: Decision, row: Workspace, steps: list[Step], seen: Seen | None) -> OpenedWorkspace:
    """From the row that is there: reserved, made, seen and counted."""
    rows = desk.catalogue.workspaces
    if decision.found and seen and seen.status not in BILLABLE:
        metering.see(
            desk, decision.found, seen
        )  # what stopped by itself may be counted still, and is to be paid for anew
    is_new = decision.found is None and row.created_at == decision.wanted.created_at
    changes = {name: value for name, value in decision.changes().items() if getattr(row, name) != value}
    before = {name: getattr(row, name) for name in changes}
    workspace = rows.change(row, **changes) if changes else row
    try:
        recheck(desk, replace(decision, wanted=workspace)).approved()
        metering.reserve(desk, workspace)
    except RefusedError:
        _take_back(desk, workspace, before, is_new=is_new)
        raise
    if steps:
        workspace = rows.change(workspace, status="starting", detail="")
        workspace = _made(desk, workspace)
    seen = see_workspace(desk, workspace)
    metering.see(desk, workspace, seen)
    if seen.status != "running":
        raise WorkspaceFailedError(_not_running(workspace, seen))
    return OpenedWorkspace(replace(workspace, status=seen.status, detail=seen.detail), tuple(steps))


def _made(desk: Desk, workspace: Workspace) -> Workspace:
    """By its service. What fails is written down, and billed for as much of it as is there."""
    try:
        return kind_of(workspace.service_type).open(desk, workspace)
    except (ClientError, BotoCoreError, TrainmasterError) as error:
        _note_failure(desk, workspace, error)
        if isinstance(error, ClientError) and not is_passing(error):
            raise WorkspaceFailedError(
                f"Workspace {workspace.name} could not be opened: {error}. What was made of it is kept; the same again goes on,"
                f" and `trainmaster delete {workspace.name}` removes it."
            ) from error
        raise


def _note_failure(desk: Desk, workspace: Workspace, error: Exception) -> None:
    """The row says why; its hours are those of what AWS has made all the same, or none."""
    row = desk.catalogue.workspaces.get(workspace.user_id, workspace.name)
    try:
        seen = kind_of(row.service_type).look(desk, [row])[row.id]
    except (ClientError, BotoCoreError) as unseen:
        _log.warning("workspace %s failed, and could not be looked at: %s", row.name, unseen)
        return  # it stays reserved for until somebody can say
    if seen.status not in BILLABLE and seen.status != "unknown":
        metering.end(desk, row, storage=seen.status == "pending")
    metering.see(desk, row, seen)
    desk.catalogue.workspaces.note_seen({row.id: ("failed", str(error))})


def _take_back(desk: Desk, workspace: Workspace, before: dict[str, Any], *, is_new: bool) -> None:
    """A row that was written for what is refused goes, unless a twin opens it by now; one that was there is as before."""
    if is_new:
        desk.catalogue.workspaces.forget(workspace)
    elif before:
        desk.catalogue.workspaces.change(workspace, **before)


def _seen_as_it_is(desk: Desk, decision: Decision) -> Seen | None:
    return see_workspace(desk, decision.found) if decision.found else None


def _require_openable(decision: Decision, seen: Seen | None) -> None:
    """Nothing is made in place of what is being deleted, was deleted by others, or runs as something else."""
    name = decision.wanted.name
    if seen is None:
        return
    require_there(decision.wanted, seen)
    if seen.status == "unknown":
        raise RefusedError(f"Nobody can say how workspace {name} stands: {seen.detail}. Try again.")
    was, will = decision.found and decision.found.instance_type, decision.wanted.instance_type
    if seen.status in BILLABLE and was != will:
        raise WorkspaceBusyError(
            f"Workspace {name} is {seen.status} on {was}; it is not stopped for {will} without being asked. Do it: trainmaster start"
            f" {name} --instance-type {will}"
        )


def _require_fitting(desk: Desk, decision: Decision) -> None:
    """The first hours of the other type fit in every budget besides what is left of this one's: checked while it still runs, and
    reserved once it has stopped."""
    wanted = decision.wanted
    needed = wanted.hourly_cost * Decimal(TRANCHE // timedelta(seconds=1)) / 3600 - metering.unused(desk, wanted)
    if needed <= 0:
        return
    charge = Charge(
        f"{wanted.slug} on {wanted.instance_type}", needed, wanted.hourly_cost, wanted.resource, wanted.payer
    )
    with desk.ledger.reading() as entries:
        if short := entries.short(charge):
            raise over_budget(charge, short, subject=f"Workspace {wanted.name} on {wanted.instance_type}")


def _stop_of(workspace: Workspace) -> Step:
    return Step("stop", "workspace", f"{workspace.name} on {workspace.instance_type}")


def _not_running(workspace: Workspace, seen: Seen) -> str:
    why = f": {seen.detail}" if seen.detail else ""
    return (
        f"Workspace {workspace.name} is {seen.status}, and was to run{why}. Somebody may have stopped it meanwhile; start it again:"
        f" trainmaster start {workspace.name}"
    )
