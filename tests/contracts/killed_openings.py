"""Opening or deleting a workspace in a process that kills itself at the step it is told: a call that changes AWS."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from desks import desk_at
from killed_deployments import Death

from trainmaster.aws.clients import Clients
from trainmaster.workspaces.closing import close_workspace
from trainmaster.workspaces.opening import open_workspace
from trainmaster.workspaces.request import CloseWorkspaceRequest, OpenWorkspaceRequest


@dataclass(frozen=True)
class Opening:
    """Done to the end when it has fewer steps than `dies_at`. With `closes` it is deleted instead."""

    environment: Mapping[str, str]
    folder: Path
    templates: Path
    request: str
    dies_at: int
    closes: bool = False
    moment: str = "after-call"


def do(work: Opening) -> None:
    death = Death(work.dies_at, [work.moment])
    with desk_at(work.folder, work.environment, workspace_templates=work.templates, poll_seconds=0.05) as desk:
        mortal = replace(desk, client=Clients(lambda service: death.over(desk.client(service))))
        request = OpenWorkspaceRequest.model_validate_json(work.request)
        if work.closes:
            close_workspace(mortal, CloseWorkspaceRequest(name=request.name, action="delete", dry_run=False))
        else:
            open_workspace(mortal, request)
