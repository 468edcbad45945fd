"""Rows of workspaces on EC2 for tests, and what the embedded EC2 has of them."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from trainmaster.training.desk import Desk
from trainmaster.workspaces.tags import WORKSPACE_TAG
from trainmaster.workspaces.workspace import Workspace, workspace_id_of

UBUNTU = "/aws/service/canonical/ubuntu/server/24.04/stable/current/amd64/hvm/ebs-gp3/ami-id"
SERVICE = {
    "ami_parameter": UBUNTU,
    "default_instance_type": "t3.large",
    "packages": ("git", "tmux"),
    "volume_gb": 30,
}


def row(
    desk: Desk, *, connection_type: str = "ssh", service: Mapping[str, Any] | None = None, **changed: Any
) -> Workspace:
    """One that nobody else has, begun in the catalogue."""
    user_id = changed.pop("user_id", None) or uuid.uuid4()
    name = changed.pop("name", None) or f"box-{uuid.uuid4().hex[:8]}"
    template = {
        "name": "python-ml",
        "description": "A machine of a test",
        "service_type": "ec2",
        "connection_type": connection_type,
        "service_config": {**SERVICE, **(service or {})},
        "image": changed.pop("image", None),
    }
    values: dict[str, Any] = {
        "id": workspace_id_of(user_id, name),
        "user_id": user_id,
        "name": name,
        "template": "python-ml",
        "service_type": "ec2",
        "connection_type": connection_type,
        "account": desk.account,
        "region": desk.settings.region,
        "team": "vision",
        "instance_type": "t3.large",
        "volume_gb": 30,
        "hourly_cost": Decimal("0.0832"),
        "storage_hourly_cost": Decimal("0.0033"),
        "fingerprint": "f" * 16,
        "status": "pending",
        "created_at": desk.ledger.now(),
        "spec": {"template": template, "tags": {"project": "cats"}, "address": changed.pop("address", "")},
    }
    return desk.catalogue.workspaces.begin(Workspace(**values | changed))


def again(desk: Desk, workspace: Workspace) -> Workspace:
    """Its row as it is now."""
    return desk.catalogue.workspaces.get(workspace.user_id, workspace.name)


def instances(desk: Desk, workspace: Workspace) -> list[dict[str, Any]]:
    """Those tagged as its, whatever became of them."""
    found = desk.client("ec2").describe_instances(Filters=[_of(workspace)])["Reservations"]
    return [one for reservation in found for one in reservation["Instances"]]


def living(desk: Desk, workspace: Workspace) -> list[dict[str, Any]]:
    return [one for one in instances(desk, workspace) if one["State"]["Name"] != "terminated"]


def volumes(desk: Desk, workspace: Workspace) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = desk.client("ec2").describe_volumes(Filters=[_of(workspace)])["Volumes"]
    return found


def groups(desk: Desk, workspace: Workspace) -> list[dict[str, Any]]:
    named = [{"Name": "group-name", "Values": [workspace.slug]}]
    found: list[dict[str, Any]] = desk.client("ec2").describe_security_groups(Filters=named)["SecurityGroups"]
    return found


def _of(workspace: Workspace) -> dict[str, Any]:
    return {"Name": f"tag:{WORKSPACE_TAG}", "Values": [workspace.slug]}
