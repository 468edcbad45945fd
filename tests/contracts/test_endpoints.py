"""An endpoint's life by boto3: created, described, refused, updated, rolled back, resized, deleted."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from botocore.exceptions import ClientError
from hosting import Holding, Hosting, Load, archive

PING = "did not pass the ping health check. Please check CloudWatch logs for this endpoint."


@pytest.fixture
def hosting(embedded: Any) -> Iterator[Hosting]:
    hosting = Hosting(embedded)
    yield hosting
    hosting.remove()


def refusal(call: Any, **request: Any) -> str:
    """The message of the ValidationException the call ends with."""
    with pytest.raises(ClientError) as caught:
        call(**request)
    assert caught.value.response["Error"]["Code"] == "ValidationException"
    return str(caught.value.response["Error"]["Message"])


def test_an_endpoint_comes_into_service_answers_and_goes_but_its_artifact_stays(hosting: Hosting) -> None:
    artifact = hosting.upload(archive({"code/inference.py": "def model_fn(folder): return 0", "version": "v1"}))
    model = hosting.model(artifact=artifact)
    config = hosting.config(hosting.variant(model))
    name = hosting.create(config)

    described = hosting.settled(name)
    assert described["EndpointStatus"] == "InService"
    assert described["EndpointConfigName"] == config
    assert described["EndpointArn"].endswith(f":endpoint/{name}")
    assert described["CreationTime"] <= described["LastModifiedTime"]
    [variant] = described["ProductionVariants"]
    assert (variant["VariantName"], variant["CurrentWeight"], variant["DesiredWeight"]) == ("AllTraffic", 1.0, 1.0)
    assert (variant["CurrentInstanceCount"], variant["DesiredInstanceCount"]) == (1, 1)
    assert variant["DeployedImages"][0]["SpecifiedImage"].endswith("sagemaker-scikit-learn:1.4-2-cpu-py3")
    listed = hosting.sagemaker.list_endpoints(NameContains=name, StatusEquals="InService")["Endpoints"]
    assert [each["EndpointName"] for each in listed] == [name]

    hosting.sagemaker.delete_endpoint(EndpointName=name)
    hosting.sagemaker.get_waiter("endpoint_deleted").wait(
        EndpointName=name, WaiterConfig={"Delay": 0.05, "MaxAttempts": 1800}
    )
    hosting.sagemaker.delete_endpoint_config(EndpointConfigName=config)
    hosting.sagemaker.delete_model(ModelName=model)
    hosting.s3.head_object(Bucket=hosting.bucket, Key=artifact.split("/", 3)[3])
    assert not (hosting.embedded.state / "endpoints" / name).exists()
    with pytest.raises(ClientError, match=f"Endpoint {name} of account 123456789012 not found") as caught:
        hosting.invoke(name)
    assert caught.value.response["Error"]["Code"] == "ValidationError"


def test_a_name_is_taken_once_and_what_does_not_exist_is_not_found(hosting: Hosting) -> None:
    name = hosting.serve()
    config = hosting.sagemaker.describe_endpoint(EndpointName=name)["EndpointConfigName"]
    api = hosting.sagemaker

    taken = refusal(api.create_endpoint, EndpointName=name, EndpointConfigName=config)
    assert taken.startswith('Cannot create already existing endpoint "arn:aws:sagemaker:')
    assert refusal(api.create_endpoint, EndpointName=name.upper(), EndpointConfigName=config) == taken
    missing = 'Could not find endpoint configuration "arn:aws:sagemaker:'
    assert refusal(api.create_endpoint, EndpointName="e", EndpointConfigName="none").startswith(missing)
    assert refusal(api.update_endpoint, EndpointName=name, EndpointConfigName="none").startswith(missing)
    for call, more in (
        (api.describe_endpoint, {}),
        (api.delete_endpoint, {}),
        (api.update_endpoint, {"EndpointConfigName": config}),
    ):
        assert refusal(call, EndpointName="none", **more).startswith('Could not find endpoint "arn:aws:sagemaker:')
    assert hosting.settled(name)["EndpointStatus"] == "InService"


def test_a_model_deleted_before_its_endpoint_is_created_is_not_found(hosting: Hosting) -> None:
    model = hosting.model()
    config = hosting.config(hosting.variant(model))
    hosting.sagemaker.delete_model(ModelName=model)

    said = refusal(hosting.sagemaker.create_endpoint, EndpointName="e", EndpointConfigName=config)

    assert said.startswith('Could not find model "arn:aws:sagemaker:')


def test_an_endpoint_in_progress_is_neither_updated_nor_deleted_nor_invoked(hosting: Hosting) -> None:
    config = hosting.config(hosting.variant(hosting.model()))
    hosting.embedded.control("POST", "faults", {"operation": "LaunchingMLInstances", "latency": 1.0, "count": 1})
    name = hosting.create(config)
    in_progress = 'Cannot update in-progress endpoint "arn:aws:sagemaker:'

    assert hosting.sagemaker.describe_endpoint(EndpointName=name)["EndpointStatus"] == "Creating"
    assert refusal(hosting.sagemaker.delete_endpoint, EndpointName=name).startswith(in_progress)
    update = {"EndpointName": name, "EndpointConfigName": config}
    assert refusal(hosting.sagemaker.update_endpoint, **update).startswith(in_progress)
    with pytest.raises(ClientError, match="not found"):
        hosting.invoke(name)
    assert hosting.settled(name)["EndpointStatus"] == "InService"


def malicious() -> bytes:
    """An archive whose member would land in the folder above."""
    return archive({"code/inference.py": "def model_fn(folder): return 0", "../../escaped": "!"})


def linked() -> bytes:
    """An archive with a link to a file outside, to be read through."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        link = tarfile.TarInfo("passwords")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    return packed.getvalue()


@pytest.mark.parametrize(
    ("artifact", "reason"),
    [
        (archive({"code/inference.py": "def model_fn(folder): raise OSError('no such file')"}), PING),
        (archive({"code/inference.py": "import os; os._exit(1)"}), PING),
        (archive({"weights": "0"}), PING),
        (b"PK not a tar", "Please ensure that the object located at the URL is a valid tar.gz archive."),
        (malicious(), "Please ensure that the object located at the URL is a valid tar.gz archive."),
        (linked(), "Please ensure that the object located at the URL is a valid tar.gz archive."),
    ],
    ids=[
        "model_fn raises",
        "process exits",
        "no script",
        "no archive",
        "path out of the archive",
        "link out of the archive",
    ],
)
def test_a_model_that_cannot_be_served_makes_the_endpoint_failed(
    hosting: Hosting, artifact: bytes, reason: str
) -> None:
    name = hosting.create(hosting.config(hosting.variant(hosting.model(artifact=hosting.upload(artifact)))))

    described = hosting.settled(name)

    assert described["EndpointStatus"] == "Failed"
    assert reason in described["FailureReason"]
    assert "ProductionVariants" not in described
    assert list(hosting.embedded.state.rglob("escaped")) == []
    update = {"EndpointName": name, "EndpointConfigName": described["EndpointConfigName"]}
    assert 'with status "Failed"' in refusal(hosting.sagemaker.update_endpoint, **update)


def test_an_artifact_that_is_not_there_makes_the_endpoint_failed(hosting: Hosting) -> None:
    artifact = hosting.upload(b"soon gone")
    model = hosting.model(artifact=artifact)
    hosting.s3.delete_object(Bucket=hosting.bucket, Key=artifact.split("/", 3)[3])

    described = hosting.settled(hosting.create(hosting.config(hosting.variant(model))))

    assert described["EndpointStatus"] == "Failed"
    assert f'Failed to download model data from URL "{artifact}"' in described["FailureReason"]


def test_no_capacity_fails_a_creation_and_rolls_an_update_back(hosting: Hosting) -> None:
    name = hosting.serve()
    config = hosting.config(hosting.variant(hosting.model("v2")))
    said = "Unable to provision requested ML compute capacity due to InsufficientInstanceCapacity error."
    fault = {"operation": "LaunchingMLInstances", "error": "InsufficientInstanceCapacity", "message": said, "count": 2}
    hosting.embedded.control("POST", "faults", fault)

    failed = hosting.settled(hosting.create(config))
    hosting.sagemaker.update_endpoint(EndpointName=name, EndpointConfigName=config)
    rolled_back = hosting.settled(name)

    assert (failed["EndpointStatus"], failed["FailureReason"]) == ("Failed", said)
    assert (rolled_back["EndpointStatus"], rolled_back["FailureReason"]) == ("InService", said)
    assert rolled_back["EndpointConfigName"] != config
    assert hosting.invoke(name)["version"] == "v1"


def test_an_update_under_load_loses_no_request_and_old_answers_end_with_it(hosting: Hosting) -> None:
    name = hosting.serve()
    config = hosting.config(hosting.variant(hosting.model("v2")))

    with Load(hosting, name) as load:
        load.wait_for(50)
        hosting.sagemaker.update_endpoint(EndpointName=name, EndpointConfigName=config)
        updating = hosting.sagemaker.describe_endpoint(EndpointName=name)
        described = hosting.settled(name)
        answered = len(load.versions)
        load.wait_for(50)

    assert load.errors == []
    assert updating["EndpointStatus"] == "Updating"
    assert updating["PendingDeploymentSummary"]["EndpointConfigName"] == config
    assert (described["EndpointStatus"], described["EndpointConfigName"]) == ("InService", config)
    assert "PendingDeploymentSummary" not in described
    assert load.versions[0] == "v1"
    # A client may still have been noting an old answer when the update was over.
    assert set(load.versions[answered + 8 :]) == {"v2"}


def test_a_new_model_that_fails_leaves_the_old_serving_without_one_failed_request(hosting: Hosting) -> None:
    name = hosting.serve()
    before = hosting.sagemaker.describe_endpoint(EndpointName=name)
    broken = hosting.upload(archive({"code/inference.py": "def model_fn(folder): raise OSError('no such file')"}))
    config = hosting.config(hosting.variant(hosting.model(artifact=broken)))

    with Load(hosting, name) as load:
        load.wait_for(50)
        hosting.sagemaker.update_endpoint(EndpointName=name, EndpointConfigName=config)
        described = hosting.settled(name)
        load.wait_for(50)

    assert load.errors == []
    assert set(load.versions) == {"v1"}
    assert described["EndpointStatus"] == "InService"
    assert described["EndpointConfigName"] == before["EndpointConfigName"]
    assert PING in described["FailureReason"]

    good = hosting.config(hosting.variant(hosting.model("v2")))
    hosting.sagemaker.update_endpoint(EndpointName=name, EndpointConfigName=good)
    assert "FailureReason" not in hosting.settled(name)
    assert hosting.invoke(name)["version"] == "v2"


def test_a_request_under_way_is_finished_by_the_fleet_that_took_it(hosting: Hosting) -> None:
    name = hosting.serve()
    config = hosting.config(hosting.variant(hosting.model("v2")))

    with ThreadPoolExecutor(1) as pool, Holding() as holding:
        slow = pool.submit(hosting.invoke, name, held_by=holding.port)
        holding.wait_for(1)
        hosting.sagemaker.update_endpoint(EndpointName=name, EndpointConfigName=config)
        hosting.wait_until(lambda: hosting.invoke(name)["version"] == "v2")
        assert not slow.done()
        holding.let_go()

        assert slow.result()["version"] == "v1"
    assert hosting.settled(name)["EndpointConfigName"] == config


def test_settings_of_variants_outlive_an_update_that_retains_them(hosting: Hosting) -> None:
    model = hosting.model()
    name = hosting.serve(hosting.variant(model, InitialVariantWeight=3.0, InitialInstanceCount=2))
    config = hosting.config(hosting.variant(model, InitialVariantWeight=1.0, InitialInstanceCount=1))

    def updated(**request: Any) -> tuple[float, int]:
        hosting.sagemaker.update_endpoint(EndpointName=name, EndpointConfigName=config, **request)
        [variant] = hosting.settled(name)["ProductionVariants"]
        return variant["CurrentWeight"], variant["CurrentInstanceCount"]

    assert updated(RetainAllVariantProperties=True) == (3.0, 2)
    excluded = [{"VariantPropertyType": "DesiredInstanceCount"}]
    assert updated(RetainAllVariantProperties=True, ExcludeRetainedVariantProperties=excluded) == (3.0, 1)
    assert updated() == (1.0, 1)


def test_a_serverless_variant_is_served_and_described_as_one(hosting: Hosting) -> None:
    serverless = {"MemorySizeInMB": 2048, "MaxConcurrency": 5}
    variant = {"VariantName": "AllTraffic", "ModelName": hosting.model(), "ServerlessConfig": serverless}
    name = hosting.serve(variant)

    [described] = hosting.settled(name)["ProductionVariants"]

    assert described["CurrentServerlessConfig"] == serverless
    assert "CurrentInstanceCount" not in described
    assert hosting.invoke(name)["version"] == "v1"


def test_the_way_of_the_last_rollout_is_told_and_may_be_retained(hosting: Hosting) -> None:
    name = hosting.serve()
    config = hosting.settled(name)["EndpointConfigName"]
    routing = {"Type": "ALL_AT_ONCE", "WaitIntervalInSeconds": 0}
    rollout = {"BlueGreenUpdatePolicy": {"TrafficRoutingConfiguration": routing, "TerminationWaitInSeconds": 0}}

    for request in ({"DeploymentConfig": rollout}, {"RetainDeploymentConfig": True}):
        hosting.sagemaker.update_endpoint(EndpointName=name, EndpointConfigName=config, **request)
        assert hosting.settled(name)["LastDeploymentConfig"] == rollout


def test_more_instances_of_a_type_than_the_quota_are_refused(hosting: Hosting) -> None:
    config = hosting.config(hosting.variant(hosting.model(), InitialInstanceCount=21, InstanceType="ml.c5.xlarge"))

    with pytest.raises(ClientError, match=r"'ml\.c5\.xlarge for endpoint usage' is 20 Instances") as caught:
        hosting.sagemaker.create_endpoint(EndpointName="e", EndpointConfigName=config)

    assert caught.value.response["Error"]["Code"] == "ResourceLimitExceeded"


def test_what_is_not_embedded_is_refused_instead_of_ignored(hosting: Hosting) -> None:
    variant = hosting.variant(hosting.model())
    output = {"S3OutputPath": f"s3://{hosting.bucket}/answers"}
    config = hosting.config(variant, AsyncInferenceConfig={"OutputConfig": output})

    said = refusal(hosting.sagemaker.create_endpoint, EndpointName="e", EndpointConfigName=config)

    assert "has AsyncInferenceConfig" in said
