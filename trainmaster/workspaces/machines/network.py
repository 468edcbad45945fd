"""Where in the account's network a machine stands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from trainmaster.errors import NotConfiguredError
from trainmaster.training.desk import Desk
from trainmaster.workspaces.templates.template import Template


@dataclass(frozen=True)
class Network:
    """A VPC and the subnet in it; both empty where the account's default ones do."""

    vpc_id: str = ""
    subnet_id: str = ""

    def group_members(self) -> dict[str, str]:
        """Of a request that makes a security group in it."""
        return {"VpcId": self.vpc_id} if self.vpc_id else {}

    def launch_members(self) -> dict[str, str]:
        """Of a request that launches an instance in it."""
        return {"SubnetId": self.subnet_id} if self.subnet_id else {}


def network_of(desk: Desk, template: Template) -> Network:
    """The first subnet the template names, else the first of its VPC; always the same one. Raises NotConfiguredError."""
    vpc_id, subnet_ids = template.service_config.vpc_id, template.service_config.subnet_ids
    if not vpc_id and not subnet_ids:
        return Network()
    name, values = ("subnet-id", [subnet_ids[0]]) if subnet_ids else ("vpc-id", [vpc_id])
    found = desk.client("ec2").describe_subnets(Filters=[{"Name": name, "Values": values}])["Subnets"]
    if not found:
        raise NotConfiguredError(
            f"Template {template.name} is to be in {values[0]}, where {desk.settings.region} has no subnet. Correct vpc_id and"
            " subnet_ids in it."
        )
    subnet: dict[str, Any] = min(found, key=lambda one: one["SubnetId"])
    if vpc_id and subnet["VpcId"] != vpc_id:
        raise NotConfiguredError(
            f"Template {template.name} names {vpc_id} and {values[0]}, which is in {subnet['VpcId']}. Correct vpc_id or subnet_ids in it."
        )
    return Network(subnet["VpcId"], subnet["SubnetId"])
