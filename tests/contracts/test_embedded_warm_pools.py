"""Instances that a job keeps warm: billed to the second, taken over by the next job alike, given back in time or on request."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError
from hosting import Holding

TYPE = "ml.m7i.large"
"""Its default quota lets instances be kept."""


@pytest.fixture(autouse=True)
def _default_quotas(embedded: Any) -> Iterator[None]:
    yield
    embedded.control("DELETE", "quotas")


def kept(seconds: int, **members: Any) -> dict[str, Any]:
    config = {"InstanceType": TYPE, "InstanceCount": 1, "VolumeSizeInGB": 1, "KeepAlivePeriodInSeconds": seconds}
    return {"ResourceConfig": config | members}


def pool_of(jobs: Any, name: str, status: str) -> dict[str, Any]:
    """The pool's status once it is this one."""
    deadline = time.monotonic() + 90
    while (pool := jobs.describe(name)["WarmPoolStatus"])["Status"] != status:
        assert time.monotonic() < deadline, pool
        time.sleep(0.1)
    return dict(pool)


def give_back(jobs: Any, name: str) -> None:
    jobs.sagemaker.update_training_job(TrainingJobName=name, ResourceConfig={"KeepAlivePeriodInSeconds": 0})


def test_a_pool_is_in_use_then_available_then_terminated_and_its_time_is_billed(jobs: Any) -> None:
    with Holding() as holding:
        name = jobs.python(f"import socket; socket.create_connection(('127.0.0.1', {holding.port})).recv(1)", **kept(2))
        holding.wait_for(1)
        assert jobs.describe(name)["WarmPoolStatus"] == {"Status": "InUse"}
    ended = jobs.finished(name)
    assert ended["WarmPoolStatus"]["Status"] in ("Available", "Terminated")
    assert pool_of(jobs, name, "Terminated") == {"Status": "Terminated", "ResourceRetainedBillableTimeInSeconds": 2}
    assert jobs.describe(name)["BillableTimeInSeconds"] == ended["BillableTimeInSeconds"], "that is of the job alone"


def test_the_next_job_alike_takes_the_pool_over(jobs: Any) -> None:
    first = jobs.python("", **kept(600))
    jobs.finished(first)
    other = jobs.python("", **kept(600, VolumeSizeInGB=2))
    jobs.finished(other)
    assert jobs.describe(first)["WarmPoolStatus"]["Status"] == "Available", "the other asked for another disk"
    second = jobs.python("", **kept(600))
    pool = jobs.describe(first)["WarmPoolStatus"]
    assert (pool["Status"], pool["ReusedByJob"]) == ("Reused", second)
    jobs.finished(second)
    for name in (other, second):
        give_back(jobs, name)


def test_a_pool_that_is_not_wanted_any_more_is_given_back(jobs: Any) -> None:
    name = jobs.python("", **kept(3600))
    jobs.finished(name)
    give_back(jobs, name)
    pool = jobs.describe(name)["WarmPoolStatus"]
    assert pool["Status"] == "Terminated"
    assert pool["ResourceRetainedBillableTimeInSeconds"] < 3600
    with pytest.raises(ClientError, match="has no warm pool to update"):
        give_back(jobs, name)


def test_a_job_that_fails_keeps_nothing(jobs: Any) -> None:
    name = jobs.create("false", **kept(600))
    assert jobs.finished(name)["WarmPoolStatus"] == {"Status": "Terminated", "ResourceRetainedBillableTimeInSeconds": 0}


def test_what_is_kept_counts_against_its_own_quota(jobs: Any, embedded: Any) -> None:
    embedded.control("POST", "quotas", {"quota": f"{TYPE} for training warm pool usage", "value": 1})
    first = jobs.python("", **kept(600))
    jobs.finished(first)
    with pytest.raises(ClientError, match="for training warm pool usage' is 1 Instances") as refused:
        jobs.python("", **kept(600, VolumeSizeInGB=2))
    assert refused.value.response["Error"]["Code"] == "ResourceLimitExceeded"
    second = jobs.python("", **kept(600))  # the same instance, not one more
    jobs.finished(second)
    give_back(jobs, second)
