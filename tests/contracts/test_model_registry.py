"""A trained model becomes a version of its group, once; only what somebody approved is deployed; the way from data to version can be
gone in both directions."""

from __future__ import annotations

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from importlib.resources import files
from typing import Any

import pytest
from botocore.exceptions import BotoCoreError, ClientError
from trained_models import train_houses, unique_group

from trainmaster.endpoints.deploying import tags_of
from trainmaster.endpoints.models import lineage, registry
from trainmaster.endpoints.models.package import inspect_model
from trainmaster.endpoints.models.registering import register_job, training_of
from trainmaster.endpoints.plan import PACKAGE_TAG
from trainmaster.errors import ModelRefusedError, NotApprovedError, RefusedError, UnknownChoiceError


@pytest.fixture(scope="module")
def group() -> str:
    return unique_group()


@pytest.fixture(scope="module")
def job(jobs: Any, group: str) -> dict[str, Any]:
    """A completed job's description."""
    found: dict[str, Any] = jobs.describe(train_houses(jobs, group=group))
    return found


@pytest.fixture(scope="module")
def registered(jobs: Any, job: dict[str, Any]) -> registry.Registered:
    return register_job(jobs.sagemaker, jobs.s3, job["TrainingJobName"])


@pytest.fixture
def another(jobs: Any, job: dict[str, Any]) -> tuple[str, registry.Registered]:
    """A group of one's own, with one version nobody has decided about."""
    group, package = unique_group(), inspect_model(jobs.s3, job["ModelArtifacts"]["S3ModelArtifacts"])
    registry.register(jobs.sagemaker, group, package, training_of(job))
    return group, registry.describe_version(jobs.sagemaker, group, 1)


def test_a_trained_model_is_a_version_that_waits_for_approval(registered: registry.Registered, group: str) -> None:
    assert (registered.group, registered.version, registered.status) == (group, 1, "PendingManualApproval")


def test_the_way_from_a_version_leads_to_its_job_and_its_data(
    registered: registry.Registered, job: dict[str, Any], jobs: Any
) -> None:
    data = files("model").joinpath("data/house_data.csv").read_bytes()
    assert registered.job_name == job["TrainingJobName"]
    assert registered.dataset_sha256 == hashlib.sha256(data).hexdigest()
    described = jobs.sagemaker.describe_model_package(ModelPackageName=registered.arn)
    assert described["MetadataProperties"]["GeneratedBy"] == job["TrainingJobArn"]


def test_the_way_from_a_job_leads_to_its_version(
    registered: registry.Registered, job: dict[str, Any], jobs: Any
) -> None:
    assert tags_of(jobs.sagemaker, job["TrainingJobArn"])[PACKAGE_TAG] == registered.arn


def test_the_way_from_data_and_from_an_artifact_leads_to_the_version(
    registered: registry.Registered, job: dict[str, Any], jobs: Any, group: str
) -> None:
    assert lineage.versions_of_dataset(jobs.sagemaker, group, registered.dataset_sha256) == [registered]
    assert lineage.versions_of_dataset(jobs.sagemaker, group, "0" * 64) == []
    package = inspect_model(jobs.s3, job["ModelArtifacts"]["S3ModelArtifacts"])
    assert lineage.version_of_artifact(jobs.sagemaker, package) == registered
    for other in (replace(package, sha256="0" * 64), replace(package, uri="s3://bucket/no-job/output/model.tar.gz")):
        assert lineage.version_of_artifact(jobs.sagemaker, other) is None
    with pytest.raises(UnknownChoiceError, match="There is no training job never-run"):
        lineage.version_of_job(jobs.sagemaker, "never-run")


def test_its_metrics_are_those_of_its_job(registered: registry.Registered, job: dict[str, Any], jobs: Any) -> None:
    described = jobs.sagemaker.describe_model_package(ModelPackageName=registered.arn)
    uri = described["ModelMetrics"]["ModelQuality"]["Statistics"]["S3Uri"]
    kept = json.load(jobs.s3.get_object(Bucket=jobs.bucket, Key=uri.removeprefix(f"s3://{jobs.bucket}/"))["Body"])
    measured = {one["MetricName"].partition(":")[2]: one["Value"] for one in job["FinalMetricDataList"]}
    assert {name: one["value"] for name, one in kept["regression_metrics"].items()} == measured
    assert float(described["CustomerMetadataProperties"]["metric:r2"]) == pytest.approx(measured["r2"], rel=1e-4)


def test_its_card_is_of_the_form_that_sagemaker_has_for_cards(registered: registry.Registered, jobs: Any) -> None:
    from sagemaker.core.shapes.model_card_shapes import ModelCardContent

    card = jobs.sagemaker.describe_model_package(ModelPackageName=registered.arn)["ModelCard"]
    content = ModelCardContent.model_validate_json(card["ModelCardContent"])
    assert content.training_details
    details = content.training_details.training_job_details
    assert details
    assert details.training_arn.endswith(registered.job_name)
    assert {one.name: one.value for one in details.hyper_parameters or []} == {"seed": "7", "model-version": "v1"}


def test_registered_again_it_is_the_same_version(registered: registry.Registered, jobs: Any) -> None:
    assert register_job(jobs.sagemaker, jobs.s3, registered.job_name) == registered


def test_registered_by_many_at_once_it_is_one_version(jobs: Any, job: dict[str, Any]) -> None:
    group, package = unique_group(), inspect_model(jobs.s3, job["ModelArtifacts"]["S3ModelArtifacts"])
    with ThreadPoolExecutor(8) as pool:
        arns = set(pool.map(lambda _: registry.register(jobs.sagemaker, group, package, training_of(job)), range(8)))
    assert len(arns) == len(registry.versions(jobs.sagemaker, group)) == 1


CUT_OFF = {
    "the group is made and nobody hears of it": {"operation": "CreateModelPackageGroup", "lost": True},
    "the version is made and nobody hears of it": {"operation": "CreateModelPackage", "lost": True},
    "its job is not told of": {"operation": "AddTags", "error": "AccessDeniedException"},
}


@pytest.mark.parametrize("fault", CUT_OFF.values(), ids=CUT_OFF)
def test_a_registration_that_was_cut_off_is_completed_by_the_next(
    jobs: Any, job: dict[str, Any], embedded: Any, fault: dict[str, Any]
) -> None:
    group, package = unique_group(), inspect_model(jobs.s3, job["ModelArtifacts"]["S3ModelArtifacts"])
    embedded.control("POST", "faults", {**fault, "count": 1})
    try:
        with suppress(ClientError, BotoCoreError):  # some of it the client tries again by itself
            registry.register(jobs.sagemaker, group, package, training_of(job))
    finally:
        embedded.control("DELETE", "faults")
    arn = registry.register(jobs.sagemaker, group, package, training_of(job))
    assert [version.arn for version in registry.versions(jobs.sagemaker, group)] == [arn]
    assert tags_of(jobs.sagemaker, job["TrainingJobArn"])[PACKAGE_TAG] == arn


def test_another_artifact_is_the_next_version_and_a_number_is_never_given_twice(
    jobs: Any, job: dict[str, Any], another: tuple[str, registry.Registered]
) -> None:
    group, first = another
    package = inspect_model(jobs.s3, first.model_uri)
    for digit in "23":
        registry.register(jobs.sagemaker, group, replace(package, sha256=digit * 64), training_of(job))
        found = [one.version for one in registry.versions(jobs.sagemaker, group)]
        assert found[0] == int(digit)
        jobs.sagemaker.delete_model_package(ModelPackageName=registry.versions(jobs.sagemaker, group)[0].arn)


def test_nothing_that_nobody_approved_is_deployed(another: tuple[str, registry.Registered], jobs: Any) -> None:
    group, _ = another
    with pytest.raises(NotApprovedError, match=rf"No version of model group {group} is approved.*approve {group} 1"):
        registry.resolve(jobs.sagemaker, group)
    with pytest.raises(NotApprovedError, match=f"version 1 of {group} is not approved yet"):
        registry.resolve(jobs.sagemaker, group, 1)


def test_the_newest_approved_version_is_deployed_unless_one_is_named(
    jobs: Any, job: dict[str, Any], another: tuple[str, registry.Registered]
) -> None:
    group, first = another
    package = inspect_model(jobs.s3, first.model_uri)
    for digit in "23":
        registry.register(jobs.sagemaker, group, replace(package, sha256=digit * 64), training_of(job))
    for version in (1, 2):
        found = registry.describe_version(jobs.sagemaker, group, version)
        assert registry.decide(jobs.sagemaker, found, "Approved", "measured").status == "Approved"
    assert registry.resolve(jobs.sagemaker, group).version == 2
    assert registry.resolve(jobs.sagemaker, group, 1).version == 1


def test_what_was_rejected_is_refused_with_the_reason(another: tuple[str, registry.Registered], jobs: Any) -> None:
    group, version = another
    registry.decide(jobs.sagemaker, version, "Approved", "looked good")
    registry.decide(jobs.sagemaker, version, "Rejected", "prices villas too low")
    with pytest.raises(NotApprovedError, match=r"is rejected \(prices villas too low\)"):
        registry.resolve(jobs.sagemaker, group, 1)


def test_the_same_decision_again_without_a_reason_keeps_the_one_that_was_given(
    another: tuple[str, registry.Registered], jobs: Any
) -> None:
    group, version = another
    for decision, why, kept in (
        ("Approved", "looked good", "looked good"),
        ("Approved", "", "looked good"),
        ("Approved", "and measured", "and measured"),
        ("Rejected", "prices villas too low", "prices villas too low"),
        ("Approved", "", ""),  # what spoke against it does not speak for it
    ):
        found = registry.describe_version(jobs.sagemaker, group, version.version)
        assert registry.decide(jobs.sagemaker, found, decision, why).why == kept  # type: ignore[arg-type]


def test_a_group_or_version_that_is_not_there_is_refused_with_those_that_are(
    another: tuple[str, registry.Registered], jobs: Any
) -> None:
    group, _ = another
    with pytest.raises(UnknownChoiceError, match="no version 7; newest first it has: 1"):
        registry.resolve(jobs.sagemaker, group, 7)
    with pytest.raises(UnknownChoiceError, match=r"There is no model group no-such-group. There are: \S+"):
        registry.resolve(jobs.sagemaker, "no-such-group")


def test_an_artifact_that_was_written_over_is_not_what_was_registered(
    jobs: Any, another: tuple[str, registry.Registered]
) -> None:
    _, version = another
    body = jobs.s3.get_object(Bucket=jobs.bucket, Key=version.model_uri.removeprefix(f"s3://{jobs.bucket}/"))["Body"]
    uri = jobs.put({}) + "/model.tar.gz"
    jobs.s3.put_object(Bucket=jobs.bucket, Key=uri.removeprefix(f"s3://{jobs.bucket}/"), Body=body.read() + b"\0")
    with pytest.raises(ModelRefusedError, match="is not what was registered"):
        inspect_model(jobs.s3, uri, sha256=version.sha256)


def test_a_job_that_left_no_model_has_nothing_to_register(jobs: Any) -> None:
    name = jobs.python("raise SystemExit(1)", Tags=[{"Key": "trainmaster:model", "Value": "none"}])
    jobs.finished(name)
    with pytest.raises(RefusedError, match="it is Failed"):
        register_job(jobs.sagemaker, jobs.s3, name)


def test_the_trained_artifact_has_examples_inside_what_the_model_accepts(jobs: Any, job: dict[str, Any]) -> None:
    package = inspect_model(jobs.s3, job["ModelArtifacts"]["S3ModelArtifacts"])
    assert len(package.smoke) == 20
    for example in package.smoke:
        for name, value in example.inputs.items():
            low, high = package.card["features"][name]["accepted"]
            assert low <= value <= high


def test_a_model_can_be_made_of_a_version_alone(jobs: Any, registered: registry.Registered) -> None:
    name = f"of-{registered.group}"
    container = {"ModelPackageName": registered.arn, "Environment": {"A": "1"}}
    jobs.sagemaker.create_model(ModelName=name, PrimaryContainer=container, ExecutionRoleArn=jobs.role)
    made = jobs.sagemaker.describe_model(ModelName=name)["PrimaryContainer"]
    assert (made["ModelDataUrl"], made["Environment"]) == (registered.model_uri, {"A": "1"})
    with pytest.raises(ClientError, match="does not exist"):
        jobs.sagemaker.create_model(
            ModelName=f"{name}-7",
            PrimaryContainer={"ModelPackageName": registered.arn.replace("/1", "/7")},
            ExecutionRoleArn=jobs.role,
        )


REFUSED = {
    "a group that is there": ("create_model_package_group", {}, "already exists"),
    "a version with tags": ("create_model_package", {"Tags": [{"Key": "a", "Value": "b"}]}, "Tags cannot be given"),
    "a name and a group": ("create_model_package", {"ModelPackageName": "x"}, "Both ModelPackageName"),
    "a group with versions deleted": ("delete_model_package_group", {}, "still has model packages"),
}


@pytest.mark.parametrize(("operation", "members", "said"), REFUSED.values(), ids=REFUSED)
def test_the_registry_refuses_what_aws_refuses(
    jobs: Any, another: tuple[str, registry.Registered], operation: str, members: dict[str, Any], said: str
) -> None:
    with pytest.raises(ClientError, match=said):
        getattr(jobs.sagemaker, operation)(ModelPackageGroupName=another[0], **members)


def test_the_registry_survives_a_restart(start_embedded: Any) -> None:
    aws = start_embedded()
    aws.client("sagemaker").create_model_package_group(ModelPackageGroupName="kept")
    specification = {"Containers": [{"Image": "i", "ModelDataUrl": "s3://bucket/model.tar.gz"}]}
    arn = aws.client("sagemaker").create_model_package(
        ModelPackageGroupName="kept", InferenceSpecification=specification
    )["ModelPackageArn"]
    aws.stop()
    again = start_embedded().client("sagemaker")
    assert again.describe_model_package(ModelPackageName=arn)["ModelPackageVersion"] == 1
    (summary,) = again.list_model_packages(ModelPackageGroupName="kept")["ModelPackageSummaryList"]
    assert "ModelPackageName" not in summary  # as on AWS, for versions
    assert (summary["ModelApprovalStatus"], summary["ModelPackageStatus"]) == ("PendingManualApproval", "Completed")
