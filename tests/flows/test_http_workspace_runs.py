"""What the HTTP API asks Prefect for is taken by the forms of its deployments, started once, and found again."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from fastapi.testclient import TestClient
from http_offices import asking, office_at
from prefect import get_client
from prefect.states import Completed, Failed

from flows.close_workspace import close_workspace
from flows.open_workspace import open_workspace
from trainmaster.errors import FlowRunRefusedError
from trainmaster.flow_runs import PrefectRuns
from trainmaster.http_api.answers import answer_of
from trainmaster.http_api.office import Office
from trainmaster.http_api.workspace_runs import WorkspaceRuns
from trainmaster.settings import Settings
from trainmaster.workspaces.request import CloseWorkspaceRequest, OpenWorkspaceRequest

PATH = "/api/workspaces"
BOX = "python-ml"
"""A template of those that come with Trainmaster: the forms have no others."""


@pytest.fixture(scope="module")
def office(stack: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    for flow in (open_workspace, close_workspace):
        flow.to_deployment(flow.name, enforce_parameter_schema=True).apply()
    policy = tmp_path_factory.mktemp("http-runs") / "policy.yaml"
    policy.write_text("{default_role: member, roles: {member: {}}}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRAINMASTER_POLICY_FILE", str(policy))
        state = Settings().state_dir
        with office_at(stack.aws.environment, state, PrefectRuns(), policy_file=policy, poll_seconds=0.05) as office:
            yield office


@pytest.fixture
def client(office: Office, user_id: UUID) -> TestClient:
    return asking(office, user_id)


def parameters_of(run: dict[str, Any]) -> dict[str, Any]:
    with get_client(sync_client=True) as client:
        found: dict[str, Any] = client.read_flow_run(UUID(run["id"])).parameters["request"]
    return found


def carry_out(flow: Any, kind: type[Any], answer: Any) -> None:
    """The run that was answered with, as a worker does, but here."""
    assert answer.status_code == 202, answer.text
    run = answer.json()["run"]
    flow(kind.model_validate(parameters_of(run)))
    become(run, Completed())


def become(run: dict[str, Any], state: Any) -> None:
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(UUID(run["id"]), state, force=True)


def test_all_that_can_be_asked_of_a_workspace_reaches_the_flow_as_it_was_asked(
    client: TestClient, user_id: UUID
) -> None:
    asked = {
        "template": BOX,
        "name": "everything",
        "instance_type": "t3.large",
        "volume_gb": 30,
        "max_hourly_cost": "0.50",
        "auto_stop_minutes": 60,
        "keep_until": (datetime.now(UTC) + timedelta(days=1)).isoformat(),
        "data_classification": "internal",
        "tags": {"project": "cats", "note": "a=b"},
    }
    answer = client.post(PATH, json=asked)
    assert answer.status_code == 202, answer.text
    taken = OpenWorkspaceRequest.model_validate(parameters_of(answer.json()["run"]))
    assert taken == OpenWorkspaceRequest.model_validate({**asked, "user_id": str(user_id)})
    become(answer.json()["run"], Failed(message="OverBudgetError: another took the rest"))
    told = client.get(f"{PATH}/everything").json()
    assert told["workspace"] is None
    assert (told["run"]["state"], told["run"]["ended"]) == ("Failed", True)
    assert "another took the rest" in told["run"]["message"]


def test_a_workspace_is_opened_stopped_started_and_deleted_over_http_by_the_flows(client: TestClient) -> None:
    def stands() -> str:
        told: dict[str, Any] = client.get(f"{PATH}/whole").json()["workspace"]
        return str(told["status"])

    opening, closing = (open_workspace, OpenWorkspaceRequest), (close_workspace, CloseWorkspaceRequest)
    carry_out(*opening, client.post(PATH, json={"template": BOX, "name": "whole", "instance_type": "t3.large"}))
    assert stands() == "running"
    assert client.post(f"{PATH}/whole/connect").json()["command"][0] == "aws"
    carry_out(*closing, client.post(f"{PATH}/whole/stop"))
    assert stands() == "stopped"
    carry_out(*opening, client.post(f"{PATH}/whole/start"))
    assert stands() == "running"
    carry_out(*closing, client.delete(f"{PATH}/whole"))
    assert client.get(f"{PATH}/whole").status_code == 404


def test_the_same_again_finds_the_run_and_after_its_end_makes_another(client: TestClient) -> None:
    asked = {"template": BOX, "name": "again"}
    first, second = (client.post(PATH, json=asked).json()["run"] for _ in range(2))
    assert first["id"] == second["id"]
    assert client.get(f"/api/runs/{first['id']}").json()["name"] == first["name"]
    become(first, Completed())
    third = client.post(PATH, json=asked).json()["run"]
    assert third["id"] != first["id"]
    assert client.get(f"{PATH}/again").json()["run"]["id"] == third["id"]


def test_runs_of_others_and_of_the_ui_are_not_shown(office: Office, client: TestClient) -> None:
    run = client.post(PATH, json={"template": BOX, "name": "mine"}).json()["run"]
    with get_client(sync_client=True) as prefect:
        found = prefect.read_deployment_by_name("open-workspace/open-workspace")
        by_hand = prefect.create_flow_run_from_deployment(
            found.id, parameters={"request": {"template": BOX, "name": "by-hand"}}
        )
    assert asking(office, uuid4()).get(f"/api/runs/{run['id']}").status_code == 404
    assert client.get(f"/api/runs/{by_hand.id}").status_code == 404
    assert client.get(f"/api/runs/{uuid4()}").status_code == 404


def test_what_a_form_does_not_take_is_refused_and_not_put_off(office: Office, user_id: UUID) -> None:
    """As of a template that was made after the forms were."""
    wanted = OpenWorkspaceRequest(template="made-since", name="box", user_id=str(user_id))
    with pytest.raises(FlowRunRefusedError, match=r"made-since(.|\n)*trainmaster setup") as refused:
        WorkspaceRuns(office.runs, user_id, "box").open(wanted)
    answer = answer_of(refused.value, {})
    assert (answer.status_code, answer.headers.get("Retry-After")) == (400, None)


def test_closing_is_asked_for_in_earnest(office: Office, user_id: UUID) -> None:
    wanted = CloseWorkspaceRequest(name="box", action="delete", user_id=str(user_id), dry_run=False)
    run = WorkspaceRuns(office.runs, user_id, "box").close(wanted)
    taken = CloseWorkspaceRequest.model_validate(parameters_of({"id": run.id}))
    assert taken == wanted
    assert not taken.only_says
