"""A public API is a list of steps from the stack there is to the stack there should be."""

import io
import json
import zipfile
from typing import Any

import pytest
from pydantic import ValidationError

from trainmaster.endpoints.api.plan import (
    DescribedApi,
    DesiredApi,
    accepted_ranges,
    bundle,
    desired_api,
    plan_api,
    stack_name,
)
from trainmaster.endpoints.api.request import PublishRequest
from trainmaster.errors import ModelRefusedError, NameConflictError, RefusedError

ACCEPTED = {"sqft": (100.0, 20_000.0)}


def desired(accepted: dict[str, tuple[float, float]] = ACCEPTED, **choices: Any) -> DesiredApi:
    arn = "arn:aws:sagemaker:us-east-1:123456789012:endpoint/house-prices"
    return desired_api(PublishRequest(**choices), accepted, endpoint_arn=arn, bucket="bucket-1", access_logs=False)


WANTED = desired()


@pytest.mark.parametrize(
    ("described", "steps"),
    [
        (DescribedApi(), ["upload-code", "create-stack"]),
        (DescribedApi(has_code=True), ["create-stack"]),
        (DescribedApi("CREATE_COMPLETE", WANTED.content, has_code=True), []),
        (DescribedApi("UPDATE_COMPLETE", WANTED.content), []),
        (DescribedApi("UPDATE_COMPLETE", "another"), ["upload-code", "update-stack"]),
        (DescribedApi("UPDATE_ROLLBACK_COMPLETE", "another", has_code=True), ["update-stack"]),
        (DescribedApi("UPDATE_ROLLBACK_COMPLETE", WANTED.content, has_code=True), ["update-stack"]),
        (DescribedApi("ROLLBACK_COMPLETE", WANTED.content, has_code=True), ["delete-stack", "create-stack"]),
        (DescribedApi("CREATE_FAILED", WANTED.content, has_code=True), ["delete-stack", "create-stack"]),
        (DescribedApi("ROLLBACK_FAILED", "another", has_code=True), ["delete-stack", "create-stack"]),
        (DescribedApi("DELETE_FAILED", "another", has_code=True), ["delete-stack", "create-stack"]),
        (DescribedApi("REVIEW_IN_PROGRESS", None, has_code=True), ["delete-stack", "create-stack"]),
    ],
)
def test_the_steps_follow_from_what_there_is(described: DescribedApi, steps: list[str]) -> None:
    assert [step.kind for step in plan_api(WANTED, described)] == steps


def test_a_stack_whose_way_back_failed_is_for_a_person_who_is_told_the_command() -> None:
    with pytest.raises(
        RefusedError, match=r"UPDATE_ROLLBACK_FAILED.*continue-update-rollback --stack-name predict-house"
    ):
        plan_api(WANTED, DescribedApi("UPDATE_ROLLBACK_FAILED", "another"))


def test_somebody_elses_stack_is_left_alone() -> None:
    with pytest.raises(NameConflictError, match="predict-house-prices exists"):
        plan_api(WANTED, DescribedApi("CREATE_COMPLETE", WANTED.content, ours=False))


@pytest.mark.parametrize(
    "other",
    [
        desired({"sqft": (100.0, 20_001.0)}),
        desired({"sqft": (100.0, 20_000.0), "rooms": (1.0, 9.0)}),
        desired(allowed_origin="https://houses.example"),
        desired(requests_per_second=21),
        desired(burst=41),
        desired(requests_per_day=7),
        desired(log_days=7),
    ],
    ids=["range", "feature", "origin", "rate", "burst", "quota", "logs"],
)
def test_whatever_differs_is_another_content_and_another_deployment(other: DesiredApi) -> None:
    assert other.content != WANTED.content
    assert f"Deployment{other.content}" in other.template
    assert f"Deployment{WANTED.content}" not in other.template


def test_the_same_input_is_the_same_to_the_byte() -> None:
    assert desired() == WANTED
    assert bundle(ACCEPTED) == WANTED.code


def test_the_code_is_named_by_its_content_and_has_the_handler_with_its_ranges() -> None:
    with zipfile.ZipFile(io.BytesIO(WANTED.code)) as archive:
        assert sorted(archive.namelist()) == ["handler.py", "schema.json"]
        assert json.loads(archive.read("schema.json")) == {"sqft": [100.0, 20_000.0]}
    assert desired({"sqft": (1.0, 2.0)}).code_key != WANTED.code_key
    assert desired(log_days=7).code_key == WANTED.code_key


def test_the_longest_endpoint_name_makes_a_name_lambda_takes() -> None:
    assert len(stack_name("e" * 50)) <= 64


@pytest.mark.parametrize("card", [{"features": {"sqft": {"mean": 1}}}, {"features": {"sqft": {"accepted": [1]}}}])
def test_a_model_that_does_not_say_what_it_accepts_is_refused(card: Any) -> None:
    with pytest.raises(ModelRefusedError, match="which values of sqft are accepted"):
        accepted_ranges(card, "s3://bucket-1/model.tar.gz")


@pytest.mark.parametrize("origin", ["houses.example", "https://a.example/path", "https://a'b.example", "null", ""])
def test_an_origin_that_is_none_is_refused(origin: str) -> None:
    with pytest.raises(ValidationError, match="allowed_origin"):
        PublishRequest(allowed_origin=origin)
