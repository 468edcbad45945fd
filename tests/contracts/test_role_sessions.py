"""Who calls by a role is held to the policies of the role, as on AWS; the shipped ones let a worker stop its own jobs only."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
import roles_held
from botocore.exceptions import ClientError
from embedded_aws import EmbeddedAws, Served
from hosting import Hosting

from trainmaster.aws.polling import Patience
from trainmaster.endpoints.deploying import delete_endpoint
from trainmaster.endpoints.watch.stopping import take_away

OURS, THEIRS = "installation-of-ours", "installation-of-others"
TAG = "trainmaster:installation"


def refused(call: Callable[..., Any], **request: Any) -> str:
    """The code AWS refuses it with, which must be one of a permission that is lacking."""
    with pytest.raises(ClientError) as error:
        call(**request)
    assert error.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403, error.value
    return str(error.value.response["Error"]["Code"])


@pytest.fixture(scope="module")
def worker(embedded: EmbeddedAws) -> Served:
    bucket = embedded.environment["TRAINMASTER_BUCKET"]
    names = ("worker", "worker-workspaces", "worker-public-api")
    documents = [roles_held.policy(name, bucket, INSTALLATION=OURS) for name in names]
    return roles_held.session(embedded, roles_held.role_with(embedded, *documents))


def test_a_role_without_policies_may_ask_who_it_is_and_nothing_else(embedded: EmbeddedAws) -> None:
    nobody = roles_held.session(embedded, roles_held.role_with(embedded))
    bucket = embedded.environment["TRAINMASTER_BUCKET"]
    assert ":assumed-role/held-" in nobody.client("sts").get_caller_identity()["Arn"]
    assert refused(nobody.client("sagemaker").list_training_jobs) == "AccessDeniedException"
    assert refused(nobody.client("iam").get_role, RoleName="x") == "AccessDenied"
    assert refused(nobody.client("ec2").describe_instances) == "UnauthorizedOperation"
    assert refused(nobody.client("logs").describe_log_streams, logGroupName="x") == "AccessDeniedException"
    assert refused(nobody.client("s3").get_object, Bucket=bucket, Key="x") == "AccessDenied"
    assert refused(nobody.client("s3").list_objects_v2, Bucket=bucket) == "AccessDenied"
    assert (
        refused(nobody.client("sagemaker-runtime").invoke_endpoint, EndpointName="x", Body=b"")
        == "AccessDeniedException"
    )


def test_a_worker_reads_and_writes_the_buckets_it_was_given_and_no_other(embedded: EmbeddedAws, worker: Served) -> None:
    s3, bucket, key = worker.client("s3"), embedded.environment["TRAINMASTER_BUCKET"], f"held/{uuid4().hex} & co"
    body = b"kept " * 1000
    s3.put_object(Bucket=bucket, Key=key, Body=body, Metadata={"a": "b"})
    found = s3.get_object(Bucket=bucket, Key=key)
    assert (found["Body"].read(), found["Metadata"]) == (body, {"a": "b"})
    assert s3.head_object(Bucket=bucket, Key=key)["ContentLength"] == len(body)
    assert [one["Key"] for one in s3.list_objects_v2(Bucket=bucket, Prefix=key)["Contents"]] == [key]
    s3.delete_object(Bucket=bucket, Key=key)
    assert refused(s3.get_object, Bucket=f"not-{bucket}", Key=key) == "AccessDenied"
    assert refused(s3.create_bucket, Bucket="mine-now") == "AccessDenied"


class TestOwnJobsOnly:
    """Two installations in one account: what bears the tag of the other is not to be touched."""

    @pytest.fixture
    def job(self, jobs: Any) -> Callable[[str], str]:
        """Starts a job of an installation, by the account's own keys."""
        return lambda whose: str(jobs.create("sleep", "300", Tags=[{"Key": TAG, "Value": whose}]))

    def test_a_job_of_another_installation_is_not_stopped(
        self, jobs: Any, worker: Served, job: Callable[[str], str]
    ) -> None:
        ours, theirs = job(OURS), job(THEIRS)
        sagemaker = worker.client("sagemaker")
        try:
            assert sagemaker.describe_training_job(TrainingJobName=theirs)["TrainingJobName"] == theirs
            assert refused(sagemaker.stop_training_job, TrainingJobName=theirs) == "AccessDeniedException"
            assert jobs.describe(theirs)["TrainingJobStatus"] == "InProgress"
            sagemaker.stop_training_job(TrainingJobName=ours)
            assert jobs.finished(ours)["TrainingJobStatus"] == "Stopped"
        finally:
            jobs.sagemaker.stop_training_job(TrainingJobName=theirs)

    def test_nobody_makes_a_job_his_by_tagging_it(self, jobs: Any, worker: Served, job: Callable[[str], str]) -> None:
        theirs, sagemaker = job(THEIRS), worker.client("sagemaker")
        arn = jobs.describe(theirs)["TrainingJobArn"]
        try:
            assert refused(sagemaker.add_tags, ResourceArn=arn, Tags=[{"Key": TAG, "Value": OURS}])
            # IAM tells the keys of tags on a resource without regard to case, and SageMaker keeps both.
            assert refused(sagemaker.add_tags, ResourceArn=arn, Tags=[{"Key": TAG.title(), "Value": OURS}])
            assert refused(sagemaker.delete_tags, ResourceArn=arn, TagKeys=[TAG])
            sagemaker.add_tags(ResourceArn=arn, Tags=[{"Key": "note", "Value": "seen"}])
        finally:
            jobs.sagemaker.stop_training_job(TrainingJobName=theirs)

    def test_nobody_launches_in_the_name_of_another_or_of_none(self, jobs: Any, worker: Served) -> None:
        sagemaker = worker.client("sagemaker")
        for tags in ([], [{"Key": TAG, "Value": THEIRS}]):
            request = jobs.request("true", Tags=tags)
            assert refused(sagemaker.create_training_job, **request) == "AccessDeniedException"

    def test_no_other_role_is_handed_over(self, embedded: EmbeddedAws, jobs: Any, worker: Served) -> None:
        request = jobs.request("true", Tags=[{"Key": TAG, "Value": OURS}])
        assert request["RoleArn"].endswith("/TrainmasterExecutionRole")  # not the one of the policies
        said = refused(worker.client("sagemaker").create_training_job, **request)
        assert said == "AccessDeniedException"
        last = roles_held.asked(embedded, [role_of(worker)])[-1]
        assert (last["action"], last["allowed"]) == ("iam:PassRole", False)


@pytest.mark.parametrize("how", ["removed", "idle"])
def test_what_somebody_else_deletes_first_is_gone_and_no_refusal(
    embedded: EmbeddedAws, worker: Served, how: str
) -> None:
    """Of what is gone nobody knows whose it was: AWS denies what a policy ties to its tag."""
    hosting, name, sagemaker = Hosting(embedded), f"raced-{uuid4().hex[:8]}", worker.client("sagemaker")
    config = hosting.config(hosting.variant(hosting.model()))
    tags = [{"Key": TAG, "Value": OURS}]
    hosting.sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=config, Tags=tags)
    described = hosting.settled(name)

    def others_are_faster(**_: object) -> None:
        hosting.sagemaker.delete_endpoint(EndpointName=name)
        waiter = hosting.sagemaker.get_waiter("endpoint_deleted")
        waiter.wait(EndpointName=name, WaiterConfig={"Delay": 0.1, "MaxAttempts": 600})

    sagemaker.meta.events.register("before-call.sagemaker.DeleteEndpoint", others_are_faster)
    if how == "idle":
        assert not take_away(sagemaker, described)
    else:
        delete_endpoint(sagemaker, name, Patience(0.05, 1, 60))
    last = roles_held.asked(embedded, [role_of(worker)])
    assert [
        one["allowed"] for one in last if one["action"] == "sagemaker:DeleteEndpoint" and name in one["resource"]
    ] == [False]


def role_of(session: Served) -> str:
    return str(session.client("sts").get_caller_identity()["Arn"]).split("/")[-2]


def test_a_policy_changed_holds_at_once_and_a_deny_wins(embedded: EmbeddedAws) -> None:
    allow = {"Effect": "Allow", "Action": "sagemaker:List*", "Resource": "*"}
    deny = {"Effect": "Deny", "Action": "sagemaker:ListModels", "Resource": "*"}
    role = roles_held.role_with(embedded, {"Version": "2012-10-17", "Statement": [allow]})
    sagemaker = roles_held.session(embedded, role).client("sagemaker")
    sagemaker.list_models()
    document = json.dumps({"Version": "2012-10-17", "Statement": deny})
    embedded.client("iam").put_role_policy(RoleName=role, PolicyName="no", PolicyDocument=document)
    assert refused(sagemaker.list_models)
    sagemaker.list_endpoints()
