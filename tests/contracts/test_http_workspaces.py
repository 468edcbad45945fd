"""Workspaces over HTTP: refused at once by policy and budget, else opened and closed by one run, and shown to their user alone."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest
from embedded_aws import EmbeddedAws
from fastapi.testclient import TestClient
from http_offices import RecordingRuns, asking, office_at

from trainmaster.aws.clients import Clients
from trainmaster.budget.budgets import Budget
from trainmaster.http_api.office import Office
from trainmaster.workspaces.closing import close_workspace
from trainmaster.workspaces.opening import open_workspace
from trainmaster.workspaces.request import CloseWorkspaceRequest, OpenWorkspaceRequest

PATH = "/api/workspaces"
TEMPLATES = {
    "editor": """
description: Code Editor
service_type: sagemaker_studio
connection_type: web
service_config:
  domain: {domain}
  app: CodeEditor
  default_instance_type: ml.t3.medium
  allowed_instance_types: [ml.t3.*, ml.g5.*]
  volume_gb: 10
  auto_stop_minutes: 120
policy: {{data_classification: internal}}
""",
    "box": """
description: A machine
service_type: ec2
connection_type: ssh
service_config:
  ami_parameter: /aws/service/canonical/ubuntu/server/24.04/stable/current/amd64/hvm/ebs-gp3/ami-id
  default_instance_type: t3.medium
  allowed_instance_types: [t3.*]
  volume_gb: 20
  auto_stop_minutes: 120
""",
}
POLICY = """
default_role: member
roles:
  member:
    instance_types: [ml.t3.*, t3.*]
    max_workspaces: 3
"""


@pytest.fixture(scope="module")
def office(embedded: EmbeddedAws, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    folder = tmp_path_factory.mktemp("http-workspaces")
    (folder / "templates").mkdir()
    domain = f"of-{uuid4().hex[:8]}"
    for name, text in TEMPLATES.items():
        (folder / "templates" / f"{name}.yaml").write_text(text.format(domain=domain))
    (folder / "policy.yaml").write_text(POLICY)
    given: dict[str, Any] = {"workspace_templates": folder / "templates", "policy_file": folder / "policy.yaml"}
    with office_at(embedded.environment, folder, poll_seconds=0.05, **given) as opened:
        desk = replace(opened.desk, client=Clients(embedded.client))
        yield Office(opened.settings, desk, opened.runs)
        for one in desk.catalogue.workspaces.all():
            asked = CloseWorkspaceRequest(name=one.name, action="delete", user_id=str(one.user_id), dry_run=False)
            close_workspace(desk, asked)


@pytest.fixture
def client(office: Office, user_id: UUID) -> TestClient:
    return asking(office, user_id)


@pytest.fixture
def runs(office: Office) -> RecordingRuns:
    assert isinstance(office.runs, RecordingRuns)
    office.runs.started.clear()
    return office.runs


def carried_out(office: Office, runs: RecordingRuns, answer: Any) -> None:
    """What the run of an answer would have done, and that run completed."""
    deployment, request, _ = runs.started[-1]
    if deployment == "open-workspace":
        open_workspace(office.desk, OpenWorkspaceRequest.model_validate(request))
    else:
        close_workspace(office.desk, CloseWorkspaceRequest.model_validate(request))
    runs.become(answer.json()["run"]["id"], "Completed")


def test_a_workspace_is_opened_stopped_started_and_deleted_by_runs_and_shown_to_its_user_alone(
    office: Office, client: TestClient, runs: RecordingRuns, user_id: UUID
) -> None:
    asked = {"template": "editor", "name": "notes", "tags": {"project": "cats"}}
    answer = client.post(PATH, json=asked)
    assert answer.status_code == 202, answer.text
    told = answer.json()
    assert told["steps"]
    assert told["workspace"]["hourly_cost"] == "0.05"
    deployment, request, once = runs.started[-1]
    assert deployment == "open-workspace"
    assert (request["name"], request["user_id"], request["tags"]) == ("notes", str(user_id), {"project": "cats"})
    assert once.startswith(str(user_id))
    waiting = client.get(f"{PATH}/notes").json()
    assert (waiting["workspace"], waiting["run"]["id"]) == (None, told["run"]["id"])

    carried_out(office, runs, answer)
    found = client.get(f"{PATH}/notes").json()
    assert (found["workspace"]["status"], found["run"]["ended"]) == ("running", True)
    again = client.post(PATH, json=asked)
    assert (again.status_code, again.json()["run"], len(runs.started)) == (200, None, 1)
    assert [one["name"] for one in client.get(PATH).json()["workspaces"]] == ["notes"]

    others = asking(office, uuid4())
    assert others.get(PATH).json() == {"workspaces": []}
    for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/start"), ("POST", "/stop"), ("POST", "/connect")):
        assert others.request(method, f"{PATH}/notes{path}").status_code == 404, path
    assert others.get(f"/api/runs/{told['run']['id']}").status_code == 404
    assert client.get(f"/api/runs/{told['run']['id']}").json()["state"] == "Completed"

    stopped = client.post(f"{PATH}/notes/stop")
    assert stopped.status_code == 202
    carried_out(office, runs, stopped)
    assert client.get(f"{PATH}/notes").json()["workspace"]["status"] == "stopped"
    assert client.post(f"{PATH}/notes/stop").status_code == 200
    started = client.post(f"{PATH}/notes/start")
    assert started.status_code == 202
    carried_out(office, runs, started)
    assert client.get(f"{PATH}/notes").json()["workspace"]["status"] == "running"

    assert client.delete(f"{PATH}/notes", params={"dry_run": True}).status_code == 200
    deleted = client.delete(f"{PATH}/notes")
    assert deleted.status_code == 202
    assert runs.started[-1][1]["dry_run"] is False
    carried_out(office, runs, deleted)
    assert client.get(f"{PATH}/notes").status_code == 404
    assert client.delete(f"{PATH}/notes").status_code == 404


def test_the_way_in_is_told_to_its_user_and_kept_nowhere(
    office: Office, client: TestClient, runs: RecordingRuns, caplog: pytest.LogCaptureFixture
) -> None:
    carried_out(office, runs, client.post(PATH, json={"template": "editor", "name": "secrets"}))
    answer = client.post(f"{PATH}/secrets/connect")
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
    told = answer.json()
    assert told["secret"] is True
    assert told["url"].startswith("http")
    assert told["url"] not in caplog.text
    carried_out(office, runs, client.post(f"{PATH}/secrets/stop"))
    refused = client.post(f"{PATH}/secrets/connect")
    assert (refused.status_code, refused.json()["error"]) == (409, "WorkspaceBusy")


def test_what_the_policy_does_not_give_is_refused_at_once_with_the_nearest_choice(
    client: TestClient, runs: RecordingRuns
) -> None:
    asked = {"template": "editor", "name": "large", "instance_type": "ml.g5.xlarge"}
    answer = client.post(PATH, json=asked)
    assert answer.status_code == 403
    [problem] = answer.json()["problems"]
    assert problem["rule"] == "instance_types"
    assert problem["nearest"].startswith("ml.t3.")
    planned = client.post(PATH, json={**asked, "dry_run": True})
    assert planned.status_code == 200
    assert len(planned.json()["violations"]) == 1
    assert runs.started == []


def test_what_no_budget_pays_for_is_refused_at_once(office: Office, runs: RecordingRuns) -> None:
    team = f"team-{uuid4().hex[:8]}"
    office.desk.ledger.set_limit(Budget("team", team), Decimal("0.01"), set_by="a test")
    answer = asking(office, uuid4(), team).post(PATH, json={"template": "editor", "name": "poor"})
    assert (answer.status_code, answer.json()["error"]) == (402, "OverBudget")
    assert "$0.01" in answer.json()["message"]
    assert runs.started == []


def test_who_asks_is_told_by_the_token_alone(client: TestClient, runs: RecordingRuns) -> None:
    for field in ("user_id", "team"):
        answer = client.post(PATH, json={"template": "editor", "name": "notes", field: str(uuid4())})
        assert answer.status_code == 400
        assert field in answer.json()["message"]
    assert client.post(PATH, json={"template": "editor", "name": "templates"}).status_code == 409
    assert client.post(PATH, json={"template": "nowhere", "name": "notes"}).status_code == 400
    assert runs.started == []


def test_of_the_same_request_many_times_at_once_there_is_one_run(client: TestClient, runs: RecordingRuns) -> None:
    asked = {"template": "box", "name": "twins"}
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: client.post(PATH, json=asked), range(4)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["run"]["id"] for answer in answers}) == 1
    assert len(runs.started) == 1


def test_a_run_that_ended_without_a_workspace_is_followed_by_another(client: TestClient, runs: RecordingRuns) -> None:
    asked = {"template": "box", "name": "luckless"}
    first = client.post(PATH, json=asked).json()["run"]
    early = client.delete(f"{PATH}/luckless")
    assert (early.status_code, early.json()["error"]) == (409, "WorkspaceBusy")
    runs.become(first["id"], "Failed")
    assert client.get(f"{PATH}/luckless").json()["run"]["state"] == "Failed"
    assert client.delete(f"{PATH}/luckless").status_code == 404
    second = client.post(PATH, json=asked).json()["run"]
    assert second["id"] != first["id"]
    other = client.post(PATH, json={**asked, "instance_type": "t3.large"})
    assert (other.status_code, other.json()["error"]) == (409, "WorkspaceBusy")


def test_without_prefect_nothing_is_opened_and_what_is_there_is_shown(
    office: Office, client: TestClient, runs: RecordingRuns
) -> None:
    carried_out(office, runs, client.post(PATH, json={"template": "editor", "name": "alone"}))
    runs.away = True
    try:
        assert client.get(f"{PATH}/alone").json()["workspace"]["status"] == "running"
        answer = client.post(PATH, json={"template": "box", "name": "never"})
        assert answer.status_code == 503
        assert int(answer.headers["retry-after"]) > 0
    finally:
        runs.away = False


def test_templates_are_listed_with_what_an_hour_costs(client: TestClient) -> None:
    told = {one["name"]: one for one in client.get(f"{PATH}/templates").json()["templates"]}
    assert set(told) == set(TEMPLATES)
    assert told["editor"]["allowed_instance_types"] == ["ml.t3.*", "ml.g5.*"]
    assert Decimal(told["editor"]["hourly_cost"]) > Decimal("0.05")
