"""The AWS CLI takes the project's own model from a CSV file to an answering endpoint, and is refused as AWS refuses."""

from __future__ import annotations

import json
import tarfile
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aws_cli import AwsCli, RefusedError
from embedded_aws import EmbeddedAws

import model
from trainmaster.training.source import source_archive

HOUSES = Path(model.__file__).parent / "data" / "house_data.csv"
IMAGE = "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-scikit-learn:1.9-0-cpu-py3"
GROUP = "/aws/sagemaker/TrainingJobs"
SPOT = {"stopping_condition": "MaxRuntimeInSeconds=100,MaxWaitTimeInSeconds=50"}
HOUSE = {"bedrooms": 3, "bathrooms": 2, "sqft": 1500, "year_built": 1995}

Settled = Callable[..., None]


def named(noun: str) -> str:
    return f"{noun}-{uuid.uuid4().hex[:8]}"


@pytest.fixture(scope="module")
def request_of(embedded: EmbeddedAws) -> Callable[..., dict[str, Any]]:
    """The options of a create-training-job of a command in the container; `members` replace its own."""

    def options(name: str, *command: str, **members: Any) -> dict[str, Any]:
        algorithm = {"TrainingImage": IMAGE, "TrainingInputMode": "File"}
        return {
            "training_job_name": name,
            "role_arn": embedded.environment["TRAINMASTER_EXECUTION_ROLE_ARN"],
            "algorithm_specification": algorithm | ({"ContainerEntrypoint": list(command)} if command else {}),
            "output_data_config": {"S3OutputPath": f"s3://{embedded.environment['TRAINMASTER_BUCKET']}/{name}"},
            "resource_config": "InstanceType=ml.m5.large,InstanceCount=1,VolumeSizeInGB=1",
            "stopping_condition": "MaxRuntimeInSeconds=100",
            **members,
        }

    return options


@pytest.fixture(scope="module")
def job(aws: AwsCli, embedded: EmbeddedAws, request_of: Any, settled: Settled) -> str:
    """The name of a job that trained the house prices."""
    name = named("cli")
    place = f"s3://{embedded.environment['TRAINMASTER_BUCKET']}/{name}"
    source = aws.folder / "sourcedir.tar.gz"
    source.write_bytes(source_archive())
    aws("s3", "cp", HOUSES, f"{place}/data/")
    aws("s3", "cp", source, f"{place}/")
    channel = {
        "ChannelName": "training",
        "ContentType": "text/csv",
        "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"{place}/data/"}},
    }
    options = request_of(
        name,
        hyper_parameters={
            "sagemaker_program": '"train.py"',
            "sagemaker_submit_directory": json.dumps(f"{place}/sourcedir.tar.gz"),
            "seed": "42",
        },
        input_data_config=[channel],
        tags="Key=team,Value=houses",
    )
    options["algorithm_specification"]["MetricDefinitions"] = [{"Name": "r2", "Regex": "r2=([-+0-9.eE]+);"}]
    created = aws("sagemaker", "create-training-job", **options)
    assert created["TrainingJobArn"].endswith(f":training-job/{name}")
    settled(job=name)
    aws("sagemaker", "wait", "training-job-completed-or-stopped", training_job_name=name)
    return name


def test_a_job_trains_on_what_was_copied_and_its_model_can_be_fetched(aws: AwsCli, job: str) -> None:
    described = aws("sagemaker", "describe-training-job", training_job_name=job)
    assert described["TrainingJobStatus"] == described["SecondaryStatus"] == "Completed"
    assert [metric["Value"] > 0.8 for metric in described["FinalMetricDataList"]] == [True]
    assert described["BillableTimeInSeconds"] > 0
    walked = [each["Status"] for each in described["SecondaryStatusTransitions"]]
    assert walked == ["Starting", "Downloading", "Training", "Uploading", "Completed"]

    aws("s3", "cp", described["ModelArtifacts"]["S3ModelArtifacts"], "fetched.tar.gz")
    with tarfile.open(aws.folder / "fetched.tar.gz") as fetched:
        assert {"model.joblib", "code/inference.py"} <= {each.removeprefix("./") for each in fetched.getnames()}


def test_jobs_are_listed_by_name_and_status(aws: AwsCli, job: str) -> None:
    found = aws("sagemaker", "list-training-jobs", name_contains=job, status_equals="Completed")
    assert [each["TrainingJobName"] for each in found["TrainingJobSummaries"]] == [job]
    assert aws("sagemaker", "list-training-jobs", name_contains=job, status_equals="Failed") == {
        "TrainingJobSummaries": []
    }


def test_a_jobs_lines_and_no_others_are_in_its_log(aws: AwsCli, job: str) -> None:
    # `aws logs tail`, which only version 2 of the CLI has, sends this request.
    found = aws("logs", "filter-log-events", "--interleaved", log_group_name=GROUP, log_stream_name_prefix=f"{job}/")
    assert {event["logStreamName"].partition("-1-")[0] for event in found["events"]} == {f"{job}/algo"}
    assert [event["message"] for event in found["events"] if "r2=" in event["message"]]


def test_tags_are_added_to_those_a_job_was_created_with(aws: AwsCli, job: str) -> None:
    arn = aws("sagemaker", "describe-training-job", training_job_name=job, query="TrainingJobArn", output="text")
    aws("sagemaker", "add-tags", resource_arn=arn, tags="Key=cost-center,Value=7")
    tags = aws("sagemaker", "list-tags", resource_arn=arn)["Tags"]
    assert {tag["Key"]: tag["Value"] for tag in tags} == {"team": "houses", "cost-center": "7"}


def test_a_running_job_is_stopped(aws: AwsCli, request_of: Any, settled: Settled) -> None:
    name = named("stopped")
    aws("sagemaker", "create-training-job", **request_of(name, "sh", "-c", "trap exit TERM; sleep 600 & wait"))
    aws("sagemaker", "stop-training-job", training_job_name=name)
    settled(job=name)
    aws("sagemaker", "wait", "training-job-completed-or-stopped", training_job_name=name)
    assert aws("sagemaker", "describe-training-job", training_job_name=name)["TrainingJobStatus"] == "Stopped"


def test_waiting_for_a_job_that_fails_is_an_error(aws: AwsCli, request_of: Any, settled: Settled) -> None:
    name = named("failing")
    aws("sagemaker", "create-training-job", **request_of(name, "false"))
    settled(job=name)
    with pytest.raises(RefusedError, match="terminal failure state"):
        aws("sagemaker", "wait", "training-job-completed-or-stopped", training_job_name=name)


@pytest.mark.parametrize(
    ("members", "refusal"),
    [
        ({"resource_config": "InstanceType=ml.nope,InstanceCount=1,VolumeSizeInGB=1"}, r"\(ValidationException\).*ml\.nope"),
        ({"role_arn": "arn:aws:iam::123456789012:role/nobody"}, r"\(ValidationException\).*nobody"),
        (SPOT, r"\(ValidationException\).*MaxWaitTimeInSeconds"),
    ],
    ids=["instance type", "role", "spot without a longest wait"],
)  # fmt: skip
def test_a_request_aws_would_not_take_is_refused_in_its_words(
    aws: AwsCli, request_of: Any, members: dict[str, Any], refusal: str
) -> None:
    with pytest.raises(RefusedError, match=refusal):
        aws("sagemaker", "create-training-job", **request_of(named("refused"), "true", **members))


def test_a_name_is_taken_once(aws: AwsCli, request_of: Any, job: str) -> None:
    with pytest.raises(RefusedError, match=r"\(ResourceInUse\).*CreateTrainingJob operation.*must be unique"):
        aws("sagemaker", "create-training-job", **request_of(job, "true"))


def test_a_trained_model_is_deployed_answers_is_updated_and_removed(
    aws: AwsCli, embedded: EmbeddedAws, job: str, settled: Settled
) -> None:
    model_name, endpoint, first, second = (named(noun) for noun in ("model", "endpoint", "config", "config"))
    artifact = f"s3://{embedded.environment['TRAINMASTER_BUCKET']}/{job}/{job}/output/model.tar.gz"
    aws(
        "sagemaker", "create-model", model_name=model_name, primary_container={"Image": IMAGE, "ModelDataUrl": artifact},
        execution_role_arn=embedded.environment["TRAINMASTER_EXECUTION_ROLE_ARN"],
    )  # fmt: skip
    for config in (first, second):
        variant = f"VariantName=All,ModelName={model_name},InitialInstanceCount=1,InstanceType=ml.m5.large"
        aws("sagemaker", "create-endpoint-config", endpoint_config_name=config, production_variants=variant)
    aws("sagemaker", "create-endpoint", endpoint_name=endpoint, endpoint_config_name=first)
    settled(endpoint=endpoint)
    aws("sagemaker", "wait", "endpoint-in-service", endpoint_name=endpoint)

    def invoke(house: dict[str, float]) -> Any:
        aws(
            "sagemaker-runtime", "invoke-endpoint", "answer.json", endpoint_name=endpoint,
            content_type="application/json", body=json.dumps(house),
        )  # fmt: skip
        return json.loads((aws.folder / "answer.json").read_text())

    assert 50_000 < invoke(HOUSE)["predicted_price"] < 1_000_000
    with pytest.raises(RefusedError, match=r"\(ModelError\).*Received client error \(400\).*bedrooms is -3"):
        invoke({**HOUSE, "bedrooms": -3})

    aws("sagemaker", "update-endpoint", endpoint_name=endpoint, endpoint_config_name=second)
    settled(endpoint=endpoint)
    aws("sagemaker", "wait", "endpoint-in-service", endpoint_name=endpoint)
    assert aws("sagemaker", "describe-endpoint", endpoint_name=endpoint)["EndpointConfigName"] == second
    assert invoke(HOUSE)["predicted_price"] > 50_000

    aws("sagemaker", "delete-endpoint", endpoint_name=endpoint)
    settled(endpoint=endpoint)
    aws("sagemaker", "wait", "endpoint-deleted", endpoint_name=endpoint)
    for config in (first, second):
        aws("sagemaker", "delete-endpoint-config", endpoint_config_name=config)
    aws("sagemaker", "delete-model", model_name=model_name)
    with pytest.raises(RefusedError, match=r"\(ValidationException\).*Could not find model"):
        aws("sagemaker", "describe-model", model_name=model_name)


def test_the_price_list_is_asked_for_what_an_instance_costs(aws: AwsCli) -> None:
    filters = [
        {"Type": "TERM_MATCH", "Field": field, "Value": value}
        for field, value in {"instanceName": "ml.g5.xlarge", "platoinstancetype": "Training"}.items()
    ]
    found = aws("pricing", "get-products", service_code="AmazonSageMaker", filters=filters, region="us-east-1")
    [product] = map(json.loads, found["PriceList"])
    assert '"USD": "1.4080000000"' in json.dumps(product["terms"]["OnDemand"])
    values = aws(
        "pricing", "get-attribute-values", service_code="AmazonEC2", attribute_name="tenancy", region="us-east-1"
    )
    assert values == {"AttributeValues": [{"Value": "Shared"}]}
