"""The one list of deployments names flows that exist, with the names people will look for."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect import Flow
from prefect.flows import load_flow_from_entrypoint
from prefect.utilities.callables import parameter_schema

ROOT = Path(__file__).parents[2]
LISTED: list[dict[str, Any]] = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]


def flow_of(deployment: dict[str, Any]) -> Flow[..., Any]:
    path, _, name = deployment["entrypoint"].partition(":")
    flow: Flow[..., Any] = load_flow_from_entrypoint(f"{ROOT / path}:{name}")
    return flow


def test_every_flow_file_is_deployed_once() -> None:
    files = sorted(path.stem for path in (ROOT / "flows").glob("*.py") if path.stem != "__init__")
    assert sorted(deployment["entrypoint"].split(":")[1] for deployment in LISTED) == files


@pytest.mark.parametrize("deployment", LISTED, ids=[deployment["name"] for deployment in LISTED])
class TestDeployment:
    def test_file_function_flow_and_deployment_share_one_name(self, deployment: dict[str, Any]) -> None:
        path, _, function = deployment["entrypoint"].partition(":")
        assert Path(path).stem == function
        assert flow_of(deployment).name == deployment["name"] == function.replace("_", "-")

    def test_every_given_parameter_is_one_of_the_flow(self, deployment: dict[str, Any]) -> None:
        flow = flow_of(deployment)
        assert deployment.get("parameters", {}).keys() <= parameter_schema(flow).properties.keys()
        assert list(parameter_schema(flow).properties) == ["request"]

    def test_what_a_schedule_gives_is_what_the_flow_takes(self, deployment: dict[str, Any]) -> None:
        for schedule in deployment.get("schedules", []):
            given = deployment.get("parameters", {}) | schedule.get("parameters", {})
            flow_of(deployment).validate_parameters(given)

    def test_every_field_of_its_form_has_a_title_and_a_description(self, deployment: dict[str, Any]) -> None:
        for model in parameter_schema(flow_of(deployment)).definitions.values():
            for name, field in model.get("properties", {}).items():
                assert field.get("title"), name
                assert field.get("description") or "$ref" in field, name

    def test_it_says_what_it_does_and_how_many_may_run(self, deployment: dict[str, Any]) -> None:
        assert len(deployment["description"]) > 40
        assert "trainmaster" in deployment["tags"]
        waits = (
            "CANCEL_NEW" if deployment.get("schedules") else "ENQUEUE"
        )  # scheduled runs would pile up behind a slow one
        assert deployment["concurrency_limit"]["collision_strategy"] == waits
        assert deployment["work_pool"]["name"] == "trainmaster"
