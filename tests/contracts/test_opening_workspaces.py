"""Workspaces of Studio, Canvas and Studio Lab are opened once, started, stopped and deleted, on the embedded AWS."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from desks import desk_at

from trainmaster.budget.budgets import Budget
from trainmaster.training.desk import Desk
from trainmaster.workspaces.closing import close_workspace
from trainmaster.workspaces.opening import open_workspace, planned, start_workspace
from trainmaster.workspaces.request import CloseWorkspaceRequest, OpenWorkspaceRequest

TEMPLATES = {
    "editor": """
description: Code Editor
service_type: sagemaker_studio
connection_type: web
service_config:
  domain: {domain}
  app: CodeEditor
  default_instance_type: ml.t3.medium
  allowed_instance_types: [ml.t3.*, ml.g5.xlarge]
  volume_gb: 10
  auto_stop_minutes: 120
  max_hourly_cost: 5.00
policy: {{data_classification: internal}}
""",
    "pictures": """
description: Canvas
service_type: sagemaker_canvas
connection_type: web
service_config: {{domain: "{domain}", auto_stop_minutes: 120}}
policy: {{data_classification: internal}}
""",
    "lab": """
description: Studio Lab
service_type: sagemaker_lab
connection_type: web
service_config: {{project_url: "https://github.com/aws/studio-lab-examples"}}
policy: {{data_classification: public, free_tier: true}}
""",
}


@pytest.fixture
def domain() -> str:
    return f"of-{uuid4().hex[:8]}"


@pytest.fixture
def user_id() -> UUID:
    return uuid4()


@pytest.fixture
def desk(embedded: Any, tmp_path: Path, domain: str, user_id: UUID) -> Iterator[Desk]:
    folder = tmp_path / "templates"
    folder.mkdir()
    for name, text in TEMPLATES.items():
        (folder / f"{name}.yaml").write_text(text.format(domain=domain))
    environment = {**embedded.environment, "TRAINMASTER_USER_ID": str(user_id)}
    with desk_at(tmp_path, environment, workspace_templates=folder, poll_seconds=0.05) as desk:
        yield desk
        for one in desk.catalogue.workspaces.of(user_id):
            close_workspace(desk, CloseWorkspaceRequest(name=one.name, action="delete", dry_run=False))


def wanted(name: str = "notes", template: str = "editor", **changed: Any) -> OpenWorkspaceRequest:
    return OpenWorkspaceRequest(template=template, name=name, **changed)


def close(desk: Desk, action: Any = "stop", name: str = "notes") -> Any:
    return close_workspace(desk, CloseWorkspaceRequest(name=name, action=action, dry_run=False))


def test_what_is_planned_is_what_is_made_and_made_once(desk: Desk, domain: str, user_id: UUID) -> None:
    plan = planned(desk, wanted())
    assert [step.sentence() for step in plan.steps] == [
        f"create domain {domain}",
        f"create user profile user-{user_id}",
        f"create space {plan.workspace.slug}",
        f"create app CodeEditor of {plan.workspace.slug}",
    ]
    assert not desk.catalogue.workspaces.of(user_id)
    opened = open_workspace(desk, wanted())
    assert [step.sentence() for step in opened.steps] == [step.sentence() for step in plan.steps]
    assert opened.workspace.status == "running"
    assert open_workspace(desk, wanted()).steps == ()
    [row] = desk.catalogue.workspaces.of(user_id)
    assert (row.status, row.resources["space"]) == ("running", row.slug)
