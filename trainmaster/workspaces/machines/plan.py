"""What is lacking until a workspace on EC2 runs as it should, what it comes to when it goes, and how it differs. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from trainmaster.workspaces.kinds import Step
from trainmaster.workspaces.machines.parts import Machine, Parts, Rule
from trainmaster.workspaces.tags import tags_of
from trainmaster.workspaces.workspace import Status, Workspace

_STATUSES: Mapping[str, Status] = {
    "pending": "starting",
    "running": "running",
    "stopping": "stopping",
    "stopped": "stopped",
    "shutting-down": "deleting",
}


@dataclass(frozen=True)
class Wanted:
    """How its parts are to be. `launch` is what RunInstances is to be asked with, as far as it is known by now."""

    rules: frozenset[Rule] = frozenset()
    launch: Mapping[str, Any] = field(default_factory=dict)


def tokens_of(workspace: Workspace) -> str:
    """How the client tokens of its instances begin, those of the names it had before it was deleted left out."""
    return f"{workspace.id.hex}-{workspace.incarnation}-"


def launch_of(workspace: Workspace) -> int:
    """The how many-th instance of it is the one to be: those before never came to run."""
    return int(workspace.resources.get("launch", "1"))


def client_token(workspace: Workspace) -> str:
    """With which RunInstances makes one instance, however often and by however many it is asked."""
    return f"{tokens_of(workspace)}{launch_of(workspace)}"


def names_of(workspace: Workspace) -> dict[str, str]:
    """The tags of all its parts."""
    return {**tags_of(workspace), "Name": workspace.slug}


def status_of(workspace: Workspace, parts: Parts) -> tuple[Status, str]:
    """How it stands, and why where that takes a word.

    Nothing to be seen is `pending` before its volume was once: what was just made AWS may not show for a while.
    """
    machine = parts.machine
    if machine is None or machine.state == "terminated":
        return _without_machine(workspace, parts)
    return _STATUSES.get(machine.state, "unknown"), ""


def _without_machine(workspace: Workspace, parts: Parts) -> tuple[Status, str]:
    reason = f" ({parts.machine.reason})" if parts.machine and parts.machine.reason else ""
    if "volume_id" not in workspace.resources:
        return ("failed", f"AWS ended its instance before it ran{reason}") if parts.machine else ("pending", "")
    if parts.volume:
        return "failed", f"its instance was terminated{reason}; its files are still on volume {parts.volume.id}"
    return "missing", f"its instance and its volume are gone{reason}"


def plan_open(workspace: Workspace, wanted: Wanted, parts: Parts, *, has_profile: bool) -> list[Step]:
    """What is to be done, in order; nothing while AWS is at work on it, or it can only be deleted. A machine that runs is never interrupted."""
    steps = [] if has_profile else [Step("create", "instance profile", PROFILE)]
    steps += _of_group(workspace, wanted, parts)
    machine = parts.machine
    if machine is None or machine.is_gone:
        return steps if "volume_id" in workspace.resources else [*steps, _run(workspace, wanted, parts)]
    steps += _put_right(workspace, machine)
    if machine.state == "stopped":
        if machine.instance_type != workspace.instance_type:
            changed = {"InstanceId": machine.id, "InstanceType": {"Value": workspace.instance_type}}
            steps.append(
                Step("change", "instance type", f"{machine.instance_type} to {workspace.instance_type}", changed)
            )
        steps.append(Step("start", "instance", machine.id, {"InstanceIds": [machine.id]}))
    return steps


PROFILE = "trainmaster-workspaces"
"""Role and instance profile of all workspaces on EC2."""


def plan_delete(parts: Parts, leftover: tuple[str, ...]) -> list[Step]:
    """What is to be taken away next, in order; `leftover` are volumes of it that no instance has."""
    if parts.machine and not parts.machine.is_gone:
        return [Step("terminate", "instance", parts.machine.id, {"InstanceIds": [parts.machine.id]})]
    steps = [Step("delete", "volume", id_, {"VolumeId": id_}) for id_ in leftover]
    if parts.group:
        steps.append(Step("delete", "security group", parts.group.id, {"GroupId": parts.group.id}))
    return steps


def drift_of(workspace: Workspace, wanted: Wanted, parts: Parts) -> tuple[str, ...]:
    """In words, what differs from what was opened."""
    machine, volume, group = parts.machine, parts.volume, parts.group
    if machine is None or machine.is_gone:
        return ()
    found: list[str] = []
    if machine.instance_type != workspace.instance_type:
        found.append(
            f"it is of type {machine.instance_type} instead of {workspace.instance_type}; stopping and starting it puts that right"
        )
    if volume and volume.size_gb != workspace.volume_gb:
        found.append(f"its volume has {volume.size_gb} GB instead of {workspace.volume_gb} GB")
    if volume and not volume.encrypted:
        found.append("its volume is not encrypted")
    if volume and volume.attached_to != machine.id:
        found.append(f"its volume {volume.id} is not attached to it")
    if machine.takes_volume_along and machine.state in ("running", "stopped"):
        found.append("its volume goes when its instance is terminated")
    if machine.http_tokens != "required":
        found.append("its metadata answers without a token (IMDSv1)")
    found += _differing_tags(workspace, machine)
    if group:
        found += [f"its security group lets in {rule}" for rule in sorted(group.rules - wanted.rules)]
        found += [f"its security group does not let in {rule}" for rule in sorted(wanted.rules - group.rules)]
        found += [
            f"it is in security group {other} too"
            for other in machine.groups
            if other not in (group.id, *_shared(workspace))
        ]
    elif workspace.resources.get("security_group_id"):
        found.append("its security group is gone")
    return tuple(found)


def _of_group(workspace: Workspace, wanted: Wanted, parts: Parts) -> list[Step]:
    if parts.group is None:
        request = {"GroupName": workspace.slug, "Description": f"Workspace {workspace.slug} of Trainmaster"}
        created = [Step("create", "security group", workspace.slug, request)]
        return created + [Step("let in", "address", str(rule)) for rule in sorted(wanted.rules)]
    return [
        *_rule_steps("shut out", parts.group.id, parts.group.rules - wanted.rules),
        *_rule_steps("let in", parts.group.id, wanted.rules - parts.group.rules),
    ]


def _rule_steps(verb: str, group_id: str, rules: frozenset[Rule]) -> list[Step]:
    return [
        Step(verb, "address", str(rule), {"GroupId": group_id, "IpPermissions": [rule.permission()]})
        for rule in sorted(rules)
    ]


def _run(workspace: Workspace, wanted: Wanted, parts: Parts) -> Step:
    groups = [parts.group.id] if parts.group else []
    request = {
        **wanted.launch,
        "SecurityGroupIds": [*groups, *_shared(workspace)],
        "ClientToken": client_token(workspace),
    }
    return Step("run", "instance", workspace.slug, request)


def _put_right(workspace: Workspace, machine: Machine) -> list[Step]:
    steps = []
    if machine.takes_volume_along and machine.state in ("running", "stopped"):
        kept = [{"DeviceName": machine.root, "Ebs": {"DeleteOnTermination": False}}]
        steps.append(Step("keep", "volume", machine.volume_id, {"InstanceId": machine.id, "BlockDeviceMappings": kept}))
    if machine.http_tokens != "required":
        required = {"InstanceId": machine.id, "HttpTokens": "required", "HttpEndpoint": "enabled"}
        steps.append(Step("require", "metadata tokens", machine.id, required))
    if _differing_tags(workspace, machine):
        steps.append(Step("tag", "instance", machine.id, {"Resources": [machine.id]}))
    return steps


def _differing_tags(workspace: Workspace, machine: Machine) -> list[str]:
    wanted = names_of(workspace)
    differing = sorted(key for key, value in wanted.items() if machine.tags.get(key) != value)
    return [f"its tags differ: {', '.join(differing)}"] if differing else []


def _shared(workspace: Workspace) -> list[str]:
    """Security groups of others it is in: what lets it reach the shared file system."""
    return [id_] if (id_ := workspace.resources.get("nfs_group_id")) else []
