"""A job's name and fingerprint follow from what is asked, so that a retry finds the job and a change never does."""

import gzip
import json
import re
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from trainmaster.budget.approval import Approval, Rate
from trainmaster.embedded.sagemaker import wire
from trainmaster.training.plan import Channel, Place, TrainingInputs, TrainingPlan, plan_training
from trainmaster.training.request import TrainingRequest
from trainmaster.training.source import source_archive, source_name
from trainmaster.training.trainers import HOUSE_PRICES

REQUEST = TrainingRequest(data_uri="s3://bucket-1/data/")
INPUTS = TrainingInputs(
    "house-prices",
    HOUSE_PRICES,
    (Channel("training", "s3://bucket-1/data/", "checksum"),),
    "s3://bucket-1/source.tar.gz",
    "image:1",
)
PLACE = Place("us-east-1", "arn:aws:iam::123456789012:role/r", "s3://bucket-1/jobs", "an-installation")
APPROVAL = Approval(Rate(Decimal("0.12")), Decimal("1.00"), 1800, 3600)


def plan(request: TrainingRequest = REQUEST, inputs: TrainingInputs = INPUTS) -> TrainingPlan:
    return plan_training(request, inputs, APPROVAL, PLACE)


def test_the_same_request_gives_the_same_plan() -> None:
    assert plan() == plan()


OTHER: dict[str, Any] = {
    "attempt": 2, "budget_limit": Decimal("2.00"), "checkpoint_s3_uri": "s3://bucket-1/kept/",
    "data_classification": "public", "data_uri": "s3://bucket-1/other/",
    "dry_run": True, "enable_profiler": True, "enable_tensorboard": True, "environment": {"A": "1"}, "experiment": "e",
    "fall_back_to_on_demand": True, "hyperparameters": {"seed": 1}, "instance_count": 2, "instance_type": "ml.m5.xlarge",
    "instance_types": ["ml.m5.xlarge"], "max_runtime_seconds": 60, "max_wait_seconds": 90000, "migrate_missing": True,
    "model_name": "other", "network_isolation": True, "of_job": "a-job", "on_over_budget": "ask", "output_kms_key": "k", "platform": "other",
    "region": "eu-west-1", "security_groups": ["sg-1"], "subnets": ["subnet-1"], "tags": {"a": "b"}, "team": "vision",
    "training_config_id": "6" * 8 + "-7777-4888-8999-" + "0" * 12, "use_spot_instances": False,
    "user_id": "1" * 8 + "-2222-4333-8444-" + "5" * 12, "volume_kms_key": "k", "volume_size_gb": 31, "wait": False,
    "warm_pool_seconds": 60,
}  # fmt: skip
"""Another value than the default of every field."""
WAYS = {
    "attempt", "dry_run", "wait", "migrate_missing", "on_over_budget", "instance_types", "fall_back_to_on_demand",
    "data_classification", "of_job",
}  # fmt: skip
"""Fields that decide whether, when, how often and by which way a job is launched, and nothing of the job itself."""


def test_whatever_decides_the_result_or_the_cost_changes_the_fingerprint_and_nothing_else_does() -> None:
    assert OTHER.keys() == TrainingRequest.model_fields.keys()
    place = {name: value for name, value in OTHER.items() if name != "region"}  # which decides by where the job is
    changed = {name for name, value in place.items() if plan(changed_by(name, value)).fingerprint != plan().fingerprint}
    assert changed == place.keys() - WAYS
    abroad = replace(PLACE, region="eu-west-1")
    assert plan_training(REQUEST, INPUTS, APPROVAL, abroad).fingerprint != plan().fingerprint


def changed_by(name: str, value: Any) -> TrainingRequest:
    return TrainingRequest.model_validate({"data_uri": REQUEST.data_uri, name: value})


@pytest.mark.parametrize("part", ["source_uri", "source_checksum", "image_uri"])
def test_another_program_is_another_job(part: str) -> None:
    assert plan(inputs=replace(INPUTS, **{part: "other"})).job_name != plan().job_name


def test_another_price_is_the_same_job() -> None:
    dearer = Approval(Rate(Decimal("7.00")), Decimal("1.00"), 600, 3600)
    assert plan_training(REQUEST, INPUTS, dearer, PLACE).job_name == plan().job_name


@given(st.permutations(["a", "b", "c", "d"]), st.permutations(["a", "b", "c", "d"]))
def test_the_order_of_keys_names_no_other_job(first: list[str], second: list[str]) -> None:
    def ordered(keys: list[str]) -> TrainingRequest:
        text = dict.fromkeys(keys, "1")
        nested: dict[str, Any] = {key: dict.fromkeys(keys, 1) for key in keys}
        return changed_by("environment", text).model_copy(update={"tags": text, "hyperparameters": nested})

    assert plan(ordered(first)).job_name == plan(ordered(second)).job_name


def test_the_form_asks_first_what_is_trained_on_what_and_for_how_much() -> None:
    fields = TrainingRequest.model_json_schema()["properties"]
    assert list(fields)[:4] == ["training_config_id", "data_uri", "model_name", "instance_type"]
    assert list(fields).index("budget_limit") < list(fields).index("max_wait_seconds")
    assert TrainingRequest.model_fields.keys() - fields.keys() == {"platform", "of_job"}
    for name, field in fields.items():
        assert "default" in field, name
        if name.endswith(("_seconds", "_gb")):
            assert field["title"].endswith(("(s)", "(GB)")), name
            assert "minimum" in field, name
            assert "maximum" in field, name


def test_other_data_under_the_same_address_is_another_job() -> None:
    assert (
        plan(inputs=replace(INPUTS, channels=(replace(INPUTS.channels[0], checksum="other"),))).job_name
        != plan().job_name
    )


def test_another_attempt_is_another_job_with_the_same_fingerprint() -> None:
    second = plan(REQUEST.model_copy(update={"attempt": 2}))
    assert (second.fingerprint, second.job_name) == (plan().fingerprint, plan().job_name.removesuffix("-1") + "-2")


@pytest.mark.parametrize("spot", [True, False])
def test_the_request_is_one_aws_accepts(spot: bool) -> None:
    longest = plan(
        TrainingRequest(data_uri="s3://bucket-1/data/", model_name="a" * 40, attempt=9999, use_spot_instances=spot)
    )
    operation = wire.operation_model("CreateTrainingJob")
    assert operation is not None
    assert wire.checked(operation, longest.create_request) == longest.create_request


def test_aws_is_told_the_runtime_that_was_approved_not_the_one_asked_for() -> None:
    assert plan().create_request["StoppingCondition"] == {"MaxRuntimeInSeconds": 1800, "MaxWaitTimeInSeconds": 5400}


def test_on_demand_jobs_are_given_no_wait_time_which_aws_would_refuse() -> None:
    stopping = plan(REQUEST.model_copy(update={"use_spot_instances": False})).create_request["StoppingCondition"]
    assert stopping == {"MaxRuntimeInSeconds": 1800}


def test_every_hyperparameter_is_a_string_as_sagemaker_wants_it() -> None:
    sent = plan(inputs=replace(INPUTS, hyperparameters={"seed": "1", "sagemaker_program": "theirs"})).create_request
    assert all(isinstance(value, str) for value in sent["HyperParameters"].values())
    assert sent["HyperParameters"]["seed"] == "1"
    assert json.loads(sent["HyperParameters"]["sagemaker_program"]) == "train.py"


def test_the_metrics_are_read_from_the_line_train_py_prints() -> None:
    line = "r2=0.9312; mae=21034.11; rmse=26001.50; train_rows=160; validation_rows=40;"
    found = {name: float(match[1]) for name, regex in HOUSE_PRICES.metrics.items() if (match := re.search(regex, line))}
    assert found == {"validation:r2": 0.9312, "validation:mae": 21034.11, "validation:rmse": 26001.5}


@pytest.mark.parametrize(
    ("field", "value"),
    [("model_name", "under_score"), ("model_name", "a" * 41), ("instance_type", "m" * 65), ("budget_limit", 0),
     ("budget_limit", "1.001"), ("max_runtime_seconds", 59), ("max_runtime_seconds", 28 * 86400 + 1), ("instance_count", 0),
     ("instance_count", 21), ("warm_pool_seconds", 3601), ("training_config_id", "7"), ("region", "Mars"), ("data_uri", "https://x/y"), ("attempt", 0), ("surprise", 1)],
)  # fmt: skip
def test_a_request_out_of_bounds_is_refused_by_field(field: str, value: Any) -> None:
    with pytest.raises(ValidationError, match=field):
        TrainingRequest(**{"data_uri": "s3://bucket-1/data/", field: value})


def test_the_same_code_gives_the_same_archive_and_the_same_address() -> None:
    assert source_archive() == source_archive()
    assert source_name(gzip.compress(gzip.decompress(source_archive()), 1)) == source_name(source_archive())
    assert source_name(gzip.compress(b"other")) != source_name(source_archive())


@pytest.mark.parametrize("typed", ["1", "1.0", "1.00", 1, Decimal("1.000")])
def test_one_amount_however_it_is_typed_is_one_job(typed: Any) -> None:
    one = REQUEST.model_copy(update={"budget_limit": Decimal("1.00")})
    assert plan(TrainingRequest.model_validate({"data_uri": REQUEST.data_uri, "budget_limit": typed})) == plan(one)
