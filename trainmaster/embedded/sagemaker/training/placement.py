"""Where a job runs and under whose keys: VPC and KMS, looked up in the embedded EC2 and KMS."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from botocore.exceptions import ClientError

from trainmaster.budget.hardware import has_own_disks
from trainmaster.embedded.sagemaker.account import Account
from trainmaster.embedded.sagemaker.wire import Json, invalid


def check(account: Account, request: Json) -> None:
    """Raises AWS's ValidationException for subnets, groups and keys that are not there."""
    if vpc := request.get("VpcConfig"):
        _check_vpc(account.ec2, vpc)
    resources, output = request["ResourceConfig"], request["OutputDataConfig"]
    if key := resources.get("VolumeKmsKeyId"):
        if has_own_disks(resources["InstanceType"]):
            raise invalid(
                f"VolumeKmsKeyId is not supported for instance type {resources['InstanceType']}, which has local storage."
            )
        _check_key(account.kms, key, "ResourceConfig.VolumeKmsKeyId")
    if key := output.get("KmsKeyId"):
        _check_key(account.kms, key, "OutputDataConfig.KmsKeyId")


def _check_vpc(ec2: Any, vpc: Json) -> None:
    places = {"Subnets": {}, "SecurityGroupIds": {}}  # type: dict[str, dict[str, str]]
    by_id = {"Filters": [{"Name": "subnet-id", "Values": vpc["Subnets"]}]}
    for subnet in ec2.describe_subnets(**by_id)["Subnets"]:
        places["Subnets"][subnet["SubnetId"]] = subnet["VpcId"]
    by_id = {"Filters": [{"Name": "group-id", "Values": vpc["SecurityGroupIds"]}]}
    for group in ec2.describe_security_groups(**by_id)["SecurityGroups"]:
        places["SecurityGroupIds"][group["GroupId"]] = group["VpcId"]
    for member, found in places.items():
        for missing in _missing(vpc[member], found):
            noun = "subnet" if member == "Subnets" else "security group"
            raise invalid(f"The {noun} ID '{missing}' does not exist")
    if len({vpc_id for found in places.values() for vpc_id in found.values()}) > 1:
        raise invalid("The subnets and security groups of VpcConfig must be of one VPC.")


def _missing(wanted: list[str], found: dict[str, str]) -> Iterator[str]:
    return (each for each in wanted if each not in found)


def _check_key(kms: Any, key: str, member: str) -> None:
    try:
        state = kms.describe_key(KeyId=key)["KeyMetadata"]["KeyState"]
    except ClientError as error:
        raise invalid(f"{member}: KMS key {key} cannot be used: {error.response['Error']['Message']}") from None
    if state != "Enabled":
        raise invalid(f"{member}: KMS key {key} is {state}.")
