"""What workspaces on EC2 may do in AWS: be reached by Session Manager and show a desktop, and nothing else."""

from __future__ import annotations

import json
from typing import Any

from botocore.exceptions import ClientError

from trainmaster.aws.failures import code_of, is_denied
from trainmaster.errors import NameConflictError
from trainmaster.training.desk import Desk
from trainmaster.workspaces.machines.plan import PROFILE

SESSION_MANAGER = "AmazonSSMManagedInstanceCore"
_ASSUMED_BY = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}],
}


def has_profile(desk: Desk) -> bool:
    """Whether it is there, whole: its role is put into it last. Where we may not look, others see to it."""
    try:
        found = desk.client("iam").get_instance_profile(InstanceProfileName=PROFILE)["InstanceProfile"]
    except ClientError as error:
        if is_denied(error):
            return True
        if code_of(error) == "NoSuchEntity":
            return False
        raise
    return any(role["RoleName"] == PROFILE for role in found["Roles"])


def make_profile(desk: Desk) -> None:
    """Role and instance profile of all workspaces, whatever of them is there already.

    Raises NameConflictError where the profile has another role, botocore's errors.
    """
    iam = desk.client("iam")
    partition = desk.settings.required("execution_role_arn").split(":")[1]
    _unless_there(iam.create_role, RoleName=PROFILE, AssumeRolePolicyDocument=json.dumps(_ASSUMED_BY))
    iam.attach_role_policy(RoleName=PROFILE, PolicyArn=f"arn:{partition}:iam::aws:policy/{SESSION_MANAGER}")
    iam.put_role_policy(RoleName=PROFILE, PolicyName="desktop", PolicyDocument=json.dumps(_desktop(partition)))
    _unless_there(iam.create_instance_profile, InstanceProfileName=PROFILE)
    _unless_there(iam.add_role_to_instance_profile, InstanceProfileName=PROFILE, RoleName=PROFILE)
    _require_ours(iam)


def _desktop(partition: str) -> dict[str, Any]:
    """DCV's licence on EC2 is a file it reads from S3.

    Source: https://docs.aws.amazon.com/dcv/latest/adminguide/setting-up-license.html
    """
    statement = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": f"arn:{partition}:s3:::dcv-license.*/*"}
    return {"Version": "2012-10-17", "Statement": [statement]}


def _require_ours(iam: Any) -> None:
    roles = iam.get_instance_profile(InstanceProfileName=PROFILE)["InstanceProfile"]["Roles"]
    names = [role["RoleName"] for role in roles]
    if names and PROFILE not in names:
        raise NameConflictError(
            f"Instance profile {PROFILE} has role {names[0]} instead of {PROFILE}. Take it out of the profile, or rename what it is for."
        )


def _unless_there(make: Any, **members: str) -> None:
    try:
        make(**members)
    except ClientError as error:
        # of an instance profile with its one role in it IAM says LimitExceeded
        if code_of(error) not in ("EntityAlreadyExists", "LimitExceeded"):
            raise
