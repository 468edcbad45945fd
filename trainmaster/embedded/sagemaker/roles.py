"""Whether SageMaker may assume a role: it exists in IAM and trusts the service."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import unquote

from trainmaster.embedded.sagemaker.account import Account
from trainmaster.embedded.sagemaker.wire import Json, invalid

SERVICE = "sagemaker.amazonaws.com"


def check_assumable(account: Account, role_arn: str) -> None:
    """Raises AWS's ValidationException when the role is not there or does not trust sagemaker.amazonaws.com."""
    if not is_assumable(account, role_arn):
        raise invalid(
            f"Could not assume role {role_arn}. Please ensure that the role exists and allows principal '{SERVICE}' to "
            "assume the role."
        )


def is_assumable(account: Account, role_arn: str) -> bool:
    iam = account.iam
    try:
        role = iam.get_role(RoleName=role_arn.rpartition("/")[2])["Role"]
    except iam.exceptions.NoSuchEntityException:
        return False
    trust: Any = role["AssumeRolePolicyDocument"]
    document = trust if isinstance(trust, dict) else json.loads(unquote(trust))
    return role["Arn"] == role_arn and any(_trusts(statement) for statement in listed(document["Statement"]))


def _trusts(statement: Json) -> bool:
    principal = statement.get("Principal", {})
    services = ["*"] if principal == "*" else listed(principal.get("Service", []))
    return (
        statement.get("Effect") == "Allow"
        and bool({"sts:AssumeRole", "sts:*", "*"} & set(listed(statement.get("Action", []))))
        and bool({SERVICE, "*"} & set(services))
    )


def listed(value: Any) -> list[Any]:
    """IAM lets one thing stand for a list of it."""
    return value if isinstance(value, list) else [value]
