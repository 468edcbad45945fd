"""Whatever kills a deployment, at whichever step: the same again leads to one endpoint that serves, and leaves nothing beside it."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import killed_deployments
import pytest
from desks import desk_at
from killed_deployments import Deployment
from model_deployer import Deployer

from trainmaster.budget.metering import Meters
from trainmaster.endpoints.metering import endpoint_arn
from trainmaster.endpoints.request import EndpointRequest

WITHIN = 90.0
FIRST = 10
"""Steps of a first deployment: model, configuration, note, endpoint and proof, each about to be made and made."""
UPDATE = 18
"""Calls of an update with alarms and autoscaling, each made: model, configuration, rehearsal, …, proof and pruning."""
SCALING = {"min_instances": 1, "max_instances": 2}
ROLLOUT = {"max_error_percent": 5}


@pytest.fixture
def deployer(embedded: Any, tmp_path: Path) -> Iterator[Deployer]:
    with desk_at(tmp_path, embedded.environment, poll_seconds=0.05) as desk:
        made = Deployer(desk)
        yield made
        made.remove()


@pytest.fixture
def killed(children: Any, embedded: Any, tmp_path: Path) -> Any:
    """Whether the deployment was killed at that step, and not done before it."""

    def at(step: int, request: EndpointRequest, *moments: str) -> bool:
        work = Deployment(dict(embedded.environment), tmp_path, request.model_dump_json(), step)
        if moments:
            work = replace(work, moments=moments)
        child = children.Process(target=killed_deployments.do, args=(work,))
        child.start()
        child.join(WITHIN)
        assert child.exitcode in (0, -signal.SIGKILL)
        return bool(child.exitcode)

    return at


def assert_one_served(deployer: Deployer, version: str, *kept: str) -> None:
    """By the model of that version alone, with its hours in the books and nobody else's, and nothing beside what is `kept`."""
    endpoint = deployer.described()
    config = deployer.config()
    assert (endpoint["EndpointStatus"], deployer.answer()) == ("InService", version)
    assert deployer.tags(config["EndpointConfigArn"])["trainmaster:proof"] == "proven"
    endpoints = deployer.sagemaker.list_endpoints(NameContains=deployer.name)["Endpoints"]
    assert [one["EndpointName"] for one in endpoints] == [deployer.name]
    configs, models = deployer.standing()
    assert configs == {endpoint["EndpointConfigName"], *kept}
    serving = {variant["ModelName"] for variant in config["ProductionVariants"]}
    assert models == serving | {deployer.config(one)["ProductionVariants"][0]["ModelName"] for one in kept}
    meters = Meters(deployer.desk.ledger).running(endpoint_arn(deployer.desk, deployer.name))
    assert [meter.part for meter in meters] == [endpoint["EndpointConfigName"]]


@pytest.mark.parametrize("step", range(1, FIRST + 1))
def test_a_first_deployment_killed_at_any_step_comes_to_one_endpoint(
    deployer: Deployer, killed: Any, step: int
) -> None:
    model = deployer.model("v1")
    assert killed(step, deployer.request(model))
    deployer.deploy(model)
    assert_one_served(deployer, "v1")


@pytest.mark.parametrize("step", range(1, UPDATE + 1))
def test_an_update_killed_at_any_step_comes_to_the_new_version_with_its_alarms_and_scaling(
    deployer: Deployer, killed: Any, step: int
) -> None:
    oldest, old = (deployer.deploy(deployer.model(version)) for version in ("v0", "v1"))
    choices = {"scaling": SCALING, "rollout": ROLLOUT, "keep_versions": 1}
    model = deployer.model("v2")
    assert killed(step, deployer.request(model, **choices), "after-call")
    assert deployer.answer() in {"v1", "v2"}  # all the while
    deployer.deploy(model, **choices)
    assert_one_served(deployer, "v2", old.config_name)
    assert oldest.config_name not in deployer.standing()[0]
    assert deployer.planned(model, **choices)[2].steps == ()


def test_these_are_all_the_steps_there_are(deployer: Deployer, killed: Any) -> None:
    assert not killed(FIRST + 1, deployer.request(deployer.model("v0")))
    deployer.deploy(deployer.model("v1"))
    choices = {"scaling": SCALING, "rollout": ROLLOUT, "keep_versions": 1}
    assert not killed(UPDATE + 1, deployer.request(deployer.model("v2"), **choices), "after-call")
