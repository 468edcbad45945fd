"""What a workspace on EC2 consists of, as AWS describes it. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from trainmaster.workspaces.tags import listed_tags

GONE = frozenset({"shutting-down", "terminated"})
"""States an instance never comes back from."""
_WHEN = re.compile(r"\((\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) (?:GMT|UTC)\)")


@dataclass(frozen=True, order=True)
class Rule:
    """Who may reach which ports: a range of addresses, or whatever else AWS lets in (`sg-…`, `pl-…`)."""

    source: str
    first_port: int
    last_port: int
    protocol: str = "tcp"

    def __str__(self) -> str:
        if self.protocol == "-1":
            return f"{self.source} to all ports"
        ports = f"{self.first_port}" if self.first_port == self.last_port else f"{self.first_port}-{self.last_port}"
        return f"{self.source} to port {ports}{'' if self.protocol == 'tcp' else f' ({self.protocol})'}"

    def permission(self) -> dict[str, Any]:
        """As EC2 takes it."""
        ports = {} if self.protocol == "-1" else {"FromPort": self.first_port, "ToPort": self.last_port}
        if self.source.startswith("sg-"):
            return {"IpProtocol": self.protocol, **ports, "UserIdGroupPairs": [{"GroupId": self.source}]}
        if self.source.startswith("pl-"):
            return {"IpProtocol": self.protocol, **ports, "PrefixListIds": [{"PrefixListId": self.source}]}
        of_version = ("Ipv6Ranges", "CidrIpv6") if ":" in self.source else ("IpRanges", "CidrIp")
        return {"IpProtocol": self.protocol, **ports, of_version[0]: [{of_version[1]: self.source}]}


@dataclass(frozen=True)
class Machine:
    """An instance. `launched_at` is when it was started last, `stopped_at` when it was stopped, as far as AWS tells."""

    id: str
    state: str
    instance_type: str
    client_token: str
    launched_at: datetime
    root: str = ""
    """The device its volume is."""
    volume_id: str = ""
    takes_volume_along: bool = False
    """When it is terminated."""
    on_ebs: bool = True
    groups: tuple[str, ...] = ()
    http_tokens: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    address: str = ""
    reason: str = ""
    stopped_at: datetime | None = None

    @property
    def is_gone(self) -> bool:
        return self.state in GONE


@dataclass(frozen=True)
class Volume:
    id: str
    size_gb: int
    encrypted: bool
    state: str
    attached_to: str = ""


@dataclass(frozen=True)
class Group:
    """A security group, and whom it lets in."""

    id: str
    rules: frozenset[Rule] = frozenset()


@dataclass(frozen=True)
class Parts:
    """All that AWS shows of one workspace; None for what it does not."""

    machine: Machine | None = None
    volume: Volume | None = None
    group: Group | None = None


def machine_of(described: Mapping[str, Any]) -> Machine:
    """One of DescribeInstances."""
    root: Mapping[str, Any] = next(
        (one for one in described.get("BlockDeviceMappings", []) if one["DeviceName"] == described["RootDeviceName"]),
        {},
    )
    when = _WHEN.search(described.get("StateTransitionReason", ""))
    return Machine(
        id=described["InstanceId"],
        state=described["State"]["Name"],
        instance_type=described["InstanceType"],
        client_token=described.get("ClientToken", ""),
        launched_at=described["LaunchTime"],
        root=described["RootDeviceName"],
        volume_id=root.get("Ebs", {}).get("VolumeId", ""),
        takes_volume_along=bool(root.get("Ebs", {}).get("DeleteOnTermination")),
        on_ebs=described.get("RootDeviceType") == "ebs",
        groups=tuple(
            group["GroupId"] for card in described.get("NetworkInterfaces", []) for group in card.get("Groups", [])
        ),
        http_tokens=described.get("MetadataOptions", {}).get("HttpTokens", ""),
        tags=listed_tags(described.get("Tags", [])),
        address=described.get("PublicIpAddress", ""),
        reason=described.get("StateReason", {}).get("Message", ""),
        stopped_at=datetime.strptime(when[1], "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC) if when else None,
    )


def volume_of(described: Mapping[str, Any]) -> Volume:
    """One of DescribeVolumes."""
    attached = described.get("Attachments", [])
    return Volume(
        described["VolumeId"],
        described["Size"],
        described["Encrypted"],
        described["State"],
        attached[0]["InstanceId"] if attached else "",
    )


def group_of(described: Mapping[str, Any]) -> Group:
    """One of DescribeSecurityGroups."""
    rules = (rule for permission in described["IpPermissions"] for rule in _rules(permission))
    return Group(described["GroupId"], frozenset(rules))


def chosen(machines: Sequence[Machine], tokens: str, token: str) -> Machine | None:
    """The first that is there still of those whose client token begins so, else the one of the very token."""
    there = [one for one in machines if one.client_token.startswith(tokens) and not one.is_gone]
    last = [one for one in machines if one.client_token == token]
    return min(there or last, key=lambda one: (one.launched_at, one.id), default=None)


def _rules(permission: Mapping[str, Any]) -> list[Rule]:
    sources = [
        *(one["CidrIp"] for one in permission.get("IpRanges", [])),
        *(one["CidrIpv6"] for one in permission.get("Ipv6Ranges", [])),
        *(one["GroupId"] for one in permission.get("UserIdGroupPairs", [])),
        *(one["PrefixListId"] for one in permission.get("PrefixListIds", [])),
    ]
    first, last = permission.get("FromPort", -1), permission.get("ToPort", -1)
    return [Rule(source, first, last, permission["IpProtocol"]) for source in sources]
