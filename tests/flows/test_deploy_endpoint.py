"""A deployment that fails leaves what served before, and nothing new beside it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from served_models import GOOD, put, put_model

from flows.deploy_endpoint import deploy_endpoint
from flows.remove_endpoint import remove_endpoint
from trainmaster.endpoints.request import EndpointRequest, RemovalRequest, Rollout
from trainmaster.errors import (
    DeploymentFailedError,
    ModelRefusedError,
    NameConflictError,
    OverBudgetError,
    RefusedError,
)

pytestmark = pytest.mark.usefixtures("as_a_worker")

CANNOT_LOAD = "def model_fn(folder): raise RuntimeError('this model cannot be loaded')"
NAME = "deployed"


def standing(stack: Any) -> tuple[list[str], list[str]]:
    sagemaker = stack.client("sagemaker")
    configs = [
        one["EndpointConfigName"] for one in sagemaker.list_endpoint_configs(NameContains=NAME)["EndpointConfigs"]
    ]
    return configs, [one["ModelName"] for one in sagemaker.list_models(NameContains=NAME)["Models"]]


def tags(stack: Any, config: str) -> dict[str, str]:
    sagemaker = stack.client("sagemaker")
    arn = sagemaker.describe_endpoint_config(EndpointConfigName=config)["EndpointConfigArn"]
    return {tag["Key"]: tag["Value"] for tag in sagemaker.list_tags(ResourceArn=arn)["Tags"]}


def answer(stack: Any) -> Any:
    body = stack.client("sagemaker-runtime").invoke_endpoint(
        EndpointName=NAME, ContentType="application/json", Body=b'{"sqft": 1}'
    )
    return json.loads(body["Body"].read())


@pytest.fixture(autouse=True)
def nothing_left(stack: Any) -> Iterator[None]:
    yield
    remove_endpoint(RemovalRequest(endpoint_name=NAME, dry_run=False))
    assert standing(stack) == ([], [])


BROKEN = {
    "a model that cannot be loaded": (CANNOT_LOAD, "ping health check"),
    "a price that is not one": (GOOD.format(version="broken", price="-5"), "predicted_price should lie between"),
    "another version than its card says": (GOOD.format(version="v0", price="5"), "model_version should be broken"),
    "an answer that is not JSON": (
        GOOD.format(version="broken", price="5").replace("return json.dumps(prediction)", "return 'x'"),
        "not a JSON object",
    ),
    "an error for every house": (GOOD.format(version="broken", price="1 / 0"), "failed"),
}


@pytest.mark.parametrize(("inference", "said"), BROKEN.values(), ids=BROKEN)
def test_a_first_deployment_that_fails_is_taken_away_whole(stack: Any, inference: str, said: str) -> None:
    uri = put_model(stack, "broken.tar.gz", inference, "broken")
    with pytest.raises(DeploymentFailedError, match=said):
        deploy_endpoint(EndpointRequest(model_uri=uri, endpoint_name=NAME))
    assert stack.client("sagemaker").list_endpoints(NameContains=NAME)["Endpoints"] == []
    [noted], models = standing(stack)
    assert (tags(stack, noted)["trainmaster:proof"], models) == ("failed", [])
    with pytest.raises(RefusedError, match=f"has tried {noted} before, and it failed: .*set force"):
        deploy_endpoint(EndpointRequest(model_uri=uri, endpoint_name=NAME))


@pytest.mark.parametrize("rehearse", [True, False], ids=["rehearsed", "not rehearsed"])
@pytest.mark.parametrize(
    ("inference", "said"), [BROKEN["a model that cannot be loaded"], BROKEN["a price that is not one"]]
)
def test_an_update_that_fails_leaves_the_old_model_serving_and_nothing_new(
    stack: Any, inference: str, said: str, rehearse: bool
) -> None:
    old = deploy_endpoint(
        EndpointRequest(
            model_uri=put_model(stack, "good.tar.gz", GOOD.format(version="good", price="7"), "good"),
            endpoint_name=NAME,
        )
    )
    with pytest.raises(DeploymentFailedError, match=said):
        deploy_endpoint(
            EndpointRequest(
                model_uri=put_model(stack, "broken.tar.gz", inference, "broken"),
                endpoint_name=NAME,
                rollout=Rollout(rehearse=rehearse),
            )
        )
    assert [
        one["EndpointName"]
        for one in stack.client("sagemaker").list_endpoints()["Endpoints"]
        if NAME in one["EndpointName"]
    ] == [NAME]
    endpoint = stack.client("sagemaker").describe_endpoint(EndpointName=NAME)
    assert (endpoint["EndpointStatus"], endpoint["EndpointConfigName"]) == ("InService", old.config_name)
    assert answer(stack) == {"predicted_price": 7, "model_version": "good"}
    configs, models = standing(stack)
    [noted] = set(configs) - {old.config_name}
    assert (tags(stack, noted)["trainmaster:proof"], models) == ("failed", [old.model_name])


def test_an_update_that_works_serves_the_new_model(stack: Any) -> None:
    for version in ("one", "two"):
        uri = put_model(stack, f"{version}.tar.gz", GOOD.format(version=version, price="9"), version)
        served = deploy_endpoint(EndpointRequest(model_uri=uri, endpoint_name=NAME))
    assert served.steps[-1] == f"update endpoint {NAME}"
    assert answer(stack)["model_version"] == "two"


def test_a_failed_endpoint_is_replaced(stack: Any) -> None:
    sagemaker = stack.client("sagemaker")
    role = stack.environment["TRAINMASTER_EXECUTION_ROLE_ARN"]
    uri = put_model(stack, "never.tar.gz", CANNOT_LOAD, "v")
    tags = [{"Key": "trainmaster:endpoint", "Value": NAME}]
    sagemaker.create_model(
        ModelName=f"{NAME}-x", ExecutionRoleArn=role, PrimaryContainer={"Image": "i", "ModelDataUrl": uri}, Tags=tags
    )
    variant = {"VariantName": "v", "ModelName": f"{NAME}-x", "InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
    sagemaker.create_endpoint_config(EndpointConfigName=f"{NAME}-x", ProductionVariants=[variant], Tags=tags)
    sagemaker.create_endpoint(EndpointName=NAME, EndpointConfigName=f"{NAME}-x", Tags=tags)
    good = put_model(stack, "good.tar.gz", GOOD.format(version="good", price="7"), "good")
    served = deploy_endpoint(EndpointRequest(model_uri=good, endpoint_name=NAME))
    done = [" ".join(step.split()[:2]) for step in served.steps]
    assert done == ["create model", "create config", "delete endpoint", "remember that", "create endpoint"]
    assert answer(stack)["model_version"] == "good"


SPOILT_LATER = """
import boto3, json
s3 = boto3.client("s3")
def model_fn(folder): return "sometimes"
def predict_fn(data, model):
    spoilt = s3.list_objects_v2(Bucket="{bucket}", Prefix="models/spoilt")["KeyCount"]
    return {{"predicted_price": -5 if spoilt else 8, "model_version": model}}
def input_fn(body, content_type): return json.loads(body)
def output_fn(prediction, accept): return json.dumps(prediction)
"""


def test_a_proven_endpoint_that_answers_badly_today_is_reported_and_left_serving(stack: Any) -> None:
    uri = put_model(stack, "sometimes.tar.gz", SPOILT_LATER.format(bucket=stack.bucket), "sometimes")
    served = deploy_endpoint(EndpointRequest(model_uri=uri, endpoint_name=NAME))
    put(stack, "spoilt", b"")
    with pytest.raises(DeploymentFailedError, match=r"InService with .*, as before"):
        deploy_endpoint(EndpointRequest(model_uri=uri, endpoint_name=NAME))
    stack.client("s3").delete_object(Bucket=stack.bucket, Key="models/spoilt")
    assert standing(stack) == ([served.config_name], [served.model_name])
    assert answer(stack)["predicted_price"] == 8


def test_where_the_old_configuration_is_gone_the_endpoint_is_left_as_it_is_and_said_so(stack: Any) -> None:
    good = put_model(stack, "good.tar.gz", GOOD.format(version="good", price="7"), "good")
    old = deploy_endpoint(EndpointRequest(model_uri=good, endpoint_name=NAME))
    stack.client("sagemaker").delete_endpoint_config(EndpointConfigName=old.config_name)
    broken = put_model(stack, "broken.tar.gz", GOOD.format(version="broken", price="-5"), "broken")
    hasty = EndpointRequest(model_uri=broken, endpoint_name=NAME, rollout=Rollout(rehearse=False))
    with pytest.raises(DeploymentFailedError, match=f"could not be taken back to {old.config_name}: look at it"):
        deploy_endpoint(hasty)
    assert stack.client("sagemaker").describe_endpoint(EndpointName=NAME)["EndpointStatus"] == "InService"


def test_an_endpoint_of_somebody_else_is_neither_updated_nor_removed(stack: Any) -> None:
    sagemaker, name = stack.client("sagemaker"), "theirs"
    role = stack.environment["TRAINMASTER_EXECUTION_ROLE_ARN"]
    good = put_model(stack, "good.tar.gz", GOOD.format(version="good", price="7"), "good")
    environment = {"SAGEMAKER_PROGRAM": "inference.py", "SAGEMAKER_SUBMIT_DIRECTORY": "/opt/ml/model/code"}
    container = {"Image": "i", "ModelDataUrl": good, "Environment": environment}
    sagemaker.create_model(ModelName=name, ExecutionRoleArn=role, PrimaryContainer=container)
    variant = {"VariantName": "v", "ModelName": name, "InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
    sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant])
    sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)
    with pytest.raises(NameConflictError, match="not made by Trainmaster"):
        deploy_endpoint(EndpointRequest(model_uri=good, endpoint_name=name))
    with pytest.raises(NameConflictError, match="not made by Trainmaster"):
        remove_endpoint(RemovalRequest(endpoint_name=name, dry_run=False))
    assert sagemaker.describe_endpoint(EndpointName=name)["EndpointConfigName"] == name
    sagemaker.delete_endpoint(EndpointName=name)


def test_removing_one_endpoint_keeps_another_whose_name_begins_with_its_name(stack: Any) -> None:
    good = put_model(stack, "good.tar.gz", GOOD.format(version="good", price="7"), "good")
    deploy_endpoint(EndpointRequest(model_uri=good, endpoint_name=NAME))
    other = deploy_endpoint(EndpointRequest(model_uri=good, endpoint_name=f"{NAME}-too"))
    remove_endpoint(RemovalRequest(endpoint_name=NAME, dry_run=False))
    assert standing(stack) == ([other.config_name], [other.model_name])
    endpoint = stack.client("sagemaker").describe_endpoint(EndpointName=f"{NAME}-too")
    assert endpoint["EndpointStatus"] == "InService"
    remove_endpoint(RemovalRequest(endpoint_name=f"{NAME}-too", dry_run=False))


@pytest.fixture
def fault(stack: Any) -> Iterator[Any]:
    yield lambda **rule: stack.aws.control("POST", "faults", rule)
    stack.aws.control("DELETE", "faults")


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ({"operation": "CreateEndpoint", "error": "ResourceLimitExceeded"}, "ResourceLimitExceeded"),
        ({"operation": "LaunchingMLInstances", "error": "CapacityError"}, "Unable to provision requested ML"),
        ({"operation": "InvokeEndpoint", "error": "AccessDeniedException"}, "AccessDenied"),
    ],
)
def test_an_endpoint_aws_has_no_room_or_leave_for_leaves_nothing_behind(
    stack: Any, fault: Any, rule: dict[str, Any], said: str
) -> None:
    good = put_model(stack, "good.tar.gz", GOOD.format(version="good", price="7"), "good")
    fault(**rule, count=1)
    with pytest.raises(DeploymentFailedError, match=said):
        deploy_endpoint(EndpointRequest(model_uri=good, endpoint_name=NAME))
    assert stack.client("sagemaker").list_endpoints(NameContains=NAME)["Endpoints"] == []
    assert standing(stack) == ([], [])


def test_throttled_and_failing_calls_are_tried_again_until_the_model_serves(stack: Any, fault: Any) -> None:
    good = put_model(stack, "good.tar.gz", GOOD.format(version="good", price="7"), "good")
    for operation in ("CreateModel", "CreateEndpoint", "DescribeEndpoint", "InvokeEndpoint"):
        fault(operation=operation, error="ThrottlingException", count=2)
        fault(operation=operation, error="InternalFailure", status=500, count=1)
    assert (
        deploy_endpoint(EndpointRequest(model_uri=good, endpoint_name=NAME)).smoke_test.answer["predicted_price"] == 7
    )


@pytest.mark.parametrize(
    ("key", "body", "said"),
    [
        ("corrupt.tar.gz", b"\x1f\x8b\x08not really", "not a whole gzipped tar"),
        ("text.tar.gz", b"hello", "not a gzipped tar archive"),
    ],
)
def test_a_corrupt_artifact_is_refused_before_anything_is_touched(stack: Any, key: str, body: bytes, said: str) -> None:
    with pytest.raises(ModelRefusedError, match=said):
        deploy_endpoint(EndpointRequest(model_uri=put(stack, key, body), endpoint_name=NAME))
    assert standing(stack) == ([], [])


def test_a_truncated_artifact_is_refused(stack: Any) -> None:
    put_model(stack, "whole.tar.gz", GOOD.format(version="good", price="7") + "# padding\n" * 5000, "good")
    whole = stack.client("s3").get_object(Bucket=stack.bucket, Key="models/whole.tar.gz")["Body"].read()
    with pytest.raises(ModelRefusedError, match="not a whole gzipped tar"):
        deploy_endpoint(
            EndpointRequest(model_uri=put(stack, "cut.tar.gz", whole[: len(whole) // 2]), endpoint_name=NAME)
        )


@pytest.mark.parametrize(
    ("member", "said"), [("inference.py", "has no code/inference.py"), ("../code/inference.py", "not safe to unpack")]
)
def test_an_artifact_without_code_or_with_a_path_that_escapes_is_refused(stack: Any, member: str, said: str) -> None:
    uri = put_model(stack, "odd.tar.gz", GOOD.format(version="good", price="7"), "good", member=member)
    with pytest.raises(ModelRefusedError, match=said):
        deploy_endpoint(EndpointRequest(model_uri=uri, endpoint_name=NAME))


def test_an_artifact_that_is_not_there_is_refused(stack: Any) -> None:
    with pytest.raises(ModelRefusedError, match="does not exist"):
        deploy_endpoint(EndpointRequest(model_uri=f"s3://{stack.bucket}/models/none.tar.gz", endpoint_name=NAME))


def test_an_endpoint_dearer_than_approved_is_refused(stack: Any) -> None:
    uri = put_model(stack, "good.tar.gz", GOOD.format(version="good", price="7"), "good")
    with pytest.raises(OverBudgetError, match="an hour"):
        deploy_endpoint(EndpointRequest(model_uri=uri, endpoint_name=NAME, instance_count=20))
    assert standing(stack) == ([], [])
