"""Service Quotas says what the account may run at once, and CreateTrainingJob holds everybody to it in AWS's words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

TYPE = "ml.t3.medium"
"""Of no other test: what is in use of it is this module's."""
NAP = "import time\nprint('up', flush=True)\ntime.sleep(600)\n"


@pytest.fixture(scope="module")
def service_quotas(embedded: Any) -> Any:
    return embedded.client("service-quotas")


@pytest.fixture
def allow(embedded: Any) -> Iterator[Any]:
    """Sets a quota, and all back to their defaults in the end."""

    def allow(name: str, value: float) -> Any:
        return embedded.control("POST", "quotas", {"quota": name, "value": value})

    yield allow
    embedded.control("DELETE", "quotas")


def resources(count: int = 1, **members: Any) -> dict[str, Any]:
    return {"ResourceConfig": {"InstanceType": TYPE, "InstanceCount": count, "VolumeSizeInGB": 1, **members}}


def listed(client: Any, operation: str) -> dict[str, dict[str, Any]]:
    pages = client.get_paginator(operation).paginate(ServiceCode="sagemaker", PaginationConfig={"PageSize": 100})
    found = [quota for page in pages for quota in page["Quotas"]]
    assert len({quota["QuotaCode"] for quota in found}) == len(found)
    return {quota["QuotaName"]: quota for quota in found}


def refused(call: Any, **request: Any) -> tuple[str, str]:
    with pytest.raises(ClientError) as refusal:
        call(**request)
    error = refusal.value.response["Error"]
    return error["Code"], error["Message"]


def test_every_type_has_its_quotas_over_several_pages(service_quotas: Any) -> None:
    applied, defaults = (
        listed(service_quotas, "list_service_quotas"),
        listed(service_quotas, "list_aws_default_service_quotas"),
    )
    assert len(applied) > 600
    assert applied["ml.m5.large for spot training job usage"]["Value"] == 40
    assert applied["ml.p4d.24xlarge for training job usage"]["Value"] == 0
    assert applied["ml.m5.large for training warm pool usage"]["Value"] == 0
    assert applied["Number of instances across all training jobs"]["QuotaCode"] == "L-00C91CB5"
    assert set(defaults) - set(applied) == {
        "Longest run time for a training job",
        "Maximum number of instances per training job",
        "Maximum number of instances per spot training job",
    }, "of some AWS tells the default only"
    longest = defaults["Longest run time for a training job"]
    assert (longest["Value"], longest["QuotaCode"]) == (432_000, "L-33A961FD")


def test_one_quota_is_told_by_its_code(service_quotas: Any, allow: Any) -> None:
    name = f"{TYPE} for training job usage"
    code = listed(service_quotas, "list_service_quotas")[name]["QuotaCode"]
    asked = {"ServiceCode": "sagemaker", "QuotaCode": code}
    allow(name, 7)
    assert service_quotas.get_service_quota(**asked)["Quota"]["Value"] == 7
    assert service_quotas.get_aws_default_service_quota(**asked)["Quota"]["Value"] == 20
    assert [each["Value"] for each in service_quotas.list_service_quotas(**asked)["Quotas"]] == [7]
    longest = {"ServiceCode": "sagemaker", "QuotaCode": "L-33A961FD"}
    assert refused(service_quotas.get_service_quota, **longest)[0] == "NoSuchResourceException"
    assert service_quotas.get_aws_default_service_quota(**longest)["Quota"]["Value"] == 432_000
    allow("Longest run time for a training job", 500_000)
    assert service_quotas.get_service_quota(**longest)["Quota"]["Value"] == 500_000


def test_an_increase_is_asked_for_once_and_granted_later(service_quotas: Any, allow: Any) -> None:
    name = "ml.p5.48xlarge for spot training job usage"
    code = listed(service_quotas, "list_service_quotas")[name]["QuotaCode"]
    asked = {"ServiceCode": "sagemaker", "QuotaCode": code}
    request = service_quotas.request_service_quota_increase(**asked, DesiredValue=2)["RequestedQuota"]
    assert (request["Status"], request["DesiredValue"], request["QuotaName"]) == ("PENDING", 2, name)
    again = refused(service_quotas.request_service_quota_increase, **asked, DesiredValue=3)
    assert again[0] == "ResourceAlreadyExistsException"
    less = refused(service_quotas.request_service_quota_increase, **asked, DesiredValue=0)
    assert less[0] == "IllegalArgumentException"
    unknown = refused(
        service_quotas.request_service_quota_increase, ServiceCode="sagemaker", QuotaCode="L-0", DesiredValue=3
    )
    assert unknown[0] == "NoSuchResourceException"
    allow(name, 2)

    def status() -> str:
        history = service_quotas.list_requested_service_quota_change_history_by_quota(**asked)["RequestedQuotas"]
        assert history[0] in service_quotas.list_requested_service_quota_change_history()["RequestedQuotas"]
        return str(history[0]["Status"])

    assert status() == "APPROVED"
    assert (
        service_quotas.get_requested_service_quota_change(RequestId=request["Id"])["RequestedQuota"]["Status"]
        == "APPROVED"
    )


def test_a_token_that_is_no_token_is_refused(service_quotas: Any) -> None:
    asked = {"ServiceCode": "sagemaker", "NextToken": "bm90aGluZw=="}
    assert refused(service_quotas.list_service_quotas, **asked)[0] == "InvalidPaginationTokenException"


def test_a_quota_that_is_set_is_kept_and_an_unknown_one_is_not_set(embedded: Any, allow: Any) -> None:
    assert allow("ml.m5.large for training job usage", 3)["quotas"]["ml.m5.large for training job usage"] == 3
    assert allow("ml.nope for training job usage", 3)["code"] == "NoSuchResourceException"
    assert "error" in embedded.control("POST", "quotas", {"quota": "ml.m5.large for training job usage"})
    assert embedded.control("GET", "quotas")["quotas"] == {"ml.m5.large for training job usage": 3}
    assert embedded.control("DELETE", "quotas") == {"quotas": {}}


def test_jobs_are_taken_up_to_the_quota_and_again_when_one_has_ended(jobs: Any, allow: Any) -> None:
    allow(f"{TYPE} for training job usage", 3)
    first = jobs.python(NAP, **resources(2))
    jobs.until_logged(first, "up")
    code, message = refused(jobs.sagemaker.create_training_job, **jobs.request("true", **resources(2)))
    assert code == "ResourceLimitExceeded"
    assert message.startswith(
        f"The account-level service limit '{TYPE} for training job usage' is 3 Instances, with current utilization of 2"
        " Instances and a request delta of 2 Instances."
    )
    spot = {
        "EnableManagedSpotTraining": True,
        "StoppingCondition": {"MaxRuntimeInSeconds": 60, "MaxWaitTimeInSeconds": 60},
    }
    jobs.finished(jobs.create("true", **resources(), **spot))  # of spot instances there is a quota of its own
    jobs.finished(jobs.create("true", **resources()))  # the third
    jobs.sagemaker.stop_training_job(TrainingJobName=first)
    jobs.finished(first)
    jobs.finished(jobs.create("true", **resources(2)))


@pytest.mark.parametrize(
    ("quota", "value", "said"),
    [
        ("Longest run time for a training job", 99, "is 99 Seconds, with current utilization of 0 Seconds and a request delta of 100"),
        ("Maximum number of instances per training job", 1, "is 1 Instances, with current utilization of 0 Instances"),
        ("Number of instances across all training jobs", 1, "and a request delta of 2 Instances"),
    ],
)  # fmt: skip
def test_the_quotas_that_hold_for_all_types_are_held_too(
    jobs: Any, allow: Any, quota: str, value: int, said: str
) -> None:
    allow(quota, value)
    code, message = refused(jobs.sagemaker.create_training_job, **jobs.request("true", **resources(2)))
    assert (code, f"'{quota}'" in message, said in message) == ("ResourceLimitExceeded", True, True), message
