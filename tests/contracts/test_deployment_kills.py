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
UPDATED = {
    "scaling": {"min_instances": 1, "max_instances": 2},
    "rollout": {"max_error_percent": 5},
    "keep_versions": 1,
}


@pytest.fixture
def deployer(embedded: Any, tmp_path: Path) -> Iterator[Deployer]:
    with desk_at(tmp_path, embedded.environment, poll_seconds=0.05) as desk:
        made = Deployer(desk)
        yield made
        made.remove()


@pytest.fixture(scope="module")
def standing(embedded: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployer]:
    """One that serves already."""
    with desk_at(tmp_path_factory.mktemp("standing"), embedded.environment, poll_seconds=0.05) as desk:
        made = Deployer(desk)
        made.deploy(made.model("v0"))
        yield made
        made.remove()


@pytest.fixture
def killed(children: Any, embedded: Any) -> Any:
    """Whether the deployer's deployment was killed at that step, and not done before it."""

    def at(step: int, deployer: Deployer, request: EndpointRequest, *moments: str) -> bool:
        books = deployer.desk.settings.state_dir
        work = Deployment(dict(embedded.environment), books, request.model_dump_json(), step)
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
    assert killed(step, deployer, deployer.request(model))
    deployer.deploy(model)
    assert_one_served(deployer, "v1")


@pytest.mark.parametrize("step", range(1, UPDATE + 1))
def test_an_update_killed_at_any_step_comes_to_the_new_version_with_its_alarms_and_scaling(
    standing: Deployer, killed: Any, step: int
) -> None:
    """Of an endpoint that had neither before, and goes on from one step to the next."""
    before, after = f"v{step}.1", f"v{step}.2"
    oldest = standing.described()["EndpointConfigName"]
    old = standing.deploy(standing.model(before), rollout={"rehearse": False})
    model = standing.model(after)
    assert killed(step, standing, standing.request(model, **UPDATED), "after-call")
    assert standing.answer() in {before, after}  # all the while
    standing.deploy(model, **UPDATED)
    assert_one_served(standing, after, old.config_name)
    assert oldest not in standing.standing()[0]
    assert standing.planned(model, **UPDATED)[2].steps == ()


def test_these_are_all_the_steps_there_are(deployer: Deployer, killed: Any) -> None:
    assert not killed(FIRST + 1, deployer, deployer.request(deployer.model("v0")))
    deployer.deploy(deployer.model("v1"), rollout={"rehearse": False})
    assert not killed(UPDATE + 1, deployer, deployer.request(deployer.model("v2"), **UPDATED), "after-call")
