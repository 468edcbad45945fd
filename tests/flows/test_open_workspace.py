"""A workspace is planned, opened, found again, stopped and deleted by flows, for real, and nothing lets anybody in but `connect`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from prefect import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId
from prefect.logging.handlers import APILogWorker

from flows.close_workspace import close_workspace
from flows.open_workspace import open_workspace
from trainmaster.budget.budgets import Budget
from trainmaster.budget.ledger import open_ledger
from trainmaster.errors import PolicyRefusedError
from trainmaster.settings import Settings
from trainmaster.workspaces.request import CloseWorkspaceRequest, OpenWorkspaceRequest

USER = str(uuid4())
TEMPLATE = """
description: Code Editor
service_type: sagemaker_studio
connection_type: web
service_config:
  domain: of-flows-{user}
  app: CodeEditor
  default_instance_type: ml.t3.medium
  auto_stop_minutes: 120
"""


@pytest.fixture(autouse=True)
def templates(stack: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "editor.yaml").write_text(TEMPLATE.format(user=USER[:8]))
    monkeypatch.setenv("TRAINMASTER_WORKSPACE_TEMPLATES", str(tmp_path))


def wanted(**changed: Any) -> OpenWorkspaceRequest:
    return OpenWorkspaceRequest(template="editor", name="notes", user_id=USER, **changed)


def closing(**changed: Any) -> CloseWorkspaceRequest:
    return CloseWorkspaceRequest(name="notes", user_id=USER, **changed)


def spaces(stack: Any) -> list[str]:
    found = stack.client("sagemaker").list_spaces(MaxResults=100)["Spaces"]
    return [one["SpaceName"] for one in found if one.get("SpaceDisplayName") == "notes"]


def reserved() -> Any:
    settings = Settings()
    with open_ledger(settings.database_url, settings.state_dir) as ledger:
        return ledger.standing(Budget("user", USER)).reserved


def page_of(state: Any) -> str:
    of_run = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[state.state_details.flow_run_id]))
    with get_client(sync_client=True) as client:
        [page] = [one for one in client.read_artifacts(artifact_filter=of_run) if one.key == "summary"]
    return str(page.data)


def told(stack: Any, kind: str) -> str:
    """All that Prefect keeps of that kind."""
    answer = httpx.post(f"{stack.prefect.api_url}/{kind}/filter", json={"limit": 200}, timeout=30)
    return json.dumps(answer.raise_for_status().json())


def test_a_workspace_goes_from_a_plan_to_nothing_by_flows(stack: Any) -> None:
    before = spaces(stack)
    plan = open_workspace(wanted(dry_run=True))
    assert plan.dry_run
    assert [step.split(" ")[0] for step in plan.steps] == ["create"] * 4
    assert spaces(stack) == before

    state = open_workspace(wanted(), return_state=True)
    opened = state.result()
    page = page_of(state)
    for said in ("# Workspace notes", "an hour while it runs | \\$", "`trainmaster connect notes`", "#/studio/d-"):
        assert said in page, page
    assert (opened.status, opened.steps) == ("running", plan.steps)
    assert reserved() > 0
    assert open_workspace(wanted()).steps == []

    stopped = close_workspace(closing())
    assert stopped.status == "stopped"
    assert 0 < reserved() < 1
    assert [step.split(" ")[0] for step in open_workspace(wanted()).steps] == ["create"]

    told_of = close_workspace(closing(action="delete"))
    assert (told_of.dry_run, told_of.status) == (True, "running")
    assert "would be deleted with all files in it: stop workspace notes; delete app" in told_of.sentence()
    deleted = close_workspace(closing(action="delete", dry_run=False))
    assert deleted.status == "deleted"
    assert reserved() == 0
    assert spaces(stack) == before

    APILogWorker.drain_all(timeout=10)
    kept = told(stack, "logs") + told(stack, "artifacts")
    assert "notes" in kept
    assert "_studio/" not in kept
    assert "AuthorizedUrl" not in kept


def test_what_the_policy_refuses_is_shown_in_a_plan_and_fails_a_run_at_once(stack: Any) -> None:
    before = spaces(stack)
    bad = wanted(auto_stop_minutes=600)
    assert "at most 480 idle minutes" in open_workspace(bad.model_copy(update={"dry_run": True})).violations[0]
    state = open_workspace(bad, return_state=True)
    with pytest.raises(PolicyRefusedError):
        state.result()
    page = page_of(state)
    for said in ("# open notes: refused", "refused by the policy", "at most 480 idle minutes", "costs nothing"):
        assert said in page, page
    assert spaces(stack) == before


def test_throttling_on_the_way_is_waited_out(stack: Any) -> None:
    for operation in ("CreateSpace", "CreateApp"):
        stack.aws.control("POST", "faults", {"operation": operation, "error": "ThrottlingException", "count": 2})
    assert open_workspace(wanted()).status == "running"
    assert close_workspace(closing(action="delete", dry_run=False)).status == "deleted"
