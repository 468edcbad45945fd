"""Updates that take over by steps, under alarms: how traffic moves, what brings the old version back, what nobody notices."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from typing import Any
from uuid import uuid4

import pytest
from botocore.exceptions import ClientError
from hosting import Hosting, Load, archive

BROKEN = """
import json

def model_fn(folder):
    return "broken"

def transform_fn(model, body, content_type, accept):
    if json.loads(body).get("version_only"):
        return json.dumps({"version": "broken"}), "application/json"
    raise ValueError("no such feature")
"""


@pytest.fixture
def hosting(embedded: Any) -> Iterator[Hosting]:
    hosting = Hosting(embedded)
    yield hosting
    hosting.remove()
    embedded.control("DELETE", "faults")


@pytest.fixture
def alarm(hosting: Hosting) -> Iterator[Any]:
    """Makes an alarm on a metric of an endpoint's variant AllTraffic; its name."""
    cloudwatch, made = hosting.embedded.client("cloudwatch"), []

    def put(endpoint: str, metric: str = "Invocation5XXErrors", **members: Any) -> str:
        name = f"alarm-{uuid4().hex[:8]}"
        given = {
            "Statistic": "Average", "Threshold": 0.05, "ComparisonOperator": "GreaterThanThreshold", "Period": 60,
            "EvaluationPeriods": 1, "TreatMissingData": "notBreaching", **members,
        }  # fmt: skip
        dimensions = [{"Name": "EndpointName", "Value": endpoint}, {"Name": "VariantName", "Value": "AllTraffic"}]
        cloudwatch.put_metric_alarm(
            AlarmName=name, Namespace="AWS/SageMaker", MetricName=metric, Dimensions=dimensions, **given
        )
        made.append(name)
        return name

    yield put
    cloudwatch.delete_alarms(AlarmNames=made)


def rollout(kind: str, *alarms: str, wait: int = 0, percent: int = 10, **policy: Any) -> dict[str, Any]:
    size = {"CANARY": "CanarySize", "LINEAR": "LinearStepSize"}.get(kind)
    routing: dict[str, Any] = {"Type": kind, "WaitIntervalInSeconds": wait}
    if size:
        routing[size] = {"Type": "CAPACITY_PERCENT", "Value": percent}
    config: dict[str, Any] = {"BlueGreenUpdatePolicy": {"TrafficRoutingConfiguration": routing, **policy}}
    if alarms:
        config["AutoRollbackConfiguration"] = {"Alarms": [{"AlarmName": name} for name in alarms]}
    return config


def update(hosting: Hosting, name: str, config: str, **request: Any) -> None:
    hosting.sagemaker.update_endpoint(EndpointName=name, EndpointConfigName=config, **request)


def broken(hosting: Hosting) -> str:
    """A config whose model comes up and then fails every prediction."""
    artifact = hosting.upload(archive({"code/inference.py": BROKEN}))
    return hosting.config(hosting.variant(hosting.model(artifact=artifact)))


def state(hosting: Hosting, alarm: str) -> dict[str, Any]:
    [found] = hosting.embedded.client("cloudwatch").describe_alarms(AlarmNames=[alarm])["MetricAlarms"]
    return dict(found)


def invoked_until_settled(
    hosting: Hosting, name: str, reasons: dict[str, str] | None = None, *alarms: str
) -> tuple[dict[str, Any], Counter[str]]:
    """Its description when the update is over, and by which version requests were answered meanwhile, failures being `error`.

    In `reasons` is then why an alarm was on, of those that were at any moment: the next minute may be a good one.
    """
    seen: Counter[str] = Counter()
    while True:
        for one in (state(hosting, alarm) for alarm in alarms):
            if reasons is not None and one["StateValue"] == "ALARM":
                reasons[one["AlarmName"]] = one["StateReason"]
        for _ in range(5):
            try:
                seen[hosting.invoke(name)["version"]] += 1
            except hosting.runtime.exceptions.ModelError:
                seen["error"] += 1
        described = hosting.sagemaker.describe_endpoint(EndpointName=name)
        if described["EndpointStatus"] in ("InService", "Failed", "UpdateRollbackFailed"):
            return dict(described), seen


def test_a_canary_gets_its_share_while_it_bakes_and_then_all(hosting: Hosting) -> None:
    """A machine that stood still while it baked is given another go, twice as long."""
    name = hosting.serve()

    def baking() -> bool:
        described = hosting.sagemaker.describe_endpoint(EndpointName=name)
        pending = described.get("PendingDeploymentSummary", {}).get("ProductionVariants")
        return bool(pending and pending[0]["VariantStatus"][0]["Status"] == "Baking")

    def moves_on() -> bool:
        return baking() or hosting.sagemaker.describe_endpoint(EndpointName=name)["EndpointStatus"] == "InService"

    for number, wait in enumerate((3, 6, 12, 24), 1):
        old, new = f"v{number}", f"v{number + 1}"
        config = hosting.config(hosting.variant(hosting.model(new)))
        update(hosting, name, config, DeploymentConfig=rollout("CANARY", wait=wait, percent=50))
        hosting.wait_until(moves_on)
        while_baking = Counter(hosting.invoke(name)["version"] for _ in range(60))
        still_baking = baking()
        described = hosting.settled(name)
        assert (described["EndpointStatus"], described["EndpointConfigName"]) == ("InService", config)
        assert {hosting.invoke(name)["version"] for _ in range(20)} == {new}
        if still_baking:
            break

    assert still_baking
    assert min(while_baking[old], while_baking[new]) >= 5


def test_a_linear_update_loses_no_request(hosting: Hosting) -> None:
    name = hosting.serve()
    config = hosting.config(hosting.variant(hosting.model("v2")))

    with Load(hosting, name) as load:
        load.wait_for(50)
        update(
            hosting, name, config, DeploymentConfig=rollout("LINEAR", wait=1, percent=34, TerminationWaitInSeconds=1)
        )
        described = hosting.settled(name)
        load.wait_for(50)

    assert load.errors == []
    assert set(load.versions) == {"v1", "v2"}
    assert described["EndpointConfigName"] == config


def test_fifty_clients_notice_nothing_of_two_updates_and_a_broken_model(hosting: Hosting) -> None:
    hosting.runtime = hosting.embedded.client(
        "sagemaker-runtime", max_pool_connections=50, retries={"total_max_attempts": 1}
    )
    name = hosting.serve()
    fails = hosting.upload(archive({"code/inference.py": "def model_fn(folder): raise OSError('no such file')"}))
    after = [
        (hosting.model("v2"), rollout("CANARY", wait=1, percent=50), None),
        (hosting.model(artifact=fails), rollout("ALL_AT_ONCE", wait=1), "did not pass the ping health check"),
        (hosting.model("v3"), rollout("LINEAR", wait=1, percent=50), None),
    ]

    with Load(hosting, name, clients=50) as load:
        for model, deployment, failure in after:
            load.wait_for(100)
            update(hosting, name, hosting.config(hosting.variant(model)), DeploymentConfig=deployment)
            described = hosting.settled(name)
            assert described["EndpointStatus"] == "InService"
            assert (failure or "") in described.get("FailureReason", "")
        load.wait_for(100)

    assert load.errors == []
    assert set(load.versions) == {"v1", "v2", "v3"}
    assert load.versions[-1] == "v3"


@pytest.mark.parametrize("kind", ["ALL_AT_ONCE", "CANARY", "LINEAR"])
def test_an_alarm_that_goes_off_brings_the_old_version_back(hosting: Hosting, alarm: Any, kind: str) -> None:
    name = hosting.serve()
    before = hosting.settled(name)["EndpointConfigName"]
    watching, calm = alarm(name), alarm(name, "ModelLatency", Threshold=60e6)

    update(hosting, name, broken(hosting), DeploymentConfig=rollout(kind, calm, watching, wait=60, percent=50))
    reasons: dict[str, str] = {}
    described, seen = invoked_until_settled(hosting, name, reasons, watching, calm)

    assert (described["EndpointStatus"], described["EndpointConfigName"]) == ("InService", before)
    assert f"are in ALARM state: [{watching}]" in described["FailureReason"]
    assert "PendingDeploymentSummary" not in described
    assert seen["error"] > 0
    assert list(reasons) == [watching]
    assert "Invocation5XXErrors" in reasons[watching]
    assert {hosting.invoke(name)["version"] for _ in range(20)} == {"v1"}


def test_an_alarm_that_is_on_already_lets_no_traffic_move(hosting: Hosting, alarm: Any) -> None:
    name = hosting.serve()
    on = alarm(name, "Invocations", Statistic="Sum", Threshold=0)
    hosting.invoke(name)

    update(hosting, name, broken(hosting), DeploymentConfig=rollout("ALL_AT_ONCE", on, wait=60))
    described, seen = invoked_until_settled(hosting, name)

    assert "ALARM" in described["FailureReason"]
    assert set(seen) == {"v1"}


def test_alarms_that_are_not_there_are_refused_before_anything_moves(hosting: Hosting) -> None:
    name = hosting.serve()
    config = hosting.settled(name)["EndpointConfigName"]

    with pytest.raises(ClientError, match="do not exist: nobody-made-it"):
        update(hosting, name, config, DeploymentConfig=rollout("CANARY", "nobody-made-it", wait=1))

    assert hosting.settled(name)["EndpointStatus"] == "InService"


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (rollout("CANARY", percent=60), "at most 50%"),
        (rollout("LINEAR", percent=5), "from 10% to 50%"),
        (
            {"BlueGreenUpdatePolicy": {"TrafficRoutingConfiguration": {"Type": "CANARY", "WaitIntervalInSeconds": 0}}},
            "needs a CanarySize",
        ),
        (rollout("CANARY", wait=400, MaximumExecutionTimeoutInSeconds=600), "must be larger than the 800 seconds"),
        (
            {
                "RollingUpdatePolicy": {
                    "MaximumBatchSize": {"Type": "CAPACITY_PERCENT", "Value": 50},
                    "WaitIntervalInSeconds": 0,
                }
            },
            "BlueGreenUpdatePolicy only",
        ),
    ],
    ids=["canary too large", "steps too small", "no size", "no time", "rolling"],
)
def test_a_rollout_aws_would_refuse_is_refused(hosting: Hosting, config: dict[str, Any], said: str) -> None:
    wanted = hosting.config(hosting.variant(hosting.model()))

    with pytest.raises(ClientError, match=said):
        hosting.sagemaker.create_endpoint(EndpointName="never", EndpointConfigName=wanted, DeploymentConfig=config)


def test_a_rollback_that_fails_leaves_both_versions_serving_until_it_is_deleted(hosting: Hosting, alarm: Any) -> None:
    name = hosting.serve()
    config = broken(hosting)
    fault = {"operation": f"RollingBack:{name}", "error": "InternalServerError", "message": "No capacity to go back."}
    hosting.embedded.control("POST", "faults", fault)

    update(hosting, name, config, DeploymentConfig=rollout("CANARY", alarm(name), wait=60, percent=50))
    described, _ = invoked_until_settled(hosting, name)

    assert described["EndpointStatus"] == "UpdateRollbackFailed"
    assert "No capacity to go back." in described["FailureReason"]
    seen = set()
    for _ in range(60):
        with suppress(ClientError):
            seen.add(hosting.invoke(name, version_only=True)["version"])
    assert seen == {"v1", "broken"}
    with pytest.raises(ClientError, match='with status "UpdateRollbackFailed"'):
        update(hosting, name, config)
    hosting.sagemaker.delete_endpoint(EndpointName=name)


def test_maintenance_by_aws_refuses_changes_serves_on_and_passes(hosting: Hosting) -> None:
    name, other = hosting.serve(), hosting.serve()
    config = hosting.settled(name)["EndpointConfigName"]
    hosting.embedded.control("POST", "faults", {"operation": f"SystemUpdating:{name}", "latency": 4.0, "count": 1})

    assert hosting.sagemaker.describe_endpoint(EndpointName=other)["EndpointStatus"] == "InService"
    assert hosting.sagemaker.describe_endpoint(EndpointName=name)["EndpointStatus"] == "SystemUpdating"
    with pytest.raises(ClientError, match="Cannot update in-progress endpoint"):
        update(hosting, name, config)
    assert hosting.invoke(name)["version"] == "v1"
    hosting.wait_until(lambda: hosting.sagemaker.describe_endpoint(EndpointName=name)["EndpointStatus"] == "InService")


def test_an_endpoint_out_of_service_answers_nobody_and_can_only_be_deleted(hosting: Hosting) -> None:
    name = hosting.serve()
    config = hosting.settled(name)["EndpointConfigName"]
    hosting.embedded.control(
        "POST",
        "faults",
        {"operation": f"OutOfService:{name}", "error": "InternalServerError", "message": "All gone.", "count": 1},
    )

    assert hosting.sagemaker.describe_endpoint(EndpointName=name)["EndpointStatus"] == "OutOfService"
    hosting.wait_until(
        lambda: hosting.sagemaker.describe_endpoint(EndpointName=name).get("FailureReason") == "All gone."
    )
    with pytest.raises(ClientError, match='with status "OutOfService"'):
        update(hosting, name, config)
    with pytest.raises(ClientError, match="not found"):
        hosting.invoke(name)
