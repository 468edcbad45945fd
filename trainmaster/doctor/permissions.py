"""The execution role: that it is there, whom it trusts, and by simulation what it, and we, may do."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import unquote

from botocore.exceptions import ClientError

from trainmaster.aws.failures import code_of, is_denied
from trainmaster.doctor.aws import Client
from trainmaster.doctor.findings import Finding, failure, ok, warning
from trainmaster.settings import Settings

SAGEMAKER = "sagemaker.amazonaws.com"
ROLE, OURS = "execution role", "our permissions"
_ASSUMED = re.compile(r"arn:(?P<partition>[\w-]+):sts::(?P<account>\d+):assumed-role/(?P<role>[^/]+)/.*")
_FEW = 12  # of the actions that are denied, as many as a line takes

JOBS_NEED: Mapping[str, Sequence[str]] = {
    "bucket": ("s3:ListBucket",),
    "objects": ("s3:GetObject", "s3:PutObject"),
    "*": (
        "logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents", "cloudwatch:PutMetricData",
        "ecr:GetAuthorizationToken", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer",
    ),
}  # fmt: skip
"""What a job or an endpoint does with its role, by what it is done to."""
WE_NEED: Mapping[str, Sequence[str]] = {
    "bucket": ("s3:ListBucket",),
    "objects": ("s3:GetObject", "s3:PutObject", "s3:DeleteObject"),
    "*": (
        "sagemaker:CreateTrainingJob", "sagemaker:DescribeTrainingJob", "sagemaker:StopTrainingJob", "sagemaker:ListTrainingJobs",
        "sagemaker:AddTags", "sagemaker:ListTags", "sagemaker:CreateModel", "sagemaker:DeleteModel", "sagemaker:CreateEndpointConfig",
        "sagemaker:CreateEndpoint", "sagemaker:UpdateEndpoint", "sagemaker:DescribeEndpoint", "sagemaker:DeleteEndpoint",
        "sagemaker:InvokeEndpoint", "logs:DescribeLogStreams", "logs:GetLogEvents", "logs:FilterLogEvents",
        "cloudwatch:GetMetricData", "servicequotas:ListServiceQuotas",
    ),
    "role": ("iam:PassRole",),
}  # fmt: skip
"""What workers do to train and to serve. Workspaces need more: docs/workspaces.md."""


def role(client: Client, settings: Settings) -> Iterator[Finding]:
    """The role that jobs and endpoints run as."""
    arn = settings.required("execution_role_arn")
    iam = client("iam")
    try:
        found = iam.get_role(RoleName=arn.rpartition("/")[2])["Role"]
    except ClientError as error:
        if code_of(error) == "NoSuchEntity":
            yield failure(
                ROLE, f"{arn} does not exist", "Create it, or set TRAINMASTER_EXECUTION_ROLE_ARN to one that does."
            )
        elif is_denied(error):
            yield warning(
                ROLE, f"{arn} may not be looked at", "Allow iam:GetRole and iam:SimulatePrincipalPolicy on it."
            )
        else:
            raise
        return
    if found["Arn"] != arn:
        yield failure(ROLE, f"{arn} is really {found['Arn']}", f"Set TRAINMASTER_EXECUTION_ROLE_ARN={found['Arn']}.")
        return
    if not trusts(found["AssumeRolePolicyDocument"], SAGEMAKER):
        statement = f'{{"Effect": "Allow", "Principal": {{"Service": "{SAGEMAKER}"}}, "Action": "sts:AssumeRole"}}'
        yield failure(ROLE, f"does not trust {SAGEMAKER}", f"Add to its trust policy: {statement}")
    else:
        yield ok(ROLE, f"{arn} trusts {SAGEMAKER}")
    yield from _simulated(iam, ROLE, arn, JOBS_NEED, settings)


def ours(client: Client, settings: Settings) -> Iterator[Finding]:
    """What whoever runs this may do: a worker is to run as the same."""
    arn = client("sts").get_caller_identity()["Arn"]
    iam = client("iam")
    if arn.endswith(":root"):
        yield warning(
            OURS, "these are the root user's, who may do everything", "Make a role for workers, with what they need."
        )
        return
    if assumed := _ASSUMED.fullmatch(arn):
        try:
            arn = iam.get_role(RoleName=assumed["role"])["Role"]["Arn"]  # its path is not in the session's name
        except ClientError as error:
            if not is_denied(error):
                raise
            arn = f"arn:{assumed['partition']}:iam::{assumed['account']}:role/{assumed['role']}"
    yield from _simulated(iam, OURS, arn, WE_NEED, settings)


def _simulated(
    iam: Any, subject: str, arn: str, needed: Mapping[str, Sequence[str]], settings: Settings
) -> Iterator[Finding]:
    denied: list[str] = []
    simulated = 0
    for thing, actions in needed.items():
        resource = _resource(thing, settings)
        if resource is None:
            continue
        passed_to = {
            "ContextKeyName": "iam:PassedToService",
            "ContextKeyType": "string",
            "ContextKeyValues": [SAGEMAKER],
        }
        try:
            answer = iam.simulate_principal_policy(
                PolicySourceArn=arn, ActionNames=list(actions), ResourceArns=[resource], ContextEntries=[passed_to]
            )
        except ClientError as error:
            if is_denied(error):
                yield warning(
                    subject, "may not be simulated", f"Allow iam:SimulatePrincipalPolicy on {arn}, or look yourself."
                )
            elif code_of(error) in ("InvalidInput", "NoSuchEntity"):
                yield warning(subject, f"IAM cannot simulate {arn}", "Run this as the role or user that workers have.")
            else:
                raise
            return
        simulated += len(actions)
        results = answer["EvaluationResults"]
        denied += [f"{one['EvalActionName']} on {resource}" for one in results if one["EvalDecision"] != "allowed"]
    if denied:
        more = f" and {len(denied) - _FEW} more" if len(denied) > _FEW else ""
        yield failure(subject, f"lacks {', '.join(denied[:_FEW])}{more}", f"Allow them in a policy of {arn}.")
    else:
        yield ok(subject, f"all {simulated} that are needed are allowed, by simulation")


def _resource(thing: str, settings: Settings) -> str | None:
    match thing:
        case "bucket":
            return f"arn:aws:s3:::{settings.bucket}" if settings.bucket else None
        case "objects":
            return f"arn:aws:s3:::{settings.bucket}/*" if settings.bucket else None
        case "role":
            return settings.execution_role_arn
        case _:
            return thing


def trusts(document: Any, service: str) -> bool:
    """Whether a trust policy lets a service assume its role."""
    policy = document if isinstance(document, dict) else json.loads(unquote(document))
    return any(_allows(statement, service) for statement in _listed(policy["Statement"]))


def _allows(statement: Mapping[str, Any], service: str) -> bool:
    principal = statement.get("Principal", {})
    services = ["*"] if principal == "*" else _listed(principal.get("Service", []))
    may_assume = {"sts:AssumeRole", "sts:*", "*"} & set(_listed(statement.get("Action", [])))
    return statement.get("Effect") == "Allow" and bool(may_assume) and bool({service, "*"} & set(services))


def _listed(value: Any) -> list[Any]:
    """IAM lets one thing stand for a list of it."""
    return value if isinstance(value, list) else [value]
