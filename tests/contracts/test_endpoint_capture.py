"""What an endpoint does beside answering: it captures data, and lets a shadow variant answer as well."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError
from hosting import Holding, Hosting


@pytest.fixture
def hosting(embedded: Any) -> Iterator[Hosting]:
    hosting = Hosting(embedded)
    yield hosting
    hosting.remove()


def capture(hosting: Hosting, **members: Any) -> dict[str, Any]:
    return {
        "EnableCapture": True,
        "InitialSamplingPercentage": 100,
        "DestinationS3Uri": f"s3://{hosting.bucket}/captured",
        "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
        "CaptureContentTypeHeader": {"JsonContentTypes": ["application/json"]},
        **members,
    }


def captured(hosting: Hosting, name: str, variant: str, count: int) -> list[dict[str, Any]]:
    """So many lines of the variant's capture files, once they are there."""
    prefix = f"captured/{name}/{variant}/"
    lines: list[dict[str, Any]] = []

    def all_there() -> bool:
        lines.clear()
        for found in hosting.s3.list_objects_v2(Bucket=hosting.bucket, Prefix=prefix).get("Contents", []):
            assert re.fullmatch(
                r"\d{4}/\d\d/\d\d/\d\d/\d\d-\d\d-\d{3}-[0-9a-f-]{36}\.jsonl", found["Key"].removeprefix(prefix)
            )
            body = hosting.s3.get_object(Bucket=hosting.bucket, Key=found["Key"])["Body"].read()
            lines.extend(json.loads(line) for line in body.splitlines())
        return len(lines) >= count

    hosting.wait_until(all_there)
    assert len(lines) == count
    return lines


def sums(hosting: Hosting, name: str, variant: str, metric: str) -> float:
    now = datetime.now(UTC)
    answer = hosting.embedded.client("cloudwatch").get_metric_statistics(
        Namespace="AWS/SageMaker", MetricName=metric, Period=60, Statistics=["Sum"],
        StartTime=now - timedelta(hours=1), EndTime=now + timedelta(minutes=1),
        Dimensions=[{"Name": "EndpointName", "Value": name}, {"Name": "VariantName", "Value": variant}],
    )  # fmt: skip
    return float(sum(point["Sum"] for point in answer["Datapoints"]))


def served(hosting: Hosting, config: str) -> str:
    name = hosting.create(config)
    assert hosting.settled(name)["EndpointStatus"] == "InService"
    return name


def test_requests_and_answers_are_captured_in_awss_form(hosting: Hosting) -> None:
    name = served(hosting, hosting.config(hosting.variant(hosting.model()), DataCaptureConfig=capture(hosting)))

    hosting.runtime.invoke_endpoint(
        EndpointName=name, Body=b'{"seconds": 0}', ContentType="application/json", InferenceId="house-7"
    )
    [line] = captured(hosting, name, "AllTraffic", 1)

    assert line["eventVersion"] == "0"
    assert line["eventMetadata"]["inferenceId"] == "house-7"
    assert line["eventMetadata"]["eventId"]
    datetime.strptime(line["eventMetadata"]["inferenceTime"], "%Y-%m-%dT%H:%M:%S%z")
    said = line["captureData"]["endpointInput"]
    assert (said["mode"], said["observedContentType"], said["encoding"]) == ("INPUT", "application/json", "JSON")
    assert said["data"] == '{"seconds": 0}'
    answered = line["captureData"]["endpointOutput"]
    assert (answered["mode"], answered["encoding"]) == ("OUTPUT", "JSON")
    assert json.loads(answered["data"])["version"] == "v1"
    described = hosting.settled(name)["DataCaptureConfig"]
    assert (described["CaptureStatus"], described["CurrentSamplingPercentage"]) == ("Started", 100)


def test_types_nobody_declared_are_captured_in_base64_and_only_the_side_asked_for(hosting: Hosting) -> None:
    config = capture(hosting, CaptureOptions=[{"CaptureMode": "Input"}])
    del config["CaptureContentTypeHeader"]
    name = served(hosting, hosting.config(hosting.variant(hosting.model()), DataCaptureConfig=config))

    hosting.invoke(name, seconds=0)
    [line] = captured(hosting, name, "AllTraffic", 1)

    assert set(line["captureData"]) == {"endpointInput"}
    said = line["captureData"]["endpointInput"]
    assert said["encoding"] == "BASE64"
    assert json.loads(base64.b64decode(said["data"])) == {"seconds": 0}


def test_capture_comes_and_goes_with_the_config_even_when_variants_properties_are_retained(hosting: Hosting) -> None:
    model = hosting.model()
    name = hosting.serve(hosting.variant(model))
    hosting.invoke(name)
    on = hosting.config(hosting.variant(model), DataCaptureConfig=capture(hosting))
    off = hosting.config(hosting.variant(model), DataCaptureConfig=capture(hosting, EnableCapture=False))

    for config in (on, off):
        hosting.sagemaker.update_endpoint(EndpointName=name, EndpointConfigName=config, RetainAllVariantProperties=True)
        described = hosting.settled(name)
        assert ("DataCaptureConfig" in described) == (config == on)
        hosting.invoke(name, print=config)

    [line] = captured(hosting, name, "AllTraffic", 1)
    assert json.loads(line["captureData"]["endpointInput"]["data"]) == {"print": on}


def test_a_shadow_gets_copies_and_nobody_sees_its_answers(hosting: Hosting) -> None:
    shadow = hosting.variant(hosting.model("shadow"), "shadow", InitialVariantWeight=1.0)
    config = hosting.config(
        hosting.variant(hosting.model()), ShadowProductionVariants=[shadow], DataCaptureConfig=capture(hosting)
    )
    name = served(hosting, config)

    answered = {hosting.invoke(name)["version"] for _ in range(10)}
    with pytest.raises(hosting.runtime.exceptions.ModelError):
        hosting.invoke(name, **{"raise": "both"})

    assert answered == {"v1"}
    hosting.wait_until(lambda: sums(hosting, name, "shadow", "Invocations") == 11)
    assert sums(hosting, name, "shadow", "Invocation5XXErrors") == 1
    assert sums(hosting, name, "AllTraffic", "Invocations") == 11
    lines = captured(hosting, name, "shadow", 10)
    assert {json.loads(line["captureData"]["endpointOutput"]["data"])["version"] for line in lines} == {"shadow"}
    [described] = hosting.settled(name)["ShadowProductionVariants"]
    assert (described["VariantName"], described["CurrentInstanceCount"]) == ("shadow", 1)
    with pytest.raises(ClientError, match="Variant shadow not found"):
        hosting.invoke(name, variant="shadow")


def test_a_shadow_gets_as_many_copies_as_its_weight_is_of_the_other_variants(hosting: Hosting) -> None:
    shadow = hosting.variant(hosting.model("shadow"), "shadow", InitialVariantWeight=0.5)
    name = served(hosting, hosting.config(hosting.variant(hosting.model()), ShadowProductionVariants=[shadow]))

    assert [hosting.invoke(name)["version"] for _ in range(40)] == ["v1"] * 40

    hosting.wait_until(lambda: sums(hosting, name, "shadow", "Invocations") >= 5)
    assert sums(hosting, name, "shadow", "Invocations") <= 35  # 20 expected; as improbable as one in a million outside


def test_only_one_variant_on_instances_may_be_shadowed_by_one(hosting: Hosting) -> None:
    model = hosting.model()
    variants = [hosting.variant(model, "one"), hosting.variant(model, "two")]

    with pytest.raises(ClientError, match="one production variant and one shadow variant"):
        hosting.config(*variants, ShadowProductionVariants=[hosting.variant(model, "shadow")])


def test_a_serverless_variant_throttles_what_is_beyond_its_concurrency(hosting: Hosting) -> None:
    serverless = {"MemorySizeInMB": 2048, "MaxConcurrency": 1}
    name = hosting.serve({"VariantName": "AllTraffic", "ModelName": hosting.model(), "ServerlessConfig": serverless})
    impatient = hosting.embedded.client("sagemaker-runtime", retries={"total_max_attempts": 1})

    def invoke(port: int) -> int:
        try:
            answer = impatient.invoke_endpoint(
                EndpointName=name, Body=json.dumps({"held_by": port}), ContentType="application/json"
            )
            return int(answer["ResponseMetadata"]["HTTPStatusCode"])
        except ClientError as error:
            said = error.response
            return said["ResponseMetadata"]["HTTPStatusCode"] if said["Error"]["Code"] == "ThrottlingException" else 0

    with ThreadPoolExecutor(1) as pool, Holding() as holding:
        served = pool.submit(invoke, holding.port)
        holding.wait_for(1)
        assert [invoke(holding.port), invoke(holding.port)] == [429, 429]
        holding.let_go()
        assert served.result() == 200
    hosting.sagemaker.update_endpoint_weights_and_capacities(
        EndpointName=name,
        DesiredWeightsAndCapacities=[{"VariantName": "AllTraffic", "ServerlessUpdateConfig": {"MaxConcurrency": 3}}],
    )
    [variant] = hosting.settled(name)["ProductionVariants"]
    assert variant["CurrentServerlessConfig"]["MaxConcurrency"] == 3
    with ThreadPoolExecutor(3) as pool, Holding() as holding:
        statuses = pool.map(invoke, [holding.port] * 3)
        holding.wait_for(3)
        assert invoke(holding.port) == 429
        holding.let_go()
        assert list(statuses) == [200, 200, 200]
