"""Invocations: to which variant and instance they go, what a model's errors become, what is logged and measured of them."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
from botocore.exceptions import ClientError
from hosting import IMAGE, SCRIPT, Hosting, Load, archive


@pytest.fixture
def hosting(embedded: Any) -> Iterator[Hosting]:
    hosting = Hosting(embedded)
    yield hosting
    hosting.remove()


@pytest.fixture(scope="module")
def endpoint(embedded: Any) -> Iterator[str]:
    """Shared: one instance of one variant, for tests that leave it as it was."""
    hosting = Hosting(embedded)
    yield hosting.serve()
    hosting.remove()


def test_requests_go_to_variants_by_weight_and_to_none_of_weight_0(hosting: Hosting) -> None:
    model = hosting.model()
    name = hosting.serve(
        hosting.variant(model, "heavy", InitialVariantWeight=3.0),
        hosting.variant(model, "light", InitialVariantWeight=1.0),
        hosting.variant(hosting.model("dark"), "dark", InitialVariantWeight=0.0),
    )

    counts = Counter(hosting.invoke(name)["variant"] for _ in range(400))
    assert counts["dark"] == 0
    assert 250 <= counts["heavy"] <= 350  # 300 expected; as improbable as one in a million outside
    assert hosting.invoke(name, variant="dark")["version"] == "dark"

    weights = [{"VariantName": "heavy", "DesiredWeight": 0.0}, {"VariantName": "dark", "DesiredWeight": 1.0}]
    hosting.sagemaker.update_endpoint_weights_and_capacities(
        EndpointName=name, DesiredWeightsAndCapacities=[*weights, {"VariantName": "light", "DesiredWeight": 0.0}]
    )
    described = hosting.settled(name)
    assert {each["VariantName"]: each["CurrentWeight"] for each in described["ProductionVariants"]} == {
        "heavy": 0.0, "light": 0.0, "dark": 1.0,
    }  # fmt: skip
    assert {hosting.invoke(name)["variant"] for _ in range(20)} == {"dark"}


def test_a_variant_nobody_knows_is_refused(hosting: Hosting, endpoint: str) -> None:
    with pytest.raises(ClientError) as invoked:
        hosting.invoke(endpoint, variant="Other")
    with pytest.raises(ClientError) as updated:
        hosting.sagemaker.update_endpoint_weights_and_capacities(
            EndpointName=endpoint, DesiredWeightsAndCapacities=[{"VariantName": "Other", "DesiredWeight": 1.0}]
        )

    assert invoked.value.response["Error"]["Code"] == "ValidationError"
    assert updated.value.response["Error"]["Code"] == "ValidationException"
    assert hosting.settled(endpoint)["EndpointStatus"] == "InService"


def test_instances_are_added_and_removed_while_requests_go_on(hosting: Hosting) -> None:
    name = hosting.serve()

    def resized(count: int) -> dict[str, Any]:
        hosting.sagemaker.update_endpoint_weights_and_capacities(
            EndpointName=name,
            DesiredWeightsAndCapacities=[{"VariantName": "AllTraffic", "DesiredInstanceCount": count}],
        )
        described = hosting.settled(name)
        assert described["ProductionVariants"][0]["CurrentInstanceCount"] == count
        return described

    with Load(hosting, name) as load:
        load.wait_for(20)
        resized(3)
        seen = {hosting.invoke(name)["instance"] for _ in range(60)}
        resized(1)
        left = {hosting.invoke(name)["instance"] for _ in range(20)}
        load.wait_for(20)

    assert load.errors == []
    assert (len(seen), len(left)) == (3, 1)
    assert left < seen


def test_while_one_instance_dies_the_others_answer_and_another_takes_its_place(hosting: Hosting) -> None:
    name = hosting.serve(hosting.variant(hosting.model(), InitialInstanceCount=2))
    before = {hosting.invoke(name)["instance"] for _ in range(40)}
    assert len(before) == 2
    fuse = hosting.upload(b"").removeprefix("s3://").split("/", 1)

    with Load(hosting, name, clients=4) as load:
        load.wait_for(20)
        hosting.invoke(name, die_once=fuse)  # the instance that finds it dies, the one asked next answers
        hosting.wait_until(lambda: len({hosting.invoke(name)["instance"] for _ in range(40)} - before) == 1)
        load.wait_for(20)

    assert load.errors == []


def test_the_only_instance_dying_is_an_error_at_once_and_it_comes_back(hosting: Hosting) -> None:
    name = hosting.serve()

    with pytest.raises(ClientError, match="could not get a response from the") as caught:
        hosting.invoke(name, die=True)

    assert caught.value.response["Error"]["Code"] == "ModelError"

    def answers() -> bool:
        with suppress(hosting.runtime.exceptions.ModelError, hosting.runtime.exceptions.ServiceUnavailable):
            return bool(hosting.invoke(name)["version"])
        return False

    hosting.wait_until(answers)


def test_with_no_instance_alive_the_answer_is_service_unavailable_until_one_comes_up(
    hosting: Hosting, tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    script = SCRIPT.replace(
        "def model_fn(model_dir):", f"def model_fn(model_dir):\n    assert not os.path.exists({str(broken)!r})"
    )
    artifact = hosting.upload(archive({"code/inference.py": script, "version": "v1"}))
    name = hosting.serve(hosting.variant(hosting.model(artifact=artifact)))
    errors = hosting.runtime.exceptions
    broken.touch()

    with pytest.raises(errors.ModelError):
        hosting.invoke(name, die=True)

    def unavailable() -> bool:
        with suppress(errors.ModelError):  # those of its last moment
            with pytest.raises(errors.ServiceUnavailable):
                hosting.invoke(name)
            return True
        return False

    hosting.wait_until(unavailable)
    assert hosting.settled(name)["EndpointStatus"] == "InService"
    broken.unlink()

    def available() -> bool:
        with suppress(errors.ServiceUnavailable):
            return bool(hosting.invoke(name)["version"])
        return False

    hosting.wait_until(available)


@pytest.mark.parametrize(
    ("request_", "status", "message"),
    [
        ({"refuse": True}, 400, '{"error": "sqft must be positive"}'),
        ({"toolkit_error": 422}, 422, "refused by the toolkit"),
        ({"raise": "no such feature"}, 500, "no such feature"),
    ],
    ids=["a response of the script", "an error of the toolkit", "any exception"],
)
def test_a_models_error_keeps_its_status_and_message(
    hosting: Hosting, endpoint: str, request_: dict[str, Any], status: int, message: str
) -> None:
    with pytest.raises(ClientError) as caught:
        hosting.invoke(endpoint, **request_)

    answer: dict[str, Any] = dict(caught.value.response)
    assert answer["Error"]["Code"] == "ModelError"
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 424
    assert answer["OriginalStatusCode"] == status
    assert answer["OriginalMessage"].startswith(message)
    assert answer["LogStreamArn"].endswith(f":log-group:/aws/sagemaker/Endpoints/{endpoint}")
    side = "client" if status < 500 else "server"
    assert answer["Error"]["Message"].startswith(f'Received {side} error ({status}) from primary with message "')


def test_what_the_client_says_of_its_request_reaches_the_model(hosting: Hosting, endpoint: str) -> None:
    def answered(**headers: str) -> dict[str, Any]:
        answer = hosting.runtime.invoke_endpoint(EndpointName=endpoint, Body=b"{}", **headers)
        assert answer["ContentType"] == "application/json"
        return dict(json.load(answer["Body"]))

    given = answered(ContentType="application/x-house", Accept="application/x-price")
    left_out = answered()

    assert (given["content_type"], given["accept"]) == ("application/x-house", "application/x-price")
    assert left_out["accept"] == "application/json"


def test_a_body_beyond_six_mebibytes_is_refused(hosting: Hosting, endpoint: str) -> None:
    largest = b"{}".ljust(6_291_456)
    assert hosting.runtime.invoke_endpoint(EndpointName=endpoint, Body=largest)["InvokedProductionVariant"]

    with pytest.raises(ClientError) as caught:
        hosting.runtime.invoke_endpoint(EndpointName=endpoint, Body=largest + b" ")

    assert caught.value.response["Error"]["Code"] == "ValidationError"


def test_scripts_find_the_model_where_aws_has_it_and_nothing_of_this_process(hosting: Hosting) -> None:
    name = hosting.serve(hosting.variant(hosting.model(PRICE_IN="USD")))

    answer = hosting.invoke(name, environment=True, read="/opt/ml/model/version")

    environment = answer["environment"]
    assert answer["read"] == "v1"
    assert environment["SM_MODEL_DIR"] == "/opt/ml/model"
    assert environment["PRICE_IN"] == "USD"
    assert environment["AWS_ENDPOINT_URL"] == hosting.embedded.environment["AWS_ENDPOINT_URL"]
    assert not any(name.startswith(("PYTEST", "TRAINMASTER", "VIRTUAL")) for name in environment)


def test_the_script_may_come_from_an_archive_of_its_own(hosting: Hosting) -> None:
    script = (
        "def model_fn(folder): return open(folder + '/version').read()\n"
        "def transform_fn(model, body, content_type, accept): return model, 'text/plain'"
    )
    source = hosting.upload(archive({"serve.py": script}))
    weights = hosting.upload(archive({"version": "v7"}))
    model = hosting.model(artifact=weights, SAGEMAKER_SUBMIT_DIRECTORY=source, SAGEMAKER_PROGRAM="serve.py")
    name = hosting.serve(hosting.variant(model))

    answer = hosting.runtime.invoke_endpoint(EndpointName=name, Body=b"")

    assert (answer["Body"].read(), answer["ContentType"]) == (b"v7", "text/plain")


def test_a_model_may_lie_uncompressed_below_a_prefix(hosting: Hosting) -> None:
    prefix = f"models/{uuid4().hex}/"
    for key, content in (("code/inference.py", SCRIPT), ("version", "v8")):
        hosting.s3.put_object(Bucket=hosting.bucket, Key=prefix + key, Body=content)
    source = {"S3Uri": f"s3://{hosting.bucket}/{prefix}", "S3DataType": "S3Prefix", "CompressionType": "None"}
    model = f"model-{uuid4().hex[:8]}"
    container = {"Image": IMAGE, "ModelDataSource": {"S3DataSource": source}}
    hosting.sagemaker.create_model(ModelName=model, PrimaryContainer=container, ExecutionRoleArn=hosting.role)

    assert hosting.invoke(hosting.serve(hosting.variant(model)))["version"] == "v8"


def test_arrays_are_decoded_for_a_script_that_does_not_but_never_unpickled(hosting: Hosting) -> None:
    script = "class Sum:\n    def predict(self, array): return [float(array.sum())]\ndef model_fn(folder): return Sum()"
    name = hosting.serve(hosting.variant(hosting.model(artifact=hosting.upload(archive({"inference.py": script})))))

    def summed(array: Any, **how: Any) -> Any:
        body = io.BytesIO()
        np.save(body, array, **how)
        answer = hosting.runtime.invoke_endpoint(
            EndpointName=name, Body=body.getvalue(), ContentType="application/x-npy"
        )
        return json.load(answer["Body"])

    assert summed(np.array([1.5, 2.5])) == [4.0]
    with pytest.raises(ClientError, match="allow_pickle=False"):
        summed(np.array([{"any": "object"}], dtype=object), allow_pickle=True)


def test_what_a_model_prints_and_each_access_are_in_its_instances_log(hosting: Hosting, endpoint: str) -> None:
    logs = hosting.embedded.client("logs")
    group = f"/aws/sagemaker/Endpoints/{endpoint}"

    hosting.invoke(endpoint, print="seen by the model")

    def lines() -> list[str]:
        [stream] = logs.describe_log_streams(logGroupName=group, logStreamNamePrefix="AllTraffic/i-0")["logStreams"]
        events = logs.get_log_events(logGroupName=group, logStreamName=stream["logStreamName"], startFromHead=True)
        return [event["message"] for event in events["events"]]

    hosting.wait_until(lambda: "seen by the model" in lines())
    after = lines()[lines().index("seen by the model") + 1 :]
    assert any('"POST /invocations HTTP/1.1" 200' in line for line in after)


def test_why_a_model_did_not_come_up_is_in_its_instances_log(hosting: Hosting) -> None:
    broken = hosting.upload(archive({"inference.py": "def model_fn(folder): raise OSError('no weights here')"}))
    name = hosting.create(hosting.config(hosting.variant(hosting.model(artifact=broken))))
    assert hosting.settled(name)["EndpointStatus"] == "Failed"

    events = hosting.embedded.client("logs").filter_log_events(logGroupName=f"/aws/sagemaker/Endpoints/{name}")

    assert "OSError: no weights here" in [event["message"] for event in events["events"]]


def test_invocations_errors_and_latencies_are_in_cloudwatch(hosting: Hosting) -> None:
    name = hosting.serve()
    for _ in range(3):
        hosting.invoke(name)
    for request in ({"refuse": True}, {"raise": "it"}):
        with pytest.raises(ClientError):
            hosting.invoke(name, **request)

    def sums(metric: str) -> float:
        now = datetime.now(UTC)
        answer = hosting.embedded.client("cloudwatch").get_metric_statistics(
            Namespace="AWS/SageMaker", MetricName=metric, Period=3600, Statistics=["Sum"],
            StartTime=now - timedelta(hours=1), EndTime=now + timedelta(hours=1),
            Dimensions=[{"Name": "EndpointName", "Value": name}, {"Name": "VariantName", "Value": "AllTraffic"}],
        )  # fmt: skip
        return float(sum(point["Sum"] for point in answer["Datapoints"]))

    hosting.wait_until(lambda: sums("Invocations") == 5)
    assert sums("Invocation4XXErrors") == 1
    assert sums("Invocation5XXErrors") == 1
    assert sums("InvocationModelErrors") == 2
    assert sums("InvocationsPerInstance") == 5
    assert sums("OverheadLatency") > 0
    assert 0 < sums("ModelLatency") < 60e6
