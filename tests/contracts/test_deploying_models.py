"""Endpoints brought to what was asked for: planned first, watched, scaled, pruned, and taken back to what was proven."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from desks import desk_at
from model_deployer import Deployer

from trainmaster.budget.budgets import Payer
from trainmaster.budget.metering import Meters
from trainmaster.commands.endpoints.deploying import Planned, carry_out
from trainmaster.endpoints import deployment
from trainmaster.endpoints.alarms import alarm_names
from trainmaster.endpoints.deploying import settle
from trainmaster.endpoints.metering import meter_endpoint
from trainmaster.endpoints.plan import CHALLENGER, VARIANT
from trainmaster.endpoints.request import Scaling
from trainmaster.endpoints.scaling import described_scaling
from trainmaster.endpoints.watch.stopping import take_away
from trainmaster.errors import DeploymentFailedError, OverBudgetError, RefusedError, UnknownChoiceError

HOURLY = Decimal("0.115")  # ml.m5.large, hosting, us-east-1
HASTY = {"rollout": {"rehearse": False}}
"""For tests of what comes after the rehearsal, which takes as long as all the rest."""


@pytest.fixture
def deployer(embedded: Any, tmp_path: Path) -> Iterator[Deployer]:
    with desk_at(tmp_path, embedded.environment, poll_seconds=0.05) as desk:
        made = Deployer(desk)
        yield made
        embedded.control("DELETE", "faults")
        made.remove()
        assert made.standing() == (set(), set())


def scaling_of(deployer: Deployer, variant: str = VARIANT) -> Scaling | None:
    return described_scaling(deployer.desk.client("application-autoscaling"), deployer.name, variant)


def grow(deployer: Deployer, count: int) -> None:
    """To so many instances, as autoscaling does when traffic grows."""
    wanted = [{"VariantName": VARIANT, "DesiredInstanceCount": count}]
    deployer.sagemaker.update_endpoint_weights_and_capacities(
        EndpointName=deployer.name, DesiredWeightsAndCapacities=wanted
    )
    settle(deployer.sagemaker, deployer.name, deployment.patience_of(deployer.desk.settings))


def alarms_of(deployer: Deployer) -> dict[str, dict[str, Any]]:
    names = alarm_names(deployer.name, [VARIANT, CHALLENGER])
    found = deployer.desk.client("cloudwatch").describe_alarms(AlarmNames=names)["MetricAlarms"]
    return {one["AlarmName"].removeprefix(f"{deployer.name}-"): one for one in found}


def test_a_plan_tells_steps_and_cost_before_and_after_and_changes_nothing(deployer: Deployer) -> None:
    model = deployer.model("v1")
    desired, _, plan = deployer.planned(model, instance_count=2)
    assert [step.kind for step in plan.steps] == ["create-model", "create-config", "remember", "create-endpoint"]
    assert (plan.hourly_before, desired.hourly_cost) == (0, 2 * HOURLY)
    assert deployer.standing() == (set(), set())

    deployer.deploy(model, instance_count=2)
    desired, _, plan = deployer.planned(model, scaling={"max_instances": 3})
    assert (plan.hourly_before, desired.hourly_cost) == (2 * HOURLY, 3 * HOURLY)
    assert deployer.planned(model, instance_count=2)[2].steps == ()


def test_a_serverless_endpoint_is_proven_and_costs_at_most_all_its_places_taken(deployer: Deployer) -> None:
    served = deployer.deploy(deployer.model("v1"), serverless={"memory_mb": 1024, "max_concurrency": 2})
    [variant] = deployer.config()["ProductionVariants"]
    assert variant["ServerlessConfig"] == {"MemorySizeInMB": 1024, "MaxConcurrency": 2}
    assert served.hourly_cost == 2 * Decimal("0.00002") * 3600
    assert deployer.answer() == "v1"


def test_a_challenger_answers_its_share_and_is_proven_too(deployer: Deployer) -> None:
    main, other = deployer.model("main"), deployer.model("other")
    served = deployer.deploy(main, challenger={"model_uri": other, "traffic_percent": 30})
    weights = {one["VariantName"]: one["CurrentWeight"] for one in deployer.described()["ProductionVariants"]}
    assert weights == {VARIANT: pytest.approx(0.7), CHALLENGER: pytest.approx(0.3)}
    assert (deployer.answer(VARIANT), deployer.answer(CHALLENGER)) == ("main", "other")
    assert served.hourly_cost == 2 * HOURLY

    with pytest.raises(DeploymentFailedError, match="predicted_price should lie between"):
        deployer.deploy(main, challenger={"model_uri": deployer.model("bad", "-1")})
    assert deployer.described()["EndpointConfigName"] == served.config_name


def test_a_shadow_and_what_is_captured_are_part_of_the_configuration(deployer: Deployer) -> None:
    shadow = {"model_uri": deployer.model("candidate"), "sampling_percent": 50}
    served = deployer.deploy(deployer.model("v1"), shadow=shadow, capture_percent=20)
    config = deployer.config()
    [beside] = config["ShadowProductionVariants"]
    assert (beside["VariantName"], beside["InitialVariantWeight"]) == ("shadow", 0.5)
    bucket = deployer.desk.settings.required("bucket")
    assert config["DataCaptureConfig"]["DestinationS3Uri"] == f"s3://{bucket}/captured"
    assert config["DataCaptureConfig"]["InitialSamplingPercentage"] == 20
    assert served.hourly_cost == 2 * HOURLY
    assert {deployer.answer() for _ in range(5)} == {"v1"}


def test_autoscaling_is_attached_and_keeps_its_count_over_an_update(deployer: Deployer) -> None:
    scaling = {"min_instances": 1, "max_instances": 3, "target_invocations": 500}
    served = deployer.deploy(deployer.model("v1"), scaling=scaling)
    assert served.steps[-1] == f"scale {VARIANT}"
    assert scaling_of(deployer) == Scaling(**scaling)
    grow(deployer, 2)

    served = deployer.deploy(deployer.model("v2"), scaling=scaling, **HASTY)

    assert served.steps[-1] == f"update endpoint {deployer.name}, keeping its instance counts"
    assert deployer.described()["ProductionVariants"][0]["CurrentInstanceCount"] == 2
    assert scaling_of(deployer) == Scaling(**scaling)


def test_autoscaling_is_taken_off_where_the_machines_change_and_attached_again(deployer: Deployer) -> None:
    model, scaling = deployer.model("v1"), {"max_instances": 2}
    deployer.deploy(model, scaling=scaling)
    other = deployer.deploy(model, scaling=scaling, instance_type="ml.m5.xlarge")
    assert [step for step in other.steps if "scal" in step] == [f"stop scaling {VARIANT}", f"scale {VARIANT}"]
    assert scaling_of(deployer) == Scaling(max_instances=2)
    assert f"stop scaling {VARIANT}" in deployer.deploy(model).steps
    assert scaling_of(deployer) is None


def test_a_deployment_that_fails_leaves_the_old_ones_autoscaling_and_its_count(deployer: Deployer) -> None:
    scaling = {"max_instances": 2}
    deployer.deploy(deployer.model("v1"), scaling=scaling)
    grow(deployer, 2)
    with pytest.raises(DeploymentFailedError, match="is back on"):
        deployer.deploy(deployer.model("bad", "-1"), scaling=scaling, **HASTY)
    assert scaling_of(deployer) == Scaling(**scaling)
    assert deployer.described()["ProductionVariants"][0]["CurrentInstanceCount"] == 2


def test_alarms_follow_what_was_asked_for_and_go_with_the_endpoint(deployer: Deployer) -> None:
    model = deployer.model("v1")
    deployer.deploy(model, rollout={"max_error_percent": 5, "max_latency_ms": 200})
    alarms = alarms_of(deployer)
    assert {name: (one["MetricName"], one["Threshold"]) for name, one in alarms.items()} == {
        "errors": ("InvocationModelErrors", 0.05),
        "5xx": ("Invocation5XXErrors", 0.05),
        "latency": ("ModelLatency", 200_000),
    }
    assert deployer.planned(model, rollout={"max_error_percent": 5, "max_latency_ms": 200})[2].steps == ()
    served = deployer.deploy(model, rollout={"max_latency_ms": 300})
    assert [" ".join(step.split()[:2]) for step in served.steps] == ["put alarm", "delete alarm", "delete alarm"]
    assert {name: one["Threshold"] for name, one in alarms_of(deployer).items()} == {"latency": 300_000}
    deployer.remove()
    assert alarms_of(deployer) == {}


def test_what_failed_is_not_applied_again_unless_forced(deployer: Deployer) -> None:
    deployer.deploy(deployer.model("good"))
    bad = deployer.model("bad", "-1")
    with pytest.raises(DeploymentFailedError):
        deployer.deploy(bad)
    with pytest.raises(RefusedError, match=r"has tried .* before, and it failed: .*predicted_price.*set force"):
        deployer.deploy(bad)
    with pytest.raises(DeploymentFailedError):
        deployer.deploy(bad, force=True)
    assert deployer.answer() == "good"
    deployer.deploy(deployer.model("better"))
    configs, models = deployer.standing()
    assert (len(configs), len(models)) == (2, 2)  # the note of what failed went with the next that was proven


def test_old_versions_are_pruned_to_those_that_were_to_be_kept(deployer: Deployer) -> None:
    served = [deployer.deploy(deployer.model(f"v{number}"), keep_versions=2, **HASTY) for number in range(4)]
    configs, models = deployer.standing()
    assert configs == {one.config_name for one in served[1:]}
    assert models == {one.model_name for one in served[1:]}


def test_going_back_twice_leads_further_back_and_forward_by_name(deployer: Deployer) -> None:
    served = [deployer.deploy(deployer.model(f"v{number}"), **HASTY) for number in range(3)]

    assert [deployer.back().config_name for _ in range(2)] == [served[1].config_name, served[0].config_name]
    assert deployer.answer() == "v0"
    with pytest.raises(RefusedError, match="no proven version before it is kept"):
        deployer.back()
    with pytest.raises(UnknownChoiceError, match="has no other proven version nope"):
        deployer.back("nope")
    deployer.back(served[2].config_name, max_hourly_cost="0.01")  # what serves costs as much
    assert deployer.answer() == "v2"
    assert deployer.standing()[0] == {one.config_name for one in served}


def test_how_long_an_endpoint_lives_is_told_by_its_tags_alone(deployer: Deployer) -> None:
    model = deployer.model("v1")
    deployer.deploy(model, lifetime={"hours": 2, "idle_minutes": 30, "when_over": "remove"})
    tags = deployer.tags()
    left = datetime.fromisoformat(tags["trainmaster:expires"]) - datetime.now(UTC)
    assert timedelta(hours=1.9) < left <= timedelta(hours=2)
    assert (tags["trainmaster:idle-minutes"], tags["trainmaster:when-over"]) == ("30", "remove")
    served = deployer.deploy(model)
    assert served.steps == [f"set lifetime {deployer.name}"]
    assert {key for key in deployer.tags() if key in {"trainmaster:expires", "trainmaster:idle-minutes"}} == set()


def test_a_configuration_says_where_its_model_came_from(deployer: Deployer) -> None:
    uri = deployer.model("v1")
    deployer.deploy(uri)
    tags = deployer.tags(deployer.config()["EndpointConfigArn"])
    assert (tags["trainmaster:model-uri"], len(tags["trainmaster:sha256"])) == (uri, 64)
    assert datetime.fromisoformat(tags["trainmaster:deployed-at"]) <= datetime.now(UTC)


def test_what_was_removed_when_its_time_was_over_has_as_long_again_when_it_is_brought_back(deployer: Deployer) -> None:
    deployer.deploy(deployer.model("v1"), lifetime={"hours": 2.5, "when_over": "remove"})
    assert take_away(deployer.sagemaker, deployer.described())
    settle(deployer.sagemaker, deployer.name, deployment.patience_of(deployer.desk.settings))
    with pytest.raises(
        OverBudgetError, match=r"would cost \$0\.1\d* an hour; max_hourly_cost is \$0\.01\. Please raise"
    ):
        deployer.back(max_hourly_cost="0.01")
    deployer.back()
    left = datetime.fromisoformat(deployer.tags()["trainmaster:expires"]) - datetime.now(UTC)
    assert timedelta(hours=2.4) < left <= timedelta(hours=2.5)


def test_maintenance_by_aws_is_waited_out(deployer: Deployer, embedded: Any) -> None:
    deployer.deploy(deployer.model("v1"))
    fault = {"operation": f"SystemUpdating:{deployer.name}", "latency": 1.0, "count": 1}
    embedded.control("POST", "faults", fault)
    deployer.deploy(deployer.model("v2"), **HASTY)
    assert deployer.answer() == "v2"


def test_a_version_is_not_blamed_for_an_update_that_aws_did_not_begin(deployer: Deployer, embedded: Any) -> None:
    deployer.deploy(deployer.model("v1"))
    uri = deployer.model("v2")
    desired, models, plan = deployer.planned(uri, **HASTY)
    message = f'Cannot update in-progress endpoint "{deployer.name}".'  # as while AWS itself updates it
    fault = {"operation": "UpdateEndpoint", "error": "ValidationException", "message": message}
    embedded.control("POST", "faults", fault)
    with pytest.raises(DeploymentFailedError, match="Cannot update"):
        carry_out(deployer.desk, Planned(models, desired, plan), Payer())
    embedded.control("DELETE", "faults")
    assert deployer.answer() == "v1"
    deployer.deploy(uri, **HASTY)
    assert deployer.answer() == "v2"


def test_an_endpoint_nobody_can_update_is_explained_and_left_alone(deployer: Deployer, embedded: Any) -> None:
    deployer.deploy(deployer.model("v1"))
    fault = {
        "operation": f"OutOfService:{deployer.name}",
        "error": "InternalServerError",
        "message": "Gone.",
        "count": 1,
    }
    embedded.control("POST", "faults", fault)
    before = deployer.standing()
    with pytest.raises(RefusedError, match=r"is OutOfService: AWS keeps it from answering.*remove-endpoint"):
        deployer.deploy(deployer.model("v2"))
    assert deployer.standing() == before


class Asking:
    """Somebody who asks the endpoint without pause while the block runs."""

    def __init__(self, deployer: Deployer) -> None:
        self._deployer, self._over = deployer, threading.Event()
        self.answered: list[str] = []

    def __enter__(self) -> Asking:
        self._thread = threading.Thread(target=self._ask)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _ask(self) -> None:
        while not self._over.is_set():
            with suppress(ClientError):  # of the model that fails
                self.answered.append(self._deployer.answer())


def test_alarms_that_go_off_bring_the_old_version_back_and_note_what_failed(deployer: Deployer) -> None:
    old = deployer.deploy(deployer.model("old"))
    failing = deployer.model("failing", "1 / 0")
    rollout = {
        "kind": "canary", "step_percent": 50, "wait_seconds": 120, "max_error_percent": 5, "rehearse": False,
    }  # fmt: skip
    with Asking(deployer), pytest.raises(DeploymentFailedError, match=r"(?i)alarm"):
        deployer.deploy(failing, rollout=rollout)
    endpoint = deployer.described()
    assert (endpoint["EndpointStatus"], endpoint["EndpointConfigName"]) == ("InService", old.config_name)
    assert {deployer.answer() for _ in range(10)} == {"old"}
    with pytest.raises(RefusedError, match="and it failed"):
        deployer.deploy(failing, rollout=rollout)


def test_an_update_whose_way_back_failed_too_is_explained(deployer: Deployer, embedded: Any) -> None:
    deployer.deploy(deployer.model("old"))
    fault = {"operation": f"RollingBack:{deployer.name}", "error": "InternalServerError", "message": "No way back."}
    embedded.control("POST", "faults", fault)
    rollout = {
        "kind": "canary", "step_percent": 50, "wait_seconds": 120, "max_error_percent": 5, "rehearse": False,
    }  # fmt: skip
    with Asking(deployer), pytest.raises(DeploymentFailedError, match=r"No way back"):
        deployer.deploy(deployer.model("failing", "1 / 0"), rollout=rollout)
    meters = Meters(deployer.desk.ledger)
    assert len(meters.running()) == 2, "the instances of both versions stand, and are paid"
    with pytest.raises(RefusedError, match=r"UpdateRollbackFailed: .*a mix of the old and the new version"):
        deployer.deploy(deployer.model("next"))
    deployer.remove()
    meter_endpoint(deployer.desk, deployer.name)
    assert meters.running() == []
    assert deployer.deploy(deployer.model("next")).steps[-1] == f"create endpoint {deployer.name}"
