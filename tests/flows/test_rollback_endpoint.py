"""A plan to read first, and a way back to what had proven itself."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from served_models import GOOD, put_model

from flows.deploy_endpoint import deploy_endpoint
from flows.remove_endpoint import remove_endpoint
from flows.rollback_endpoint import rollback_endpoint
from trainmaster.endpoints.request import EndpointRequest, RemovalRequest, RollbackRequest
from trainmaster.endpoints.results import PlannedDeployment, ServedModel
from trainmaster.errors import UnknownChoiceError

NAME = "taken-back"


@pytest.fixture(autouse=True)
def nothing_left(stack: Any) -> Iterator[None]:
    yield
    remove_endpoint(RemovalRequest(endpoint_name=NAME, dry_run=False))


def version(stack: Any) -> str:
    answered = stack.client("sagemaker-runtime").invoke_endpoint(
        EndpointName=NAME, ContentType="application/json", Body=b'{"sqft": 1}'
    )
    return str(json.loads(answered["Body"].read())["model_version"])


def test_a_dry_run_shows_the_steps_and_the_cost_and_makes_nothing(stack: Any) -> None:
    uri = put_model(stack, "planned.tar.gz", GOOD.format(version="v", price="7"), "v")
    planned = deploy_endpoint(EndpointRequest(model_uri=uri, endpoint_name=NAME, dry_run=True))
    assert isinstance(planned, PlannedDeployment)
    assert [" ".join(step.split()[:2]) for step in planned.steps] == [
        "create model", "create config", "remember that", "create endpoint",
    ]  # fmt: skip
    assert (planned.hourly_before, planned.hourly_after) == (0, Decimal("0.115"))
    sagemaker = stack.client("sagemaker")
    assert sagemaker.list_endpoint_configs(NameContains=NAME)["EndpointConfigs"] == []
    assert sagemaker.list_models(NameContains=NAME)["Models"] == []


def test_an_endpoint_goes_back_to_what_had_proven_itself_before(stack: Any) -> None:
    for name in ("one", "two"):
        uri = put_model(stack, f"{name}.tar.gz", GOOD.format(version=name, price="7"), name)
        deploy_endpoint(EndpointRequest(model_uri=uri, endpoint_name=NAME))
    planned = rollback_endpoint(RollbackRequest(endpoint_name=NAME, dry_run=True))
    assert isinstance(planned, PlannedDeployment)
    assert (planned.steps[-1], version(stack)) == (f"update endpoint {NAME}", "two")

    served = rollback_endpoint(RollbackRequest(endpoint_name=NAME))

    assert isinstance(served, ServedModel)
    assert (served.config_name, version(stack)) == (planned.config_name, "one")


def test_an_endpoint_there_is_not_has_nothing_to_go_back_to(stack: Any) -> None:
    with pytest.raises(UnknownChoiceError, match="no endpoint never-made of Trainmaster's to take back"):
        rollback_endpoint(RollbackRequest(endpoint_name="never-made"))
