"""Opening a workspace: its template under the policy and the budget, its row first, then what AWS makes of it."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from trainmaster.budget.budgets import Standing
from trainmaster.training.desk import Desk
from trainmaster.workspaces.kinds import Step
from trainmaster.workspaces.request import OpenWorkspaceRequest
from trainmaster.workspaces.workspace import Workspace


@dataclass(frozen=True)
class PlannedWorkspace:
    """What opening would come to. Nothing was changed. `violations` are the policy's, in words; with any it would be refused."""

    workspace: Workspace
    """As it would be, with its costs by the hour; `status` is as seen."""
    steps: tuple[Step, ...]
    violations: tuple[str, ...] = ()
    standings: tuple[Standing, ...] = ()
    """Of every budget that pays."""


@dataclass(frozen=True)
class OpenedWorkspace:
    """A workspace that runs. `steps` are what was done to get there; none when it ran already."""

    workspace: Workspace
    steps: tuple[Step, ...] = ()


def planned(desk: Desk, request: OpenWorkspaceRequest) -> PlannedWorkspace:
    """What opening would do and cost. Raises RefusedError where nobody can say."""
    raise NotImplementedError


def open_workspace(desk: Desk, request: OpenWorkspaceRequest) -> OpenedWorkspace:
    """Running, its first hours reserved; the same again finds it, and starts it when it is stopped.

    Raises RefusedError before anything is made: PolicyRefusedError with all violations, UnknownPriceError, OverBudgetError,
    NameConflictError, NotConfiguredError, UnknownChoiceError. Raises WorkspaceFailedError where AWS could not make it.
    """
    raise NotImplementedError


def start_workspace(desk: Desk, user_id: UUID | None, name: str, *, instance_type: str = "") -> OpenedWorkspace:
    """One that is there, running again; on another instance type when one is named, for which it is stopped first.

    Raises as `open_workspace`.
    """
    raise NotImplementedError
