"""Tearing down leaves nothing that costs money, says what it kept, and one that fails keeps no other from it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from desks import desk_at
from hosting import Hosting

from trainmaster.aws.polling import Patience
from trainmaster.budget.budgets import ACCOUNT, Payer
from trainmaster.budget.metering import Meters
from trainmaster.endpoints.api.plan import stack_name
from trainmaster.endpoints.metering import see_hours
from trainmaster.endpoints.plan import ENDPOINT_TAG, PACKAGE_TAG, Desired
from trainmaster.endpoints.teardown import TornDown, names_to_tear_down, teardown
from trainmaster.training.desk import Desk

PATIENCE = Patience(0.05, 5, 60)
PACKAGE = "arn:aws:sagemaker:us-east-1:123456789012:model-package/houses/1"


@pytest.fixture
def desk(embedded: Any, tmp_path: Path) -> Iterator[Desk]:
    with desk_at(tmp_path, embedded.environment) as opened:
        yield opened


@pytest.fixture
def hosting(embedded: Any) -> Iterator[Hosting]:
    made = Hosting(embedded)
    yield made
    made.remove()


def ours(hosting: Hosting) -> tuple[str, str, str]:
    """An endpoint of ours that serves and captures; its configuration and model, named as a deployment names them."""
    sagemaker, name = hosting.sagemaker, f"torn-{uuid4().hex[:8]}"
    tags, config, model = [{"Key": ENDPOINT_TAG, "Value": name}], f"{name}-config", f"{name}-model"
    container = sagemaker.describe_model(ModelName=hosting.model())["PrimaryContainer"]
    sagemaker.create_model(ModelName=model, PrimaryContainer=container, ExecutionRoleArn=hosting.role, Tags=tags)
    sagemaker.create_endpoint_config(
        EndpointConfigName=config,
        ProductionVariants=[hosting.variant(model)],
        Tags=[*tags, {"Key": PACKAGE_TAG, "Value": PACKAGE}],
    )
    sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=config, Tags=tags)
    hosting.endpoints.append(name)
    assert hosting.settled(name)["EndpointStatus"] == "InService"
    hosting.s3.put_object(Bucket=hosting.bucket, Key=f"captured/{name}/all-traffic/2026/01/01/00/a.jsonl", Body=b"{}")
    return name, config, model


def torn_down(desk: Desk, *names: str, **options: Any) -> list[TornDown]:
    return list(teardown(desk, names, PATIENCE, **options))


def test_nothing_that_costs_money_is_left_its_hours_are_billed_and_what_is_kept_is_said(
    desk: Desk, hosting: Hosting
) -> None:
    name, config, model = ours(hosting)
    uri = hosting.sagemaker.describe_model(ModelName=model)["PrimaryContainer"]["ModelDataUrl"]
    see_hours(desk, Desired(name, model, config, {}, {}, Decimal("0.115")), Payer(UUID(int=1)))
    desk.client("cloudwatch").put_metric_alarm(
        AlarmName=f"{name}-errors", Namespace="AWS/SageMaker", MetricName="InvocationModelErrors", Period=60,
        EvaluationPeriods=1, Threshold=1, ComparisonOperator="GreaterThanThreshold", Statistic="Sum",
    )  # fmt: skip
    assert name in names_to_tear_down(desk)

    [would] = torn_down(desk, name, dry_run=True)
    assert would.sentence().startswith(f"Would remove endpoint {name}, config {config}, model {model}")
    assert hosting.sagemaker.describe_endpoint(EndpointName=name)["EndpointStatus"] == "InService"

    [done] = torn_down(desk, name)
    assert done.removed
    assert done.kept == [uri, PACKAGE, f"s3://{hosting.bucket}/captured/{name}/"]
    assert f"Kept: {uri}, {PACKAGE}" in done.sentence()
    assert name not in names_to_tear_down(desk)
    for listed in (
        hosting.sagemaker.list_endpoints(NameContains=name)["Endpoints"],
        hosting.sagemaker.list_endpoint_configs(NameContains=config)["EndpointConfigs"],
        hosting.sagemaker.list_models(NameContains=model)["Models"],
    ):
        assert listed == []
    assert Meters(desk.ledger).running() == []
    standing = desk.ledger.standing(ACCOUNT)
    assert (standing.settled > 0, standing.reserved) == (True, 0)
    [again] = torn_down(desk, name)
    assert (again.failure, again.sentence().split(".")[0]) == ("", "Removed nothing")


def test_one_that_is_not_ours_or_fails_is_said_and_the_others_go(desk: Desk, hosting: Hosting) -> None:
    theirs, (name, _, _) = hosting.serve(), ours(hosting)
    assert theirs not in names_to_tear_down(desk)
    refused, done = torn_down(desk, theirs, name)
    assert f"Endpoint {theirs} could not be torn down, and what is left costs money: " in refused.sentence()
    assert "was not made by Trainmaster" in refused.failure
    assert hosting.sagemaker.describe_endpoint(EndpointName=theirs)["EndpointStatus"] == "InService"
    assert done.removed


def test_what_was_left_of_an_endpoint_that_is_gone_is_found_and_removed(desk: Desk, hosting: Hosting) -> None:
    name, config, _ = ours(hosting)
    hosting.sagemaker.delete_endpoint(EndpointName=name)
    hosting.sagemaker.get_waiter("endpoint_deleted").wait(
        EndpointName=name, WaiterConfig={"Delay": 0.1, "MaxAttempts": 600}
    )
    assert name in names_to_tear_down(desk)
    [done] = torn_down(desk, name)
    assert done.found
    assert (done.removed, done.found.endpoint) == (True, None)
    assert hosting.sagemaker.list_endpoint_configs(NameContains=config)["EndpointConfigs"] == []


def test_an_endpoint_goes_whatever_becomes_of_its_public_api(desk: Desk, hosting: Hosting) -> None:
    (name, _, _), cloudformation = ours(hosting), desk.client("cloudformation")
    template = json.dumps({"Resources": {"Group": {"Type": "AWS::Logs::LogGroup"}}})
    cloudformation.create_stack(StackName=stack_name(name), TemplateBody=template)
    try:
        [torn] = torn_down(desk, name)
        assert f"Stack {stack_name(name)} exists and was not made by Trainmaster" in torn.failure
        assert not torn.removed
        assert hosting.sagemaker.list_endpoints(NameContains=name)["Endpoints"] == []
        assert cloudformation.describe_stacks(StackName=stack_name(name))["Stacks"]
    finally:
        cloudformation.delete_stack(StackName=stack_name(name))


def test_a_rehearsal_that_a_dead_deployment_left_goes_with_its_endpoint(desk: Desk, hosting: Hosting) -> None:
    name, config, model = ours(hosting)
    rehearsal = f"{name}--rehearsal"
    hosting.sagemaker.create_endpoint(
        EndpointName=rehearsal, EndpointConfigName=config, Tags=[{"Key": ENDPOINT_TAG, "Value": rehearsal}]
    )
    hosting.endpoints.append(rehearsal)
    assert hosting.settled(rehearsal)["EndpointStatus"] == "InService"
    see_hours(desk, Desired(rehearsal, model, config, {}, {}, Decimal("0.115")), Payer(UUID(int=1)))
    [would] = torn_down(desk, name, dry_run=True)
    assert f"endpoint {name}, endpoint {rehearsal}, " in would.sentence()
    [done] = torn_down(desk, name)
    assert done.removed
    assert hosting.sagemaker.list_endpoints(NameContains=name)["Endpoints"] == []
    assert Meters(desk.ledger).running() == []
