"""What the embedded AWS keeps of quotas and warm pools, over restarts and at every moment of a pool's life."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainmaster.embedded.faults import Faults
from trainmaster.embedded.sagemaker.account import Account
from trainmaster.embedded.sagemaker.namespaces import EnvironmentOnly
from trainmaster.embedded.sagemaker.records import Records
from trainmaster.embedded.sagemaker.training import limits, warm_pools
from trainmaster.embedded.sagemaker.training.runner import KIND
from trainmaster.embedded.sagemaker.training.service import TrainingService
from trainmaster.embedded.sagemaker.wire import AwsError
from trainmaster.embedded.service_quotas import Quotas, defaults

NOWHERE = "http://127.0.0.1:9"
P4D = "ml.p4d.24xlarge for training job usage"


@pytest.fixture
def account(tmp_path: Path) -> Iterator[Account]:
    records = Records(tmp_path / "records.db")
    yield Account(tmp_path, records, NOWHERE, NOWHERE, "key", "secret", stop_grace=5)
    records.close()


def job(ended: float, period: int, **members: Any) -> dict[str, Any]:
    """A completed one that kept its instance."""
    resources = {"InstanceType": "ml.m7i.large", "InstanceCount": 1, "KeepAlivePeriodInSeconds": period}
    made = {
        "TrainingJobName": "cats", "TrainingJobStatus": "Completed", "SecondaryStatus": "Completed", "ResourceConfig": resources,
        "TrainingEndTime": ended, "CreationTime": ended - 60, "LastModifiedTime": ended,
        "WarmPoolStatus": {"Status": "InUse"},
    }  # fmt: skip
    made |= members
    warm_pools.keep(made)
    return made


def pool(of: dict[str, Any]) -> tuple[str, int]:
    status = of["WarmPoolStatus"]
    return status["Status"], status["ResourceRetainedBillableTimeInSeconds"]


def test_quotas_and_requests_are_there_again_after_a_restart(tmp_path: Path) -> None:
    quotas = Quotas(tmp_path)
    quotas.apply(P4D, 1)
    quotas.ask({"QuotaName": P4D, "Status": "PENDING", "DesiredValue": 2})
    again = Quotas(tmp_path)
    assert (again.value(P4D), again.requests()[0]["DesiredValue"]) == (1, 2)
    again.apply(P4D, 2)
    assert Quotas(tmp_path).requests()[0]["Status"] == "APPROVED"
    again.reset()
    assert (Quotas(tmp_path).value(P4D), Quotas(tmp_path).value("nothing of the kind")) == (0, None)


def test_every_quota_has_a_code_of_its_own() -> None:
    assert len({quota.code for quota in defaults().values()}) == len(defaults())


@given(period=st.integers(1, 3600), elapsed=st.lists(st.floats(0, 4000), min_size=1, max_size=6))
def test_a_pool_is_billed_ever_more_and_never_for_longer_than_it_was_to_be_kept(
    period: int, elapsed: list[float]
) -> None:
    kept, billed = job(1000.0, period), 0
    for seconds in sorted(elapsed):
        warm_pools.settle(kept, 1000.0 + seconds)
        status, now = pool(kept)
        assert billed <= now <= period
        assert status == ("Terminated" if seconds >= period else "Available")
        billed = now


def test_a_pool_that_was_taken_over_is_billed_no_further() -> None:
    kept = job(1000.0, 600)
    warm_pools.reuse(kept, "dogs", 1010.0)
    warm_pools.settle(kept, 9999.0)
    assert (pool(kept), kept["WarmPoolStatus"]["ReusedByJob"]) == (("Reused", 10), "dogs")


def test_a_longer_period_keeps_a_pool_and_none_ends_it() -> None:
    kept = job(1000.0, 600)
    warm_pools.change(kept, 1200, 1100.0)
    warm_pools.settle(kept, 1700.0)
    assert pool(kept) == ("Available", 700)
    warm_pools.change(kept, 0, 1800.0)
    assert pool(kept)[0] == "Terminated"


@pytest.mark.parametrize("status", ["Failed", "Stopped"])
def test_only_a_completed_job_keeps_anything(status: str) -> None:
    assert pool(job(1000.0, 600, TrainingJobStatus=status)) == ("Terminated", 0)


@pytest.mark.parametrize(
    ("other", "matches"),
    [
        ({}, True),
        ({"RoleArn": "another"}, False),
        ({"EnableManagedSpotTraining": True}, False),
        (
            {"ResourceConfig": {"InstanceType": "ml.m7i.large", "InstanceCount": 2, "KeepAlivePeriodInSeconds": 60}},
            False,
        ),
        ({"ResourceConfig": {"InstanceType": "ml.m7i.large", "InstanceCount": 1}}, False),
        ({"ResourceConfig": {"InstanceType": "ml.m7i.large", "InstanceCount": 1, "KeepAlivePeriodInSeconds": 9}}, True),
    ],
)
def test_a_pool_is_for_a_job_that_asks_for_the_same_instances_and_keeps_them(
    other: dict[str, Any], matches: bool
) -> None:
    kept = job(1000.0, 600)
    asked = {"ResourceConfig": dict(kept["ResourceConfig"]), **other}
    assert (warm_pools.matching([kept], asked) is kept) == matches


def test_a_pool_ends_in_time_and_counts_until_then_though_the_embedded_aws_was_killed_meanwhile(
    account: Account,
) -> None:
    now = time.time()
    for name, ended in (("cats", now - 700), ("dogs", now - 10)):
        account.records.create(KIND, name, account.arn(KIND, name), job(ended, 600, TrainingJobName=name))
    service = TrainingService(account, Faults(), EnvironmentOnly("a test"))
    service.recover()
    listed = service.operations["ListTrainingJobs"]({})["TrainingJobSummaries"]
    service.close()
    statuses = {each["TrainingJobName"]: each["WarmPoolStatus"] for each in listed}
    assert statuses["cats"] == {"Status": "Terminated", "ResourceRetainedBillableTimeInSeconds": 600}
    assert statuses["dogs"]["Status"] == "Available"


def request(instances: int, *, spot: bool = False) -> dict[str, Any]:
    resources = {"InstanceType": "ml.m5.large", "InstanceCount": instances}
    return {
        "ResourceConfig": resources, "EnableManagedSpotTraining": spot, "StoppingCondition": {"MaxRuntimeInSeconds": 60},
    }  # fmt: skip


@given(
    running=st.lists(st.tuples(st.integers(1, 5), st.booleans()), max_size=8),
    asked=st.integers(1, 5),
    spot=st.booleans(),
    allowed=st.integers(0, 20),
)
def test_a_job_is_taken_exactly_when_it_fits_with_those_of_its_kind(
    running: list[tuple[int, bool]], asked: int, spot: bool, allowed: int
) -> None:
    name = f"ml.m5.large for {'spot ' if spot else ''}training job usage"
    used = sum(count for count, of_spot in running if of_spot == spot)
    jobs = [request(count, spot=of_spot) for count, of_spot in running]

    def check() -> None:
        limits.check(request(asked, spot=spot), jobs, [], {name: allowed}.get)

    if used + asked <= allowed:
        check()
    else:
        with pytest.raises(AwsError, match=f"current utilization of {used} Instances") as refused:
            check()
        assert refused.value.code == "ResourceLimitExceeded"
