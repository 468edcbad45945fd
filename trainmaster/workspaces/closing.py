"""Closing a workspace: stopped with its files kept, or deleted with all that is in it; billed until AWS has confirmed it."""

from __future__ import annotations

from dataclasses import dataclass

from trainmaster.training.desk import Desk
from trainmaster.workspaces.kinds import Step
from trainmaster.workspaces.request import CloseWorkspaceRequest
from trainmaster.workspaces.workspace import Workspace


@dataclass(frozen=True)
class ClosedWorkspace:
    """A workspace that was stopped or deleted, or, of a dry run, would be by these steps."""

    workspace: Workspace
    steps: tuple[Step, ...] = ()
    dry_run: bool = False


def close_workspace(desk: Desk, request: CloseWorkspaceRequest) -> ClosedWorkspace:
    """As the request says; what is closed already stays so. Raises UnknownChoiceError where there is no such workspace."""
    raise NotImplementedError


def stop_workspace(desk: Desk, workspace: Workspace) -> Workspace:
    """Its machine gone and billed, its files kept and paid for; safe to repeat."""
    raise NotImplementedError


def delete_workspace(desk: Desk, workspace: Workspace) -> Workspace:
    """All of it gone and billed; its row stays, as deleted. Safe to repeat."""
    raise NotImplementedError
