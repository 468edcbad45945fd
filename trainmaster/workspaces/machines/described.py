"""The parts of many workspaces as EC2 describes them, in a number of calls that grows with hundreds of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from uuid import UUID

from trainmaster.training.desk import Desk
from trainmaster.workspaces.machines.parts import Group, Machine, Parts, Volume, chosen, group_of, machine_of, volume_of
from trainmaster.workspaces.machines.plan import client_token, tokens_of
from trainmaster.workspaces.tags import WORKSPACE_TAG
from trainmaster.workspaces.workspace import Workspace

FILTERED = 200
"""Values one filter of EC2 takes."""


def described(desk: Desk, workspaces: Sequence[Workspace]) -> Mapping[UUID, Parts]:
    """What there is of each, by its id. Raises botocore's errors."""
    ec2 = desk.client("ec2")
    machines = _machines(ec2, workspaces)
    volumes = _volumes(ec2, workspaces, machines)
    groups = _groups(ec2, workspaces)
    return {one.id: Parts(machines.get(one.id), volumes.get(one.id), groups.get(one.id)) for one in workspaces}


def leftover_volumes(desk: Desk, workspace: Workspace) -> tuple[str, ...]:
    """Volumes that were made for it and no instance has; those on their way out left out."""
    found = _found(desk.client("ec2"), "describe_volumes", "Volumes", f"tag:{WORKSPACE_TAG}", [workspace.slug])
    return tuple(one["VolumeId"] for one in found if one["State"] in ("available", "error"))


def _machines(ec2: Any, workspaces: Sequence[Workspace]) -> dict[UUID, Machine]:
    """By the id that was written down, else by the tag: whoever takes a tag away by hand hides nothing that is known."""
    by_id = {id_: one.id for one in workspaces if (id_ := one.resources.get("instance_id"))}
    by_slug = {one.slug: one.id for one in workspaces if one.id not in by_id.values()}
    found: dict[UUID, list[Machine]] = defaultdict(list)
    for machine in _instances(ec2, "instance-id", list(by_id)):
        found[by_id[machine.id]].append(machine)
    for machine in _instances(ec2, f"tag:{WORKSPACE_TAG}", list(by_slug)):
        found[by_slug[machine.tags[WORKSPACE_TAG]]].append(machine)
    ours = {one.id: chosen(found[one.id], tokens_of(one), client_token(one)) for one in workspaces}
    return {id_: machine for id_, machine in ours.items() if machine}


def _volumes(ec2: Any, workspaces: Sequence[Workspace], machines: Mapping[UUID, Machine]) -> dict[UUID, Volume]:
    ids = {
        one.resources.get("volume_id") or (machines[one.id].volume_id if one.id in machines else ""): one.id
        for one in workspaces
    }
    found = _found(ec2, "describe_volumes", "Volumes", "volume-id", [id_ for id_ in ids if id_])
    return {ids[one["VolumeId"]]: volume_of(one) for one in found}


def _groups(ec2: Any, workspaces: Sequence[Workspace]) -> dict[UUID, Group]:
    by_name = {one.slug: one.id for one in workspaces}
    found = _found(ec2, "describe_security_groups", "SecurityGroups", "group-name", list(by_name))
    return {by_name[one["GroupName"]]: group_of(one) for one in found}


def _instances(ec2: Any, name: str, values: list[str]) -> Iterator[Machine]:
    for reservation in _found(ec2, "describe_instances", "Reservations", name, values):
        yield from map(machine_of, reservation["Instances"])


def _found(ec2: Any, operation: str, member: str, name: str, values: list[str]) -> Iterator[dict[str, Any]]:
    """What a filter finds. By ids EC2 would refuse to describe any where one is gone."""
    for first in range(0, len(values), FILTERED):
        some = values[first : first + FILTERED]
        pages = ec2.get_paginator(operation).paginate(Filters=[{"Name": name, "Values": some}])
        for page in pages:
            yield from page[member]
