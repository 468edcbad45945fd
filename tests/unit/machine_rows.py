"""Rows of workspaces on EC2 that nobody keeps, and parts of them as EC2 might describe."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from trainmaster.workspaces.machines.parts import Group, Machine, Volume
from trainmaster.workspaces.machines.plan import client_token, names_of
from trainmaster.workspaces.templates.template import Template
from trainmaster.workspaces.workspace import Workspace

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
INSTANCE, VOLUME, GROUP = "i-0123456789abcdef0", "vol-0123456789abcdef0", "sg-0123456789abcdef0"


def template(connection_type: str = "ssh", **service: Any) -> Template:
    config = {"ami_parameter": "/an/ami", "default_instance_type": "t3.large", **service}
    return Template.model_validate(
        {
            "name": "box",
            "description": "A machine",
            "service_type": "ec2",
            "connection_type": connection_type,
            "service_config": config,
        }
    )


def workspace(connection_type: str = "ssh", address: str = "", **changed: Any) -> Workspace:
    made_of = template(connection_type, direct_access=bool(address))
    values: dict[str, Any] = {
        "id": UUID(int=7),
        "user_id": UUID(int=8),
        "name": "box",
        "template": "box",
        "service_type": "ec2",
        "connection_type": made_of.connection_type,
        "account": "123456789012",
        "region": "eu-west-1",
        "team": "",
        "instance_type": "t3.large",
        "volume_gb": 20,
        "hourly_cost": Decimal("0.1"),
        "storage_hourly_cost": Decimal("0.01"),
        "fingerprint": "f",
        "status": "running",
        "created_at": NOON,
        "spec": {"template": made_of.model_dump(mode="json"), "address": address},
    }
    return Workspace(**values | changed)


def machine(of: Workspace, **changed: Any) -> Machine:
    """As it should be, running."""
    values: dict[str, Any] = {
        "id": INSTANCE,
        "state": "running",
        "instance_type": of.instance_type,
        "client_token": client_token(of),
        "launched_at": NOON,
        "volume_id": VOLUME,
        "groups": (GROUP,),
        "http_tokens": "required",
        "tags": names_of(of),
        "address": "198.51.100.4",
    }
    return Machine(**values | changed)


def volume(of: Workspace, **changed: Any) -> Volume:
    values: dict[str, Any] = {
        "id": VOLUME,
        "size_gb": of.volume_gb,
        "encrypted": True,
        "state": "in-use",
        "attached_to": INSTANCE,
    }
    return Volume(**values | changed)


def group(*rules: Any) -> Group:
    return Group(GROUP, frozenset(rules))
