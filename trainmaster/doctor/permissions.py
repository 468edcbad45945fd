"""The execution role: that it is there, whom it trusts, and by simulation what it, and we, may do."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any
from urllib.parse import unquote

from botocore.exceptions import ClientError

from trainmaster.aws.console import TRAINING_LOGS
from trainmaster.aws.failures import code_of, is_denied
from trainmaster.catalog.database import open_database
from trainmaster.catalog.installation import known_installation
from trainmaster.doctor.aws import Client
from trainmaster.doctor.findings import Finding, failure, ok, warning
from trainmaster.settings import Settings
from trainmaster.training.plan import INSTALLATION_TAG

SAGEMAKER = "sagemaker.amazonaws.com"
ROLE, OURS = "execution role", "our permissions"
_ASSUMED = re.compile(r"arn:(?P<partition>[\w-]+):sts::(?P<account>\d+):assumed-role/(?P<role>[^/]+)/.*")
_ANY = "trainmaster-doctor"
"""Of what there may be any: IAM simulates what is not there as well."""
_FEW = 12  # of the actions that are denied, as many as a line takes

JOBS_NEED: Mapping[str, Sequence[str]] = {
    "bucket": ("s3:ListBucket",),
    "objects": ("s3:GetObject", "s3:PutObject"),
    "logs": ("logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents"),
    "image": ("ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"),
    "*": ("cloudwatch:PutMetricData", "ecr:GetAuthorizationToken"),
}  # fmt: skip
"""What a job or an endpoint does with its role, by what it is done to."""
WE_NEED: Mapping[str, Sequence[str]] = {
    "bucket": ("s3:ListBucket",),
    "objects": ("s3:GetObject", "s3:PutObject", "s3:DeleteObject"),
    "training-job": (
        "sagemaker:CreateTrainingJob", "sagemaker:DescribeTrainingJob", "sagemaker:StopTrainingJob", "sagemaker:AddTags",
        "sagemaker:ListTags",
    ),
    "model": ("sagemaker:CreateModel", "sagemaker:DeleteModel"),
    "endpoint-config": ("sagemaker:CreateEndpointConfig",),
    "endpoint": (
        "sagemaker:CreateEndpoint", "sagemaker:UpdateEndpoint", "sagemaker:DescribeEndpoint", "sagemaker:DeleteEndpoint",
        "sagemaker:InvokeEndpoint",
    ),
    "logs": ("logs:DescribeLogStreams", "logs:GetLogEvents", "logs:FilterLogEvents"),
    "*": ("sagemaker:ListTrainingJobs", "cloudwatch:GetMetricData", "servicequotas:ListServiceQuotas"),
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
    context = [
        {"ContextKeyName": name, "ContextKeyType": "string", "ContextKeyValues": [value]}
        for name, value in _context(settings).items()
    ]
    denied: list[str] = []
    simulated = 0
    for thing, actions in needed.items():
        resource = _resource(thing, arn, settings)
        if resource is None:
            continue
        try:
            answer = iam.simulate_principal_policy(
                PolicySourceArn=arn, ActionNames=list(actions), ResourceArns=[resource], ContextEntries=context
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


def _context(settings: Settings) -> dict[str, str]:
    """What our calls come with that policies may ask for: what is launched, and stopped, bears our installation's tag."""
    known = {"iam:PassedToService": SAGEMAKER, "cloudwatch:namespace": "/aws/sagemaker/TrainingJobs"}
    url = settings.catalogue_url
    if url is None and not (settings.state_dir / "catalog.db").exists():
        return known
    with closing(open_database(url, settings.state_dir)) as database:
        ours = known_installation(database)
    tags = {f"aws:{of}Tag/{INSTALLATION_TAG}": str(ours) for of in ("Request", "Resource")} if ours else {}
    return {**known, **tags}


def _resource(thing: str, arn: str, settings: Settings) -> str | None:
    """In the account of whoever's ARN this is; None for what is not configured."""
    _, partition, _, _, account, _ = arn.split(":", 5)
    here = f"{settings.region}:{account}"
    if thing in ("bucket", "objects"):
        end = "" if thing == "bucket" else "/*"
        return f"arn:aws:s3:::{settings.bucket}{end}" if settings.bucket else None
    named = {
        "*": "*",
        "role": settings.execution_role_arn,
        "logs": f"arn:{partition}:logs:{here}:log-group:{TRAINING_LOGS}:log-stream:{_ANY}",
        "image": f"arn:{partition}:ecr:{here}:repository/{_ANY}",
    }
    return named.get(thing, f"arn:{partition}:sagemaker:{here}:{thing}/{_ANY}")


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
