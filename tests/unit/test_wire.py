"""Requests are checked against AWS's own service model, and answers written by it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from trainmaster.embedded.sagemaker import wire
from trainmaster.embedded.sagemaker.api import SageMakerApi
from trainmaster.embedded.sagemaker.wire import AwsError

ROLE = "arn:aws:iam::123456789012:role/TrainmasterExecutionRole"
MODEL = {"ModelName": "cats", "ExecutionRoleArn": ROLE}
VARIANT = {"VariantName": "a", "ModelName": "cats", "InstanceType": "ml.m5.large", "InitialInstanceCount": 1}


def checked(operation: str, request: Any) -> dict[str, Any]:
    model = wire.operation_model(operation)
    assert model
    return wire.checked(model, request)


def test_every_pattern_of_aws_can_be_read() -> None:
    model = wire.service_model()
    patterns = {model.shape_for(name).metadata.get("pattern") for name in model.shape_names} - {None}
    assert len(patterns) > 200
    for pattern in patterns:
        wire.compiled(pattern)


@pytest.mark.parametrize(
    ("operation", "request_", "at", "constraint"),
    [
        ("CreateModel", {}, "modelName", "Member must not be null"),
        ("CreateModel", {"ModelName": None}, "modelName", "Member must not be null"),
        ("CreateModel", MODEL | {"ModelName": "a_b"}, "modelName", "satisfy regular expression pattern"),
        ("CreateModel", MODEL | {"ModelName": "a" * 64}, "modelName", "length less than or equal to 63"),
        ("CreateModel", MODEL | {"ModelName": "cats\n"}, "modelName", "satisfy regular expression pattern"),
        ("CreateModel", MODEL | {"ExecutionRoleArn": "garbage-of-some-length"}, "executionRoleArn", "pattern"),
        ("ListModels", {"MaxResults": 0}, "maxResults", "value greater than or equal to 1"),
        ("ListModels", {"MaxResults": 101}, "maxResults", "value less than or equal to 100"),
        ("ListModels", {"SortBy": "Colour"}, "sortBy", "satisfy enum value set: [Name, CreationTime]"),
        (
            "CreateEndpointConfig",
            {"EndpointConfigName": "c", "ProductionVariants": [VARIANT, VARIANT | {"InstanceType": "ml.nope"}]},
            "productionVariants.2.member.instanceType",
            "satisfy enum value set",
        ),
        ("CreateEndpointConfig", {"EndpointConfigName": "c", "ProductionVariants": []}, "productionVariants", "length"),
        (
            "CreateModel",
            MODEL | {"PrimaryContainer": {"Environment": {"1X": "v"}}},
            "primaryContainer.environment.1X.key",
            "pattern",
        ),
    ],
)
def test_a_violated_constraint_is_a_validation_exception_that_says_where(
    operation: str, request_: Any, at: str, constraint: str
) -> None:
    with pytest.raises(AwsError) as refused:
        checked(operation, request_)
    assert refused.value.code == "ValidationException"
    assert refused.value.status == 400
    assert refused.value.message.startswith("1 validation error detected: Value ")
    assert f"at '{at}' failed to satisfy constraint: " in refused.value.message
    assert constraint in refused.value.message


def test_all_violations_are_reported_at_once() -> None:
    with pytest.raises(AwsError, match="3 validation errors detected") as refused:
        checked("CreateModel", {"ModelName": "a_b", "ExecutionRoleArn": "x"})
    assert refused.value.message.count("; ") == 2


@pytest.mark.parametrize(
    "request_", [[], "text", {"ModelName": 1}, {"ModelName": "a", "EnableNetworkIsolation": 1}, {"ModelName": ["a"]}]
)
def test_a_member_of_the_wrong_type_is_a_serialization_exception(request_: Any) -> None:
    with pytest.raises(AwsError) as refused:
        checked("CreateModel", request_)
    assert refused.value.code == "SerializationException"


def test_a_boolean_is_no_number() -> None:
    with pytest.raises(AwsError, match="SerializationException"):
        checked("ListModels", {"MaxResults": True})


def test_members_aws_does_not_know_and_nulls_are_dropped() -> None:
    assert checked("ListModels", {"MaxResults": 5, "Colour": "red", "NameContains": None}) == {"MaxResults": 5}


def test_letters_of_every_script_are_letters_in_a_tag() -> None:
    tags = [{"Key": "équipe", "Value": "日本語 ١٢٣"}]
    assert checked("AddTags", {"ResourceArn": "arn:aws:sagemaker:us-east-1:123456789012:model/x", "Tags": tags})


def test_an_answer_has_only_the_members_of_its_shape() -> None:
    model = wire.operation_model("ListModels")
    assert model
    record = {"ModelName": "cats", "ModelArn": "arn", "CreationTime": 1.5, "ExecutionRoleArn": ROLE, "Tags": []}
    answer = wire.answered(model, {"Models": [record], "NextToken": None, "Colour": "red"})
    assert answer == {"Models": [{"ModelName": "cats", "ModelArn": "arn", "CreationTime": 1.5}]}


def test_an_error_carries_its_code_message_and_further_members() -> None:
    body = json.loads(AwsError("ModelError", "broke", OriginalStatusCode=500).body())
    assert body == {"__type": "ModelError", "message": "broke", "Message": "broke", "OriginalStatusCode": 500}


def test_an_operation_given_twice_is_noticed_at_once() -> None:
    with pytest.raises(ValueError, match="ListModels"):
        SageMakerApi({"ListModels": lambda _: {}}, {"ListModels": lambda _: {}})


def test_an_operation_aws_lacks_differs_from_one_we_lack() -> None:
    api = SageMakerApi({"ListModels": lambda _: {"Models": []}})
    with pytest.raises(AwsError, match="UnknownOperationException"):
        api.answer("ListCats", b"{}")
    with pytest.raises(AwsError, match=r"NotImplementedException.*It does: ListModels"):
        api.answer("ListDomains", b"{}")


def test_a_body_that_is_not_json_is_a_serialization_exception() -> None:
    with pytest.raises(AwsError, match="SerializationException"):
        SageMakerApi({"ListModels": lambda _: {"Models": []}}).answer("ListModels", b"<xml/>")


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ([{"Key": "a", "Value": "1"}, {"Key": "a", "Value": "2"}], "Duplicate tag keys: a"),
        ([{"Key": "aws:x", "Value": "1"}], "aws: prefixed tag key names are not allowed"),
    ],
)
def test_tags_given_twice_or_reserved_are_refused_in_every_operation(tags: Any, message: str) -> None:
    api = SageMakerApi({"CreateModel": lambda _: {}})
    with pytest.raises(AwsError, match=message):
        api.answer("CreateModel", json.dumps({"ModelName": "cats", "Tags": tags}).encode())
