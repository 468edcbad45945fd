"""Tags that are asked for later reach what is there already: a space of Studio, and the app that runs in it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from desks import desk_at

from trainmaster.training.desk import Desk
from trainmaster.workspaces.closing import close_workspace
from trainmaster.workspaces.opening import open_workspace, planned
from trainmaster.workspaces.request import CloseWorkspaceRequest, OpenWorkspaceRequest
from trainmaster.workspaces.seeing import see_workspace
from trainmaster.workspaces.workspace import Workspace


@pytest.fixture
def desk(embedded: Any, tmp_path: Path) -> Iterator[Desk]:
    environment = {**embedded.environment, "TRAINMASTER_USER_ID": str(uuid4())}
    domain = f"tags-{uuid4().hex[:8]}"
    with desk_at(tmp_path, environment, poll_seconds=0.05, studio_domain=domain) as opened:
        yield opened
        close(opened, "delete")


def close(desk: Desk, action: Any) -> None:
    close_workspace(desk, CloseWorkspaceRequest(name="notes", action=action, dry_run=False))


def wanted(**tags: str) -> OpenWorkspaceRequest:
    return OpenWorkspaceRequest(template="sagemaker-studio-gpu", name="notes", tags=tags)


def project(desk: Desk, row: Workspace) -> dict[str, str | None]:
    """The tag of that name on its space and on its app."""
    found = see_workspace(desk, row).described
    arns = {"space": found["space"]["SpaceArn"], "app": found["app"]["AppArn"]}
    listed = {noun: desk.client("sagemaker").list_tags(ResourceArn=arn)["Tags"] for noun, arn in arns.items()}
    return {noun: {tag["Key"]: tag["Value"] for tag in tags}.get("project") for noun, tags in listed.items()}


def test_other_tags_reach_the_space_and_the_app_running_or_stopped_and_are_planned(desk: Desk) -> None:
    row = open_workspace(desk, wanted(project="x")).workspace
    assert project(desk, row) == {"space": "x", "app": "x"}
    steps = [f"tag space {row.slug}", f"tag app JupyterLab of {row.slug}"]
    assert [step.sentence() for step in planned(desk, wanted(project="y")).steps] == steps
    assert [step.sentence() for step in open_workspace(desk, wanted(project="y")).steps] == steps
    assert project(desk, row) == {"space": "y", "app": "y"}
    assert open_workspace(desk, wanted(project="y")).steps == ()
    close(desk, "stop")
    steps[1] = f"create app JupyterLab of {row.slug}"
    assert [step.sentence() for step in open_workspace(desk, wanted(project="z")).steps] == steps
    assert project(desk, row) == {"space": "z", "app": "z"}
