"""Closing a workspace: stopped with its files kept, or deleted with all that is in it; billed until AWS has confirmed it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from botocore.exceptions import ClientError

from trainmaster.aws.failures import is_passing
from trainmaster.errors import WorkspaceFailedError
from trainmaster.training.desk import Desk
from trainmaster.workspaces import metering
from trainmaster.workspaces.kinds import Seen, Step
from trainmaster.workspaces.request import CloseWorkspaceRequest
from trainmaster.workspaces.seeing import require_here, see_workspace
from trainmaster.workspaces.services import kind_of
from trainmaster.workspaces.workspace import BILLABLE, Workspace

_PARTS = {
    "app_name": "app",
    "instance_id": "instance",
    "space": "space with its files",
    "volume_id": "volume with its files",
}
"""What goes with a workspace, by what its row calls it; what other workspaces share stays."""


@dataclass(frozen=True)
class ClosedWorkspace:
    """A workspace that was stopped or deleted, or, of a dry run, would be by these steps."""

    workspace: Workspace
    steps: tuple[Step, ...] = ()
    dry_run: bool = False


def close_workspace(desk: Desk, request: CloseWorkspaceRequest) -> ClosedWorkspace:
    """As the request says; what is closed already stays so. Raises UnknownChoiceError where there is no such workspace, RefusedError
    for one of another account or region."""
    workspace = desk.catalogue.workspaces.get(request.owner(desk.settings.user_id), request.name)
    require_here(desk, workspace)
    seen = see_workspace(desk, workspace)
    steps = tuple(_deletions(workspace, seen) if request.action == "delete" else _stops(workspace, seen))
    if request.only_says:
        return ClosedWorkspace(replace(workspace, status=seen.status), steps, dry_run=True)
    close = delete_workspace if request.action == "delete" else stop_workspace
    return ClosedWorkspace(close(desk, workspace), steps)


def stop_workspace(desk: Desk, workspace: Workspace) -> Workspace:
    """Its machine gone and billed, its files kept and paid for; safe to repeat. Raises WorkspaceFailedError,
    WaitTimedOutError, and botocore's errors that may pass."""
    rows = desk.catalogue.workspaces
    seen = see_workspace(desk, workspace)
    if seen.made and (seen.status in BILLABLE or seen.status in ("failed", "unknown")):
        workspace = rows.change(workspace, status="stopping")
        with _told(workspace, "stopped"):
            kind_of(workspace.service_type).stop(desk, workspace)
        seen = see_workspace(desk, workspace)
    metering.see(desk, workspace, seen)
    return replace(workspace, status=seen.status, detail=seen.detail)


def delete_workspace(desk: Desk, workspace: Workspace) -> Workspace:
    """All of it gone and billed; its row stays, as deleted. Safe to repeat. Raises as `stop_workspace`."""
    rows = desk.catalogue.workspaces
    workspace = rows.change(workspace, status="deleting")
    with _told(workspace, "deleted"):
        kind_of(workspace.service_type).delete(desk, workspace)
    metering.end(desk, workspace, storage=True)
    return rows.change(workspace, status="deleted", detail="")


@contextmanager
def _told(workspace: Workspace, what: str) -> Iterator[None]:
    """What AWS refuses is said in words people can act on; what may pass is raised as it is."""
    try:
        yield
    except ClientError as error:
        if is_passing(error):
            raise
        raise WorkspaceFailedError(
            f"Workspace {workspace.name} could not be {what}: {error}. It is billed for as long as it is there. Try again; somebody may"
            " be opening it at this moment."
        ) from error


def _stops(workspace: Workspace, seen: Seen) -> Iterator[Step]:
    if seen.status in BILLABLE:
        yield Step("stop", "workspace", workspace.name)


def _deletions(workspace: Workspace, seen: Seen) -> Iterator[Step]:
    yield from _stops(workspace, seen)
    for key, noun in _PARTS.items():
        if key in workspace.resources:
            yield Step("delete", noun, workspace.resources[key])
