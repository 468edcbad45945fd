"""Steps that open and close workspaces, and show what came of it. None logs or keeps an address that lets anybody in."""

from __future__ import annotations

from uuid import UUID

from prefect import get_run_logger
from prefect.artifacts import create_markdown_artifact

from tasks.aws import desk_of, step
from tasks.budget import tell_standing
from tasks.jobs import in_region
from tasks.reports import SUMMARY
from trainmaster.budget.metering import Meters
from trainmaster.reporting.workspace_page import workspace_page
from trainmaster.settings import Settings
from trainmaster.training.desk import Desk
from trainmaster.workspaces import closing, opening
from trainmaster.workspaces.request import CloseWorkspaceRequest, OpenWorkspaceRequest
from trainmaster.workspaces.results import NOBODY, WorkspaceResult, closed_result, opened_result, planned_result
from trainmaster.workspaces.workspace import Workspace


@step(task_run_name="plan workspace {request.name}")
def plan_workspace(request: OpenWorkspaceRequest, settings: Settings) -> WorkspaceResult:
    """What would be made, what that costs an hour, and all that the policy has against it."""
    with desk_of(settings) as desk:
        planned = planned_result(opening.planned(desk, request))
    get_run_logger().info("%s", planned.planned())
    for violation in planned.violations:
        get_run_logger().warning("%s", violation)
    if planned.over_budget:
        get_run_logger().warning("%s", planned.over_budget)
    return planned


@step(task_run_name="bring up workspace {request.name}")
def bring_up_workspace(request: OpenWorkspaceRequest, settings: Settings) -> WorkspaceResult:
    """Its first hours reserved, made or started, and running; refused before anything is made."""
    with desk_of(settings) as desk:
        opened = opening.open_workspace(desk, request)
        _tell_standings(desk, opened.workspace)
    return opened_result(opened)


@step(task_run_name="{request.action} workspace {request.name}")
def take_down_workspace(request: CloseWorkspaceRequest, settings: Settings) -> WorkspaceResult:
    """Stopped with its files kept, or deleted with them, in the region it is in; billed until AWS has confirmed it."""
    with desk_of(settings) as desk:
        region = desk.catalogue.workspaces.get(request.owner(settings.user_id), request.name).region
    with desk_of(in_region(settings, region)) as desk:
        return closed_result(closing.close_workspace(desk, request), request.action)


@step(task_run_name="report on workspace {result.name}")
def report_workspace(result: WorkspaceResult, settings: Settings) -> None:
    """What it is, what it costs, what was done and what now, as the run's page; how to get in `trainmaster connect` says."""
    get_run_logger().info("%s", result.sentence())
    owner = UUID(result.owner) if result.owner != NOBODY else None
    with desk_of(settings) as desk:
        row = desk.catalogue.workspaces.find(owner, result.name)
    create_markdown_artifact(workspace_page(result, row), key=SUMMARY, description=result.sentence())


def _tell_standings(desk: Desk, workspace: Workspace) -> None:
    for meter in Meters(desk.ledger).running(workspace.resource):
        tell_standing(desk.ledger, meter.last.key)
