"""How many instances there may be, and what becomes of a variant's settings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from trainmaster.embedded.sagemaker.account import Account
from trainmaster.embedded.sagemaker.records import Records
from trainmaster.embedded.sagemaker.serving.description import described
from trainmaster.embedded.sagemaker.serving.plan import QUOTA, VariantPlan, check_quota, restored, stored
from trainmaster.embedded.sagemaker.wire import AwsError

PLAN = VariantPlan(
    name="AllTraffic", image="image", artifact="s3://b/model.tar.gz", artifact_is_prefix=False, environment={"A": "1"},
    instance_type="ml.m5.large", instances=1, weight=1.0,
)  # fmt: skip


@pytest.fixture
def account(tmp_path: Path) -> Iterator[Account]:
    records = Records(tmp_path / "sagemaker.db")
    nowhere = "http://127.0.0.1:9"
    yield Account(
        state=tmp_path, records=records, endpoint_url=nowhere, inside_url=nowhere, s3_endpoint_url=nowhere,
        access_key_id="AKIA", secret_access_key="secret",
    )  # fmt: skip
    records.close()


def endpoint(account: Account, name: str, plan: list[VariantPlan], pending: list[VariantPlan] | None = None) -> None:
    coming: dict[str, Any] | None = {"Plan": stored(pending)} if pending else None
    body = {"EndpointName": name, "Plan": stored(plan), "Pending": coming}
    account.records.create("endpoint", name, name, body)


def test_a_plan_comes_back_from_the_record_as_it_was() -> None:
    assert restored(stored([PLAN])) == [PLAN]


def test_instances_on_their_way_count_against_the_quota_of_their_type(account: Account) -> None:
    endpoint(account, "serving", [replace(PLAN, instances=QUOTA - 5)])
    endpoint(account, "creating", [], pending=[replace(PLAN, instances=3)])
    endpoint(account, "failed", [])

    check_quota(account, "new", [replace(PLAN, instances=2)])
    check_quota(account, "new", [replace(PLAN, instances=QUOTA, instance_type="ml.c5.large")])
    check_quota(account, "serving", [replace(PLAN, instances=QUOTA - 3)])
    with pytest.raises(
        AwsError, match=r"is 20 Instances, with current utilization of 18 Instances and a request delta of 3"
    ):
        check_quota(account, "new", [replace(PLAN, instances=2), replace(PLAN, name="other", instances=1)])


def test_while_a_variant_is_resized_both_what_it_has_and_what_it_gets_are_told() -> None:
    pending = {"Plan": stored([replace(PLAN, weight=2.0, instances=3)]), "Resize": True, "StartTime": 2.0}
    body = {"EndpointConfigName": "c", "Plan": stored([PLAN]), "Pending": pending, "DeployedTime": 1.0}

    [variant] = described(body)["ProductionVariants"]

    assert (variant["CurrentWeight"], variant["DesiredWeight"]) == (1.0, 2.0)
    assert (variant["CurrentInstanceCount"], variant["DesiredInstanceCount"]) == (1, 3)
    assert variant["VariantStatus"] == [{"Status": "Updating", "StartTime": 2.0}]
    assert "PendingDeploymentSummary" not in described(body)
