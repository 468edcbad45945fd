"""What becomes of endpoints when the embedded AWS ends, however it ends, and is started again."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import BotoCoreError, ClientError
from hosting import SCRIPT, Hosting, archive

UNDER_WAY = "/opt/ml/model/under-way"


def is_under_way(hosting: Hosting, endpoint: str) -> bool:
    """True once the one instance of the endpoint has begun to answer what touches that file."""
    try:
        hosting.invoke(endpoint, read=UNDER_WAY)
    except ClientError:
        return False
    return True


def processes_with(variable: str) -> list[str]:
    """Processes that have it in their environment, as every model server has the address of its AWS."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if variable.encode() in (process / "environ").read_bytes():
                found.append((process / "cmdline").read_text())
        except OSError:
            continue  # ended meanwhile
    return found


def test_endpoints_go_on_after_a_restart_where_they_were(start_embedded: Callable[..., Any]) -> None:
    embedded = start_embedded(stop_grace=3)
    hosting = Hosting(embedded)
    model = hosting.model()
    serving = hosting.serve(hosting.variant(model, InitialInstanceCount=2))
    config = hosting.sagemaker.describe_endpoint(EndpointName=serving)["EndpointConfigName"]
    hosting.sagemaker.delete_endpoint_config(EndpointConfigName=config)
    hosting.sagemaker.delete_model(ModelName=model)
    artifact = hosting.upload(archive({"code/inference.py": SCRIPT, "version": "v1"}))
    bereft = hosting.serve(hosting.variant(hosting.model(artifact=artifact)))
    hosting.s3.delete_object(Bucket=hosting.bucket, Key=artifact.split("/", 3)[3])
    updating, deleting = hosting.serve(), hosting.serve()
    new = hosting.config(hosting.variant(hosting.model("v2")))
    embedded.control("POST", "faults", {"operation": "LaunchingMLInstances", "latency": 60.0})
    hosting.sagemaker.update_endpoint(EndpointName=updating, EndpointConfigName=new)
    creating = hosting.create(new)
    with ThreadPoolExecutor(1) as pool:
        cut = pool.submit(hosting.invoke, deleting, touch=UNDER_WAY, seconds=30)
        hosting.wait_until(lambda: is_under_way(hosting, deleting))
        hosting.sagemaker.delete_endpoint(EndpointName=deleting)
        here = f"AWS_ENDPOINT_URL={embedded.environment['AWS_ENDPOINT_URL']}"
        assert processes_with(here)

        embedded.kill()

        with pytest.raises(Exception, match=r"closed|reset|Could not connect|refused"):
            cut.result()
    hosting.wait_until(lambda: not processes_with(here))

    hosting = Hosting(start_embedded(stop_grace=3))
    assert hosting.sagemaker.describe_endpoint(EndpointName=serving)["EndpointStatus"] == "InService"
    assert hosting.invoke(serving)["version"] == "v1"
    assert len({hosting.invoke(serving)["instance"] for _ in range(40)}) == 2
    for name in (updating, creating):
        described = hosting.settled(name)
        assert (described["EndpointStatus"], described["EndpointConfigName"]) == ("InService", new)
        assert hosting.invoke(name)["version"] == "v2"
    with pytest.raises(ClientError, match="Could not find endpoint"):
        hosting.sagemaker.describe_endpoint(EndpointName=deleting)
    described = hosting.settled(bereft)
    assert described["EndpointStatus"] == "OutOfService"
    assert "Failed to download model data" in described["FailureReason"]
    hosting.sagemaker.delete_endpoint(EndpointName=bereft)


def test_what_is_asked_before_all_is_taken_up_again_waits_and_then_holds(start_embedded: Callable[..., Any]) -> None:
    embedded = start_embedded(stop_grace=3)
    hosting = Hosting(embedded)
    serving, updating = hosting.serve(), hosting.serve()
    new = hosting.config(hosting.variant(hosting.model("v2")))
    embedded.kill()

    def asked_first(call: Callable[[], Any]) -> Any:
        """The first answer there is."""
        while not restarted.done():
            with suppress(BotoCoreError):  # nobody listens yet
                return call()
        return call()

    with ThreadPoolExecutor(7) as pool:
        restarted = pool.submit(start_embedded, stop_grace=3)
        invoked = [pool.submit(asked_first, lambda: hosting.invoke(serving)) for _ in range(4)]
        created = pool.submit(asked_first, lambda: hosting.create(new))
        updated = pool.submit(asked_first, lambda: update(hosting, updating, new))
        assert {one.result()["version"] for one in invoked} == {"v1"}
        for name in (created.result(), updated.result()):
            described = hosting.settled(name)
            assert (described["EndpointStatus"], described["EndpointConfigName"]) == ("InService", new)
            assert hosting.invoke(name)["version"] == "v2"
    assert restarted.result().control("GET", "health")["status"] == "ok"


def test_alarms_and_scaling_are_there_after_a_restart_but_not_those_of_endpoints_that_are_gone(
    start_embedded: Callable[..., Any],
) -> None:
    embedded = start_embedded(stop_grace=3)
    hosting = Hosting(embedded)
    serving, gone = hosting.serve(), hosting.serve()
    embedded.client("cloudwatch").put_metric_alarm(
        AlarmName="kept", Namespace="AWS/SageMaker", MetricName="Invocations", Statistic="Sum", Threshold=0,
        ComparisonOperator="GreaterThanThreshold", Period=60, EvaluationPeriods=1,
        Dimensions=[{"Name": "EndpointName", "Value": serving}, {"Name": "VariantName", "Value": "AllTraffic"}],
    )  # fmt: skip
    for name in (serving, gone):
        embedded.client("application-autoscaling").register_scalable_target(
            ServiceNamespace="sagemaker", ResourceId=f"endpoint/{name}/variant/AllTraffic",
            ScalableDimension="sagemaker:variant:DesiredInstanceCount", MinCapacity=1, MaxCapacity=3,
        )  # fmt: skip
    hosting.sagemaker.delete_endpoint(EndpointName=gone)
    hosting.sagemaker.get_waiter("endpoint_deleted").wait(
        EndpointName=gone, WaiterConfig={"Delay": 0.05, "MaxAttempts": 1800}
    )

    embedded.kill()

    embedded = start_embedded(stop_grace=3)
    Hosting(embedded).invoke(serving)
    [alarm] = embedded.client("cloudwatch").describe_alarms()["MetricAlarms"]
    assert (alarm["AlarmName"], alarm["StateValue"]) == ("kept", "ALARM")
    found = embedded.client("application-autoscaling").describe_scalable_targets(ServiceNamespace="sagemaker")
    [target] = found["ScalableTargets"]
    assert (target["ResourceId"], target["MaxCapacity"]) == (f"endpoint/{serving}/variant/AllTraffic", 3)


def update(hosting: Hosting, name: str, config: str) -> str:
    hosting.sagemaker.update_endpoint(EndpointName=name, EndpointConfigName=config)
    return name
