"""Looking around before a launch: role, buckets, network, quotas and budgets, as far as we are allowed to see them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar
from urllib.parse import unquote

from botocore.exceptions import ClientError

from trainmaster.aws import quotas
from trainmaster.aws.failures import code_of, is_denied, is_missing, status_of
from trainmaster.aws.quotas import Quota
from trainmaster.catalog.deployments import ENDED, Deployment
from trainmaster.training.checking import Bucket, Circumstances, Role, Room, Verdict, judge
from trainmaster.training.desk import Desk
from trainmaster.training.request import TrainingRequest
from trainmaster.training.sizing import MemoryNeed
from trainmaster.workspaces.policy.file import load_policy

_ROLE_ARN = re.compile(r"arn:aws[a-z-]*:iam::\d{12}:role/[\w+=,.@/-]+")
_TRUSTED = "sagemaker.amazonaws.com"
_NAMED_JOBS = 3
T = TypeVar("T")


def find_problems(
    desk: Desk,
    request: TrainingRequest,
    *,
    job_name: str = "",
    checkpoints: bool = True,
    need: MemoryNeed | None = None,
) -> Verdict:
    """All that can be wrong with a request but its config and its datasets; nothing is launched or changed.

    `job_name`, where it is known, tells a job that was launched before from a new one. `request` names its user already. Raises
    botocore's errors when AWS does not answer, NotConfiguredError without a policy; what AWS denies us to see is a note.
    """
    around = look_around(desk, request, job_name)
    policy = None if around.launched else load_policy(desk.settings)
    return judge(request, around, desk.prices, checkpoints=checkpoints, need=need, policy=policy)


def look_around(desk: Desk, request: TrainingRequest, job_name: str = "") -> Circumstances:
    """The facts a request is judged by. A dozen calls of AWS's at most, and one for each 100 quotas."""
    notes: list[str] = []
    region = request.region or desk.settings.region
    known = desk.ledger.find(job_name) if job_name else None
    launched = known is not None and known.state != "released"
    missing_subnets, missing_groups = _network(desk, request, notes)
    return Circumstances(
        region=region,
        role=_role(desk, notes),
        buckets=tuple(_buckets(desk, request, region)),
        rooms=() if launched else tuple(_rooms(desk, request, region, job_name, notes)),
        standings=tuple(desk.ledger.standing(budget) for budget in request.payer.budgets()),
        missing_subnets=missing_subnets,
        missing_groups=missing_groups,
        unusable_keys=tuple(_unusable_keys(desk, request, notes)),
        notes=tuple(notes),
        launched=launched,
        billed=known.bill if known and launched else None,
    )


def _seen(ask: Callable[[], T], what: str, notes: list[str]) -> T | None:
    """The answer; or None and a note when we may not ask. Any other error is raised."""
    try:
        return ask()
    except ClientError as error:
        if not is_denied(error):
            raise
        notes.append(f"{what} could not be checked: AWS answers {code_of(error)}.")
        return None


def _role(desk: Desk, notes: list[str]) -> Role:
    arn = desk.settings.execution_role_arn or ""
    if not _ROLE_ARN.fullmatch(arn):
        return Role(arn, "malformed" if arn else "unset")
    try:
        answer = _seen(
            lambda: desk.client("iam").get_role(RoleName=arn.rpartition("/")[2]),
            f"Whether SageMaker may assume {arn}",
            notes,
        )
    except ClientError as error:
        if code_of(error) == "NoSuchEntity":
            return Role(arn, "missing")
        raise
    if answer is None:
        return Role(arn, "unreadable")
    if answer["Role"]["Arn"] != arn:
        return Role(arn, "missing")
    return Role(arn, "usable" if _trusts(answer["Role"]["AssumeRolePolicyDocument"]) else "untrusting")


def _trusts(policy: Any) -> bool:
    document = policy if isinstance(policy, dict) else json.loads(unquote(policy))
    return any(
        statement.get("Effect") == "Allow"
        and {"sts:AssumeRole", "sts:*", "*"} & set(_listed(statement.get("Action", [])))
        and {_TRUSTED, "*"} & set(_principals(statement.get("Principal", {})))
        for statement in _listed(document.get("Statement", []))
    )


def _principals(principal: Any) -> list[Any]:
    return _listed(principal.get("Service", [])) if isinstance(principal, dict) else _listed(principal)


def _listed(value: Any) -> list[Any]:
    """IAM lets one thing stand for a list of it."""
    return value if isinstance(value, list) else [value]


def _buckets(desk: Desk, request: TrainingRequest, region: str) -> Iterator[Bucket]:
    asked = {desk.settings.bucket or "": "TRAINMASTER_BUCKET"}
    if request.checkpoint_s3_uri:
        bucket = request.checkpoint_s3_uri.removeprefix("s3://").partition("/")[0]  # and no key, maybe
        asked.setdefault(bucket, "checkpoint_s3_uri")
    for name, setting in asked.items():
        yield _bucket(desk, name, setting, region) if name else Bucket(name, "unset", setting)


def _bucket(desk: Desk, name: str, setting: str, region: str) -> Bucket:
    try:
        answer: Mapping[str, Any] = desk.client("s3").head_bucket(Bucket=name)
    except ClientError as error:
        if is_missing(error):
            return Bucket(name, "missing", setting)
        if status_of(error) not in (301, 403):
            raise
        answer = error.response
    # S3 says where a bucket is in a header, also of one that it denies.
    its_region = answer["ResponseMetadata"].get("HTTPHeaders", {}).get("x-amz-bucket-region", "")
    if its_region and its_region != region:
        return Bucket(name, "elsewhere", setting, its_region)
    return Bucket(name, "usable" if answer["ResponseMetadata"]["HTTPStatusCode"] == 200 else "forbidden", setting)


def _network(desk: Desk, request: TrainingRequest, notes: list[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Those of the subnets and of the security groups that there are none of."""
    if not (request.subnets or request.security_groups):
        return (), ()
    ec2 = desk.client("ec2")

    def missing(ids: Sequence[str], operation: str, member: str, key: str, field: str) -> tuple[str, ...]:
        # By filter, not by id: an unknown id is an error that names one of them, an empty answer names all.
        asked = {"Filters": [{"Name": field, "Values": list(ids)}]}
        answer = _seen(lambda: getattr(ec2, operation)(**asked), f"Whether there are {', '.join(ids)}", notes)
        there = {one[key] for one in answer[member]} if answer else set(ids)
        return tuple(one for one in ids if one not in there)

    subnets, groups = request.subnets, request.security_groups
    return (
        missing(subnets, "describe_subnets", "Subnets", "SubnetId", "subnet-id") if subnets else (),
        missing(groups, "describe_security_groups", "SecurityGroups", "GroupId", "group-id") if groups else (),
    )


def _unusable_keys(desk: Desk, request: TrainingRequest, notes: list[str]) -> Iterator[str]:
    def describe(key: str) -> Any:
        return desk.client("kms").describe_key(KeyId=key)

    for key in sorted({request.volume_kms_key, request.output_kms_key} - {""}):
        try:
            answer = _seen(partial(describe, key), f"Whether KMS key {key} can be used", notes)
        except ClientError as error:
            if code_of(error) not in ("NotFoundException", "InvalidArnException"):
                raise
            yield key
        else:
            if answer and answer["KeyMetadata"]["KeyState"] != "Enabled":
                yield key


def _rooms(desk: Desk, request: TrainingRequest, region: str, job_name: str, notes: list[str]) -> Iterator[Room]:
    """What is left of each quota that a job like this one counts against."""
    spot, instance_type = request.use_spot_instances, request.instance_type
    of_type, of_all = quotas.of_type(instance_type, spot=spot), quotas.of_all_types(spot=spot)
    names = {of_type, of_all, quotas.of_one_job(spot=spot), quotas.LONGEST_RUNTIME}
    if request.warm_pool_seconds and not spot:
        names.add(quotas.of_warm_pools(instance_type))
    found = _seen(
        lambda: quotas.quotas_named(desk.client("service-quotas"), names), "Whether the quotas suffice", notes
    )
    if not found:
        return
    if of_type not in found and instance_type in desk.prices.instance_types("training", region):
        notes.append(f"Service Quotas has no quota {of_type!r} in {region}; AWS may refuse the job all the same.")
    open_jobs = [job for job in _open_jobs(desk, region, job_name) if job.job.request.get("use_spot_instances") == spot]
    same_type = [job for job in open_jobs if job.job.request.get("instance_type") == instance_type]
    using: Mapping[str, Collection[Deployment]] = {of_type: same_type, of_all: open_jobs}
    for name, quota in sorted(found.items()):
        yield _room(quota, using.get(name, ()))


def _open_jobs(desk: Desk, region: str, job_name: str) -> Iterator[Deployment]:
    account = (desk.settings.execution_role_arn or "").split(":")[4:5]
    for job in desk.deployments.open_jobs():
        here = job.job.arn.split(":")[3:5] == [region, *account]
        if here and job.deployment_id != job_name and job.status not in ENDED:
            yield job


def _room(quota: Quota, jobs: Collection[Deployment]) -> Room:
    used = sum(int(job.job.request.get("instance_count", 1)) for job in jobs)
    return Room(quota, used, tuple(job.deployment_id for job in jobs)[:_NAMED_JOBS])
