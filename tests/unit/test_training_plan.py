"""A job's name and fingerprint follow from what is asked, so that a retry finds the job and a change never does."""

import gzip
import json
import re
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
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
PLACE = Place("us-east-1", "arn:aws:iam::123456789012:role/r", "s3://bucket-1/jobs")
APPROVAL = Approval(Rate(Decimal("0.12")), Decimal("1.00"), 1800, 3600)


def plan(request: TrainingRequest = REQUEST, inputs: TrainingInputs = INPUTS) -> TrainingPlan:
    return plan_training(request, inputs, APPROVAL, PLACE)


def test_the_same_request_gives_the_same_plan() -> None:
    assert plan() == plan()


@pytest.mark.parametrize(
    "change",
    [{"instance_type": "ml.m5.xlarge"}, {"budget_limit": Decimal("2.00")}, {"hyperparameters": {"seed": 1}}, {"environment": {"A": "1"}}, {"use_spot_instances": False}, {"max_runtime_seconds": 60}, {"volume_size_gb": 31}],
)  # fmt: skip
def test_whatever_decides_the_result_or_the_cost_changes_the_name(change: dict[str, Any]) -> None:
    assert plan(REQUEST.model_copy(update=change)).job_name != plan().job_name


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
