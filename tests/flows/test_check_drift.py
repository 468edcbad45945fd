"""Drift is checked of every endpoint that captures what it is asked, told where there is any, and where one cannot be checked."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from house_models import put_house_model
from prefect import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
from prefect.events.worker import EventsWorker

from flows.check_drift import check_drift
from trainmaster.endpoints.plan import ENDPOINT_TAG, VARIANT
from trainmaster.endpoints.watch.drift import CheckDriftRequest
from trainmaster.errors import JobsLeftError
from trainmaster.training.image import sklearn_image_uri

WITHIN = 90.0
HOUSE = {"bedrooms": 3, "bathrooms": 2, "sqft": 1800, "year_built": 1990}
PALACE = {"bedrooms": 3, "bathrooms": 2, "sqft": 19_000, "year_built": 1990}


class Endpoints:
    """Endpoints of ours that serve one model; gone after the test."""

    def __init__(self, stack: Any) -> None:
        self.stack, self.sagemaker, self.names = stack, stack.client("sagemaker"), list[str]()

    def make(self, uri: str, *, captures: bool = True) -> str:
        name = f"drift-{uuid4().hex[:8]}"
        tags = [{"Key": ENDPOINT_TAG, "Value": name}]
        environment = {"SAGEMAKER_PROGRAM": "inference.py", "SAGEMAKER_SUBMIT_DIRECTORY": "/opt/ml/model/code"}
        container = {"Image": sklearn_image_uri("us-east-1"), "ModelDataUrl": uri, "Environment": environment}
        role = self.stack.aws.environment["TRAINMASTER_EXECUTION_ROLE_ARN"]
        self.sagemaker.create_model(ModelName=name, PrimaryContainer=container, ExecutionRoleArn=role, Tags=tags)
        variant = {"VariantName": VARIANT, "ModelName": name, "InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
        capture = {
            "EnableCapture": True,
            "InitialSamplingPercentage": 100,
            "DestinationS3Uri": f"s3://{self.stack.bucket}/captured",
            "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
        }
        more = {"DataCaptureConfig": capture} if captures else {}
        self.sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant], Tags=tags, **more)
        self.sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name, Tags=tags)
        self.names.append(name)
        self._settle(name)
        return name

    def was_asked(self, name: str, house: Mapping[str, float], times: int) -> None:
        """As AWS files it, an hour ago."""
        at = datetime.now(UTC) - timedelta(hours=1)
        line = json.dumps(
            {
                "captureData": {
                    "endpointInput": {
                        "observedContentType": "application/json", "mode": "INPUT", "data": json.dumps(house), "encoding": "JSON",
                    }
                },
                "eventMetadata": {"eventId": str(uuid4()), "inferenceTime": at.strftime("%Y-%m-%dT%H:%M:%SZ")},
                "eventVersion": "0",
            }
        )  # fmt: skip
        key = f"captured/{name}/{VARIANT}/{at:%Y/%m/%d/%H}/{at:%M-%S}-{uuid4()}.jsonl"
        self.stack.client("s3").put_object(Bucket=self.stack.bucket, Key=key, Body=f"{line}\n".encode() * times)

    def remove(self) -> None:
        for name in self.names:
            self._settle(name)
            self.sagemaker.delete_endpoint(EndpointName=name)
            self.sagemaker.delete_endpoint_config(EndpointConfigName=name)
            self.sagemaker.delete_model(ModelName=name)

    def _settle(self, name: str) -> None:
        deadline = time.monotonic() + WITHIN
        while self.sagemaker.describe_endpoint(EndpointName=name)["EndpointStatus"] != "InService":
            assert time.monotonic() < deadline, f"{name} is not in service"
            time.sleep(0.05)


@pytest.fixture(scope="module")
def model_uri(stack: Any, tmp_path_factory: pytest.TempPathFactory) -> str:
    return put_house_model(stack.aws, tmp_path_factory.mktemp("drift"))


@pytest.fixture
def endpoints(stack: Any) -> Iterator[Endpoints]:
    made = Endpoints(stack)
    yield made
    made.remove()


def artifacts(key: str) -> list[str]:
    with get_client(sync_client=True) as client:
        chosen = ArtifactFilter(key=ArtifactFilterKey(any_=[key]))
        return [str(one.description) for one in client.read_artifacts(artifact_filter=chosen)]


def events_of(stack: Any, name: str) -> list[dict[str, Any]]:
    """What the server was told of an endpoint, once all has been sent."""
    EventsWorker.drain_all(timeout=30)
    asked = {"filter": {"resource": {"id": [f"trainmaster.endpoint.{name}"]}, "event": {"name": ["trainmaster.drift"]}}}
    found: list[dict[str, Any]] = httpx.post(f"{stack.prefect.api_url}/events/filter", json=asked).json()["events"]
    return found


def test_one_that_drifts_is_told_of_though_another_cannot_be_checked(
    stack: Any, endpoints: Endpoints, model_uri: str, tmp_path: Path
) -> None:
    gone = put_house_model(stack.aws, tmp_path)
    broken, drifting = endpoints.make(gone), endpoints.make(model_uri)
    stack.client("s3").delete_object(Bucket=stack.bucket, Key=gone.split("/", 3)[3])
    endpoints.was_asked(drifting, PALACE, 150)
    endpoints.was_asked(drifting, HOUSE, 150)

    with pytest.raises(JobsLeftError, match=f"endpoint {broken}: .*does not exist"):
        check_drift(CheckDriftRequest())

    [said] = artifacts(f"drift-{drifting}")
    assert "300 rows asked of" in said
    assert "have drifted" in said
    assert artifacts(f"drift-picture-{drifting}") == [said]
    assert artifacts(f"drift-{broken}") == []
    deadline = time.monotonic() + WITHIN
    while not (told := events_of(stack, drifting)):
        assert time.monotonic() < deadline, "nobody was told"
        time.sleep(0.2)
    assert "sqft" in told[0]["payload"]["features"]

    [report] = check_drift(CheckDriftRequest(endpoint_name=drifting, least_rows=1000)).reports
    assert (report.verdict, report.requests) == ("too few", 300)


def test_one_that_captures_nothing_and_one_that_is_not_are_refused(endpoints: Endpoints, model_uri: str) -> None:
    silent = endpoints.make(model_uri, captures=False)
    for name, said in ((silent, "captures nothing"), ("nowhere", "There is no endpoint nowhere")):
        with pytest.raises(JobsLeftError, match=said):
            check_drift(CheckDriftRequest(endpoint_name=name))
