"""From an endpoint in service to POST /predict and back, by the flows."""

from __future__ import annotations

import io
import json
import os
import subprocess
import tarfile
from collections.abc import Iterator
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
from served_models import GOOD, put

from flows.deploy_endpoint import deploy_endpoint
from flows.publish_api import publish_api
from flows.remove_endpoint import remove_endpoint
from flows.rollback_endpoint import rollback_endpoint
from flows.withdraw_api import withdraw_api
from trainmaster.endpoints.api.publishing import key_of
from trainmaster.endpoints.api.request import PublishRequest, WithdrawRequest
from trainmaster.endpoints.api.stack import PlannedApi, PublishedApi
from trainmaster.endpoints.plan import ENDPOINT_TAG
from trainmaster.endpoints.request import EndpointRequest, RemovalRequest, RollbackRequest, Rollout
from trainmaster.errors import ModelRefusedError, NameConflictError, UnknownChoiceError

NAME = "published"


def artifact(stack: Any, accepted: list[float] | None) -> str:
    feature = {"mean": 1800, "min": 500, "max": 3000} | ({"accepted": accepted} if accepted else {})
    card = {"model_version": "v1", "features": {"sqft": feature}, "target": {"max": 900_000}}
    files = {
        "code/inference.py": GOOD.format(version="v1", price="data['sqft'] * 10"),
        "model_card.json": json.dumps(card),
    }
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, text in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(text.encode())
            tar.addfile(info, io.BytesIO(text.encode()))
    return put(stack, f"published-{accepted}.tar.gz", packed.getvalue())


def serve(stack: Any, accepted: list[float] | None, *, endpoint: str = NAME, tagged: bool = True) -> None:
    """An endpoint of that model; one that is there is updated."""
    sagemaker, uri = stack.client("sagemaker"), artifact(stack, accepted)
    role = stack.aws.environment["TRAINMASTER_EXECUTION_ROLE_ARN"]
    image = "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-scikit-learn:1.4-2-cpu-py3"
    name = f"{endpoint}-{len(sagemaker.list_models(NameContains=endpoint)['Models'])}"
    sagemaker.create_model(
        ModelName=name, PrimaryContainer={"Image": image, "ModelDataUrl": uri}, ExecutionRoleArn=role
    )
    variant = {
        "VariantName": "all-traffic",
        "ModelName": name,
        "InstanceType": "ml.m5.large",
        "InitialInstanceCount": 1,
    }
    sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant])
    tags = [{"Key": ENDPOINT_TAG, "Value": endpoint}] if tagged else []
    if sagemaker.list_endpoints(NameContains=endpoint)["Endpoints"]:
        sagemaker.update_endpoint(EndpointName=endpoint, EndpointConfigName=name)
    else:
        sagemaker.create_endpoint(EndpointName=endpoint, EndpointConfigName=name, Tags=tags)
    sagemaker.get_waiter("endpoint_in_service").wait(
        EndpointName=endpoint, WaiterConfig={"Delay": 0.1, "MaxAttempts": 900}
    )


@pytest.fixture
def endpoint(stack: Any) -> Iterator[None]:
    serve(stack, [100, 20_000])
    yield
    withdraw_api(WithdrawRequest(endpoint_name=NAME, dry_run=False))
    stack.client("sagemaker").delete_endpoint(EndpointName=NAME)
    stack.client("sagemaker").get_waiter("endpoint_deleted").wait(
        EndpointName=NAME, WaiterConfig={"Delay": 0.1, "MaxAttempts": 900}
    )


def ask(key: str, published: PublishedApi, house: dict[str, Any]) -> tuple[int, Any]:
    words = ["-H", f"x-api-key: {key}", "-H", "Content-Type: application/json", "-d", json.dumps(house)]
    done = subprocess.run(
        ["curl", "--silent", "--max-time", "30", "-w", "\n%{http_code}", *words, published.url],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"NO_PROXY": "127.0.0.1"},
    )
    body, _, status = done.stdout.rpartition("\n")
    return int(status), json.loads(body)


def shown_apis() -> list[str]:
    with get_client(sync_client=True) as api:
        found = api.read_artifacts(artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=["public-api"])))
    return [str(one.data) for one in found]


def test_an_endpoint_is_published_once_follows_its_model_and_is_withdrawn_whole(
    stack: Any, endpoint: None, capfd: pytest.CaptureFixture[str]
) -> None:
    request = PublishRequest(endpoint_name=NAME)
    planned = publish_api(request.model_copy(update={"dry_run": True}))
    assert isinstance(planned, PlannedApi)
    assert [step.split()[0] for step in planned.steps] == ["upload", "create"]
    published = publish_api(request)
    assert isinstance(published, PublishedApi)
    assert published.markdown() in shown_apis()
    key = key_of(stack.client, NAME)
    assert ask(key, published, {"sqft": 30})[0] == 400
    status, answer = ask(key, published, {"sqft": 2000})
    assert (status, answer["predicted_price"], answer["model_version"]) == (200, 20_000, "v1")

    again = publish_api(request)
    assert isinstance(again, PublishedApi)
    assert (again.steps, again.url, key_of(stack.client, NAME)) == ([], published.url, key)

    serve(stack, [10, 20_000])
    updated = publish_api(request)
    assert isinstance(updated, PublishedApi)
    assert [step.split()[0] for step in updated.steps] == ["upload", "update"]
    assert (updated.url, key_of(stack.client, NAME)) == (published.url, key)
    assert ask(key, updated, {"sqft": 30})[0] == 200

    assert key not in "".join(capfd.readouterr())
    assert key not in str(published.model_dump())

    told = withdraw_api(WithdrawRequest(endpoint_name=NAME))
    assert told.sentence() == (
        "Would remove stack predict-published and 2 versions of its code. Its endpoint stays. Turn dry_run off, or give --yes, to do it."
    )
    assert ask(key, updated, {"sqft": 30})[0] == 200
    assert withdraw_api(WithdrawRequest(endpoint_name=NAME, dry_run=False)).removed
    assert ask(key, updated, {"sqft": 30})[0] == 403
    assert withdraw_api(WithdrawRequest(endpoint_name=NAME, dry_run=False)).sentence() == (
        "Endpoint published has no public API."
    )
    assert stack.client("sagemaker").describe_endpoint(EndpointName=NAME)["EndpointStatus"] == "InService"


def test_a_published_api_follows_deployments_as_it_was_asked_for(stack: Any) -> None:
    name = "followed"

    def deploy(accepted: list[float]) -> None:
        uri, at_once = artifact(stack, accepted), Rollout(rehearse=False)
        deploy_endpoint(EndpointRequest(endpoint_name=name, model_uri=uri, rollout=at_once))

    deploy([100, 20_000])
    published = publish_api(PublishRequest(endpoint_name=name, requests_per_second=7, log_days=3))
    assert isinstance(published, PublishedApi)
    key = key_of(stack.client, name)
    assert ask(key, published, {"sqft": 30})[0] == 400

    deploy([10, 20_000])
    assert ask(key, published, {"sqft": 30})[0] == 200
    rollback_endpoint(RollbackRequest(endpoint_name=name, dry_run=False))
    assert ask(key, published, {"sqft": 30})[0] == 400
    again = publish_api(PublishRequest(endpoint_name=name, requests_per_second=7, log_days=3))
    assert isinstance(again, PublishedApi)
    assert again.steps == []

    withdraw_api(WithdrawRequest(endpoint_name=name, dry_run=False))
    deploy([10, 20_000])
    assert withdraw_api(WithdrawRequest(endpoint_name=name)).stack is None
    remove_endpoint(RemovalRequest(endpoint_name=name, dry_run=False))


def test_what_is_not_there_not_ours_or_says_no_ranges_is_refused_before_anything_is_made(stack: Any) -> None:
    with pytest.raises(UnknownChoiceError, match="no endpoint nobodys to publish"):
        publish_api(PublishRequest(endpoint_name="nobodys"))
    serve(stack, [1, 2], endpoint="foreign", tagged=False)
    with pytest.raises(NameConflictError, match="not made by Trainmaster"):
        publish_api(PublishRequest(endpoint_name="foreign"))
    serve(stack, None, endpoint="rangeless")
    with pytest.raises(ModelRefusedError, match="which values of sqft are accepted"):
        publish_api(PublishRequest(endpoint_name="rangeless"))
    for name in ("foreign", "rangeless"):
        assert not [
            one
            for one in stack.client("cloudformation").list_stacks()["StackSummaries"]
            if one["StackName"].endswith(name)
        ]
        stack.client("sagemaker").delete_endpoint(EndpointName=name)
