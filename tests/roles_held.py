"""Roles with the policies of deployments/iam, and sessions of them, which the embedded AWS holds to those policies."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

from embedded_aws import Served

FOLDER = Path(__file__).parents[1] / "deployments" / "iam"
ACCOUNT = "123456789012"


def policy(name: str, bucket: str = "", **placeholders: str) -> dict[str, Any]:
    """The template with its placeholders filled in, as docs/going-to-aws.md does it."""
    text = (FOLDER / f"{name}.json").read_text()
    given = {"ACCOUNT": ACCOUNT, "DATASET-BUCKET": bucket, "BUCKET": bucket, **placeholders}
    for placeholder, value in given.items():
        text = text.replace(placeholder, value)
    filled: dict[str, Any] = json.loads(text)
    return filled


def role_with(aws: Served, *policies: Mapping[str, Any]) -> str:
    """The name of a new role that has these policies and no other."""
    iam, name = aws.client("iam"), f"held-{uuid4().hex[:8]}"
    trust = {"Effect": "Allow", "Principal": {"AWS": ACCOUNT}, "Action": "sts:AssumeRole"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    iam.create_role(RoleName=name, AssumeRolePolicyDocument=document)
    for number, each in enumerate(policies):
        made = iam.create_policy(PolicyName=f"{name}-{number}", PolicyDocument=json.dumps(each))
        iam.attach_role_policy(RoleName=name, PolicyArn=made["Policy"]["Arn"])
    return name


def execution_role(aws: Served) -> str:
    """The ARN of the role that jobs and endpoints have, called and made, where it is not there, as docs/going-to-aws.md says."""
    iam, name = aws.client("iam"), "trainmaster-execution"
    trust, own = (policy(f"execution-{part}", aws.environment["TRAINMASTER_BUCKET"]) for part in ("trust", "role"))
    with suppress(iam.exceptions.EntityAlreadyExistsException):
        iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(trust))
    iam.put_role_policy(RoleName=name, PolicyName="trainmaster", PolicyDocument=json.dumps(own))
    return str(iam.get_role(RoleName=name)["Role"]["Arn"])


def session(aws: Served, role: str) -> Served:
    """The same embedded AWS as whoever has assumed the role sees it, S3 included."""
    found = aws.client("sts").assume_role(RoleArn=f"arn:aws:iam::{ACCOUNT}:role/{role}", RoleSessionName="held")
    keys = found["Credentials"]
    own = {
        "AWS_ACCESS_KEY_ID": keys["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": keys["SecretAccessKey"],
        "AWS_SESSION_TOKEN": keys["SessionToken"],
        "AWS_ENDPOINT_URL_S3": aws.environment["AWS_ENDPOINT_URL"],
    }
    return Served(aws.state, {**aws.environment, **own})


def asked(aws: Served, roles: Iterable[str]) -> list[dict[str, Any]]:
    """What sessions of these roles asked for, and what was decided."""
    wanted = set(roles)
    return [one for one in aws.control("GET", "permissions")["asked"] if one["role"] in wanted]
