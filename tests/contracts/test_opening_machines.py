"""The shipped templates of EC2 opened, stopped, changed and deleted as anybody does: under policy, price and budget."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from desks import desk_at
from ec2_workspaces import groups, instances, living, volumes

from trainmaster.budget.metering import Meters
from trainmaster.errors import OverBudgetError, RefusedError
from trainmaster.training.desk import Desk
from trainmaster.workspaces.closing import close_workspace
from trainmaster.workspaces.opening import open_workspace, planned, start_workspace
from trainmaster.workspaces.request import CloseWorkspaceRequest, OpenWorkspaceRequest
from trainmaster.workspaces.workspace import Workspace

SHIPPED = Path(__file__).parents[2] / "deployments" / "workspaces"
OURS = """
extends: python-ml
name: reached-directly
description: A machine somebody reaches by its address
service_config:
  direct_access: true
  shared_efs: false
"""


@pytest.fixture
def desk(embedded: Any, tmp_path: Path, user_id: UUID) -> Iterator[Desk]:
    folder = tmp_path / "templates"
    folder.mkdir()
    for file in SHIPPED.glob("*.yaml"):
        (folder / file.name).write_text(file.read_text())
    (folder / "reached-directly.yaml").write_text(OURS)
    environment = {**embedded.environment, "TRAINMASTER_USER_ID": str(user_id)}
    named = f"of-{user_id.hex[:8]}"
    with desk_at(tmp_path, environment, workspace_templates=folder, poll_seconds=0.05, studio_domain=named) as desk:
        yield desk
        for one in desk.catalogue.workspaces.of(user_id):
            close_workspace(desk, CloseWorkspaceRequest(name=one.name, action="delete", dry_run=False))


def wanted(template: str = "python-ml", **changed: Any) -> OpenWorkspaceRequest:
    return OpenWorkspaceRequest(template=template, name="box", **changed)


def metered(desk: Desk, workspace: Workspace) -> set[str]:
    return {meter.part for meter in Meters(desk.ledger).running(workspace.resource)}


@pytest.mark.parametrize("template", ["python-ml", "ubuntu-desktop"])
def test_a_shipped_template_opens_closes_and_leaves_nothing(desk: Desk, user_id: UUID, template: str) -> None:
    told = planned(desk, wanted(template))
    assert told.violations == ()
    assert [step.sentence() for step in told.steps][-1] == f"run instance {told.workspace.slug}"
    opened = open_workspace(desk, wanted(template)).workspace
    assert opened.status == "running"
    assert metered(desk, opened) == {"machine", "storage"}
    assert open_workspace(desk, wanted(template)).steps == ()
    (machine,) = instances(desk, opened)
    assert {tag["Key"]: tag["Value"] for tag in machine["Tags"]}["trainmaster:owner"] == str(user_id)
    close_workspace(desk, CloseWorkspaceRequest(name="box", action="stop"))
    assert metered(desk, opened) == {"storage"}
    close_workspace(desk, CloseWorkspaceRequest(name="box", action="delete", dry_run=False))
    assert metered(desk, opened) == set()
    assert (living(desk, opened), volumes(desk, opened), groups(desk, opened)) == ([], [], [])


def test_another_instance_type_is_the_same_machine_with_its_files_at_its_own_price(desk: Desk) -> None:
    opened = open_workspace(desk, wanted()).workspace
    (before,) = living(desk, opened)
    dearer = start_workspace(desk, opened.user_id, "box", instance_type="m5.2xlarge").workspace
    (after,) = living(desk, opened)
    assert after["InstanceId"] == before["InstanceId"]
    assert after["BlockDeviceMappings"][0]["Ebs"]["VolumeId"] == before["BlockDeviceMappings"][0]["Ebs"]["VolumeId"]
    assert after["InstanceType"] == "m5.2xlarge"
    assert (opened.hourly_cost, dearer.hourly_cost) == (Decimal("0.1664"), Decimal("0.384"))
    assert metered(desk, dearer) == {"machine", "storage"}


def test_the_hourly_limit_it_was_opened_with_holds_for_another_instance_type_and_leaves_it_running(desk: Desk) -> None:
    opened = open_workspace(desk, wanted(max_hourly_cost="0.20")).workspace
    (before,) = living(desk, opened)
    with pytest.raises(OverBudgetError, match=r"\$0\.39.* an hour.*the request allows at most \$0\.20"):
        start_workspace(desk, opened.user_id, "box", instance_type="m5.2xlarge")
    (after,) = living(desk, opened)
    assert (after["InstanceId"], after["InstanceType"]) == (before["InstanceId"], opened.instance_type)
    assert after["State"]["Name"] == "running"
    row = desk.catalogue.workspaces.get(opened.user_id, "box")
    assert (row.instance_type, row.hourly_cost) == (opened.instance_type, opened.hourly_cost)


def test_a_template_with_direct_access_wants_to_know_whose_address(desk: Desk, user_id: UUID) -> None:
    with pytest.raises(RefusedError, match="--address"):
        open_workspace(desk, wanted("reached-directly"))
    with pytest.raises(RefusedError, match="opens no port"):
        open_workspace(desk, wanted(address="203.0.113.7"))
    assert desk.catalogue.workspaces.of(user_id) == []
    opened = open_workspace(desk, wanted("reached-directly", address="203.0.113.7")).workspace
    (group,) = groups(desk, opened)
    assert [one["CidrIp"] for rule in group["IpPermissions"] for one in rule["IpRanges"]] == ["203.0.113.7/32"]
    open_workspace(desk, wanted("reached-directly", address="198.51.100.9"))
    (group,) = groups(desk, opened)
    assert [one["CidrIp"] for rule in group["IpPermissions"] for one in rule["IpRanges"]] == ["198.51.100.9/32"]
