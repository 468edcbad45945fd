"""Steps that look after workspaces: their hours in the books, and whether anybody uses them still."""

from __future__ import annotations

from itertools import chain
from uuid import UUID, uuid5

from prefect import get_run_logger
from prefect.artifacts import create_table_artifact
from prefect.events import emit_event

from tasks.aws import desk_of, step
from tasks.budget import tell_exhausted, tell_standing
from tasks.jobs import in_region
from trainmaster.endpoints.watch.watching import StopIdleRequest
from trainmaster.settings import Settings
from trainmaster.training.desk import Desk
from trainmaster.workspaces.metering import (
    UNEVENTFUL,
    WorkspaceHours,
    meter_workspaces,
    regions_with_workspaces,
)
from trainmaster.workspaces.shared_files import meter_file_systems
from trainmaster.workspaces.watch.activity import PASSING
from trainmaster.workspaces.watch.results import SweptWorkspace, WorkspacesSweep
from trainmaster.workspaces.watch.watching import watch_workspaces

_WATCHED = UUID("c3a1f1de-0a4f-4f3e-8f38-6a7f0b6b5b0e")


@step(task_run_name="meter all workspaces")
def meter_all_workspaces(settings: Settings) -> list[dict[str, str]]:
    """Bill the hours of all workspaces, and of the files they share, that are over and reserve those to come; what was done and found, in rows of a table.

    A workspace whose next hours no budget has money for is told of; `stop-idle` stops it. A region that AWS refuses or that does not
    answer is a row, and keeps no other from being counted.
    """
    eventful: list[dict[str, str]] = []
    for region in _regions(settings):
        try:
            with desk_of(in_region(settings, region)) as desk:
                for found in chain(meter_workspaces(desk), meter_file_systems(desk)):
                    _tell_hours(desk, found)
                    eventful += [found.row()] if found.finding not in UNEVENTFUL else []
        except PASSING as error:
            get_run_logger().warning("The hours of workspaces in %s are not counted: %s", region, error)
            job = f"workspaces in {region}"
            eventful.append({"job": job, "what": "failed", "why": str(error), "reserved": "", "billed": ""})
    return eventful


@step(task_run_name="look after workspaces")
def watch_all_workspaces(request: StopIdleRequest, settings: Settings) -> WorkspacesSweep:
    """Each workspace in every region there are any, warned of or stopped where that is due.

    Neither a workspace nor a region that fails keeps the others from being looked after.
    """
    sweep = WorkspacesSweep()
    for region in _regions(settings):
        try:
            with desk_of(in_region(settings, region)) as desk:
                for seen in watch_workspaces(desk, request):
                    sweep.workspaces.append(seen)
                    _tell(seen, dry_run=request.dry_run)
        except PASSING as error:
            sweep.workspaces.append(SweptWorkspace(workspace="all", region=region, failure=str(error)))
    get_run_logger().info("%s", sweep.sentence())
    return sweep


@step(task_run_name="report on idle workspaces")
def report_idle_workspaces(sweep: WorkspacesSweep) -> None:
    """A table of the workspaces that are over, or could not be looked after, if there are any."""
    if sweep.eventful:
        create_table_artifact(key="idle-workspaces", table=sweep.table(), description=sweep.sentence())


def _regions(settings: Settings) -> list[str]:
    with desk_of(settings) as desk:
        return regions_with_workspaces(desk)


def _tell_hours(desk: Desk, found: WorkspaceHours) -> None:
    """Of hours that were booked, how budgets stand; of those that no budget has money for, an event."""
    if found.finding == "exhausted":
        tell_exhausted(found.wanted, f"workspace {found.workspace}", found.why)
    elif found.finding == "failed":
        get_run_logger().warning("The hours of workspace %s are not counted: %s", found.workspace, found.why)
    elif found.booked:
        tell_standing(desk.ledger, found.booked.key)


def _tell(seen: SweptWorkspace, *, dry_run: bool) -> None:
    """In the log; and an event, `trainmaster.workspace.warn` for example, for what was done."""
    if seen.failure:
        get_run_logger().warning("%s", seen.sentence())
    elif seen.is_eventful:
        get_run_logger().info("%s", seen.sentence())
    if dry_run or seen.failure or seen.act in {"leave", "forget"}:
        return
    emit_event(
        f"trainmaster.workspace.{seen.act}",
        id=uuid5(_WATCHED, f"{seen.region} {seen.user_id} {seen.workspace} {seen.act} {seen.reason} {seen.at}"),
        resource={
            "prefect.resource.id": f"trainmaster.workspace.{seen.workspace}",
            "prefect.resource.name": seen.workspace,
            "trainmaster.region": seen.region,
        },
        payload={"owner": str(seen.user_id or ""), "reason": seen.reason, "sentence": seen.sentence()},
    )
