"""Everything that keeps a job from being launched, said at once: a request held against the circumstances. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from difflib import get_close_matches
from typing import Literal

from trainmaster.aws import quotas
from trainmaster.aws.quotas import Quota
from trainmaster.budget.approval import Approval, approve_training
from trainmaster.budget.budgets import Standing
from trainmaster.budget.equivalents import Equivalent, equivalents
from trainmaster.budget.hardware import hardware_of, has_own_disks
from trainmaster.budget.money import micro_up, shown
from trainmaster.budget.prices import PriceList
from trainmaster.errors import OverBudgetError, UnknownPriceError
from trainmaster.training.allowed import policy_problems
from trainmaster.training.problems import Problem
from trainmaster.training.request import TrainingRequest
from trainmaster.training.sizing import MemoryNeed, can_hold
from trainmaster.workspaces.policy.rules import Policy

LONG_SECONDS = 3600
"""A spot job that may run for longer has to keep checkpoints, or an interruption costs more than spot saves."""
_NEAR = 4

RoleState = Literal["usable", "unset", "malformed", "missing", "untrusting", "unreadable"]
BucketState = Literal["usable", "unset", "missing", "elsewhere", "forbidden"]


@dataclass(frozen=True)
class Role:
    """The role the job is to run as, as far as IAM lets us look."""

    arn: str
    state: RoleState


@dataclass(frozen=True)
class Bucket:
    """A bucket the job is to write to; `region` is where it is when it is elsewhere. `setting` is what names it."""

    name: str
    state: BucketState
    setting: str
    region: str = ""


@dataclass(frozen=True)
class Room:
    """What a quota leaves: `used` by our own jobs that have not ended; `jobs` are those, some of them."""

    quota: Quota
    used: int = 0
    jobs: tuple[str, ...] = ()

    @property
    def left(self) -> int:
        return max(self.quota.value - self.used, 0)


@dataclass(frozen=True)
class Circumstances:
    """What was found where the job is to run. What nobody let us see is in `notes`, and in nothing else."""

    region: str
    role: Role
    buckets: tuple[Bucket, ...] = ()
    rooms: tuple[Room, ...] = ()
    standings: tuple[Standing, ...] = ()
    missing_subnets: tuple[str, ...] = ()
    missing_groups: tuple[str, ...] = ()
    unusable_keys: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    launched: bool = False
    """Whether this very job was paid for before: then it is only followed, and needs neither quota nor budget again."""
    billed: Decimal | None = None
    """What it was billed, once it has ended."""

    def room(self, name: str) -> Room | None:
        return next((room for room in self.rooms if room.quota.name == name), None)


@dataclass(frozen=True)
class Verdict:
    """What stands against a launch, what is worth knowing, and what it may cost, where that can be said at all."""

    problems: tuple[Problem, ...]
    notes: tuple[str, ...]
    approval: Approval | None
    circumstances: Circumstances


def judge(
    request: TrainingRequest,
    circumstances: Circumstances,
    prices: PriceList,
    *,
    checkpoints: bool = True,
    need: MemoryNeed | None = None,
    policy: Policy | None = None,
) -> Verdict:
    """Every problem at once. `checkpoints`: whether the trainer goes on from them; `need`: what its model takes, if that is known;
    `policy`: what the role of whoever asks has, where there is one to hold it against."""
    region = circumstances.region
    elsewhere = list(_platform(request, prices, region))
    approval, unpayable = (None, []) if _is_lambda(request.instance_type) else _approve(request, prices, region, need)
    problems = [*elsewhere, *unpayable]
    if not circumstances.launched:
        problems += [
            *_fallbacks(request, prices, region),
            *_user(request),
            *_role(circumstances.role),
            *(problem for bucket in circumstances.buckets for problem in _bucket(bucket, region)),
            *_network(request, circumstances),
            *_keys(request, circumstances),
            *_spot(request, approval, checkpoints=checkpoints),
            *_quotas(request, circumstances, approval),
            *(policy_problems(policy, request, prices, region, priced=approval is not None) if policy else ()),
        ]
    notes = [*circumstances.notes]
    if approval and not circumstances.launched:
        short = list(_budgets(circumstances.standings, approval))
        if request.on_over_budget == "ask":
            notes += [f"{problem.message} It is launched only if somebody approves it." for problem in short]
        else:
            problems += short
    if circumstances.billed is not None:
        notes.append(
            f"It ran before and was billed {shown(circumstances.billed)}: it is looked up, not run again. Set attempt to"
            f" {request.attempt + 1} to train anew."
        )
    notes += _worth_knowing(request, approval, need, prices, region)
    return Verdict(tuple(problems), tuple(notes), approval, circumstances)


# Where and on what


def _is_lambda(name: str) -> bool:
    return bool(re.match(r"gpu_\d+x_", name.strip().lower()))


def _platform(request: TrainingRequest, prices: PriceList, region: str) -> Iterator[Problem]:
    platform, known = request.platform.strip().lower(), equivalents()
    retired = re.sub(r"[^a-z]", "", platform) in {"lambda", "lambdalabs", "lambdacloud"}
    if not (retired or _is_lambda(request.instance_type)):
        if platform != "sagemaker":
            yield Problem(
                "platform", f"There is no platform {request.platform!r}.", "Leave platform out: it is sagemaker."
            )
        return
    same_work = [
        each
        for each in known.values()
        if request.instance_type.strip().lower() == each.lambda_type or request.instance_type == each.sagemaker_type
    ]
    remedy = " ".join(_cost_of_both(each, prices, region) for each in same_work) or (
        f"Leave platform out and choose one of {', '.join(dict.fromkeys(each.sagemaker_type for each in known.values()))}:"
        " `trainmaster prices equivalent` has each of theirs, and both costs."
    )
    theirs = _is_lambda(request.instance_type)
    asked = f"{request.instance_type}{'' if same_work else ', an unknown type,'} is" if theirs else "Lambda Labs is"
    yield Problem("platform", f"{asked} not to be had: nothing is trained at Lambda Labs any more.", remedy)


def _cost_of_both(equivalent: Equivalent, prices: PriceList, region: str) -> str:
    try:
        return equivalent.sentence(prices, region)
    except UnknownPriceError:
        return f"{equivalent.lambda_type} ({equivalent.gpus}) is {equivalent.sagemaker_type}, of no known price in {region}."


def _approve(
    request: TrainingRequest, prices: PriceList, region: str, need: MemoryNeed | None
) -> tuple[Approval | None, list[Problem]]:
    def can_do(kind: str) -> bool:
        return can_hold(need, request.instance_type, kind, request.instance_count)

    try:
        approval = approve_training(
            prices,
            instance_type=request.instance_type,
            instance_count=request.instance_count,
            volume_gb=request.volume_size_gb,
            max_runtime_seconds=request.max_runtime_seconds,
            budget_limit=request.budget_limit,
            region=region,
            kept_seconds=request.warm_pool_seconds,
            can_do=can_do,
        )
    except UnknownPriceError:
        return None, [_unpriced(request.instance_type, prices, region)]
    except OverBudgetError as error:
        return None, [_useless(error)]
    return approval, []


def _unpriced(instance_type: str, prices: PriceList, region: str) -> Problem:
    known = prices.instance_types("training", region)
    if not known:
        message = f"No training price is known for {region} at all, so nothing can be launched there."
        return Problem("price", message, f"`trainmaster prices refresh --region {region}` asks AWS.")
    elsewhere = {price.item for price in prices}
    near = get_close_matches(instance_type, known, _NEAR, cutoff=0.7) or known[:_NEAR]
    choose = f"Choose {' or '.join(near)}; `trainmaster prices show --use training --region {region}` lists all"
    if instance_type in elsewhere or hardware_of(instance_type):
        message = f"No training price is known for {instance_type} in {region}."
        return Problem("price", message, f"{choose}, `trainmaster prices refresh --region {region}` asks AWS.")
    return Problem("instance_type", f"There is no training instance type {instance_type!r} in {region}.", f"{choose}.")


def _useless(error: OverBudgetError) -> Problem:
    choices = f"Choose {' or '.join(error.choices)}, or" if error.choices else "Please"
    return Problem(
        "budget",
        f"{error.subject} would cost {error.cost}; budget_limit is {shown(error.approved)}.",
        f"{choices} {error.remedy}.",
    )


def _fallbacks(request: TrainingRequest, prices: PriceList, region: str) -> Iterator[Problem]:
    known = set(prices.instance_types("training", region))
    for instance_type in dict.fromkeys(request.instance_types):
        if instance_type not in known and instance_type != request.instance_type:
            yield _unpriced(instance_type, prices, region)


def _user(request: TrainingRequest) -> Iterator[Problem]:
    if not request.user_id:
        message = "Nobody is said whose run it is and whose budget pays."
        yield Problem("request", message, "Give user_id (a UUID), or set TRAINMASTER_USER_ID.")


# What the job is given


def _role(role: Role) -> Iterator[Problem]:
    create = (
        "Give TRAINMASTER_EXECUTION_ROLE_ARN the ARN of a role that trusts sagemaker.amazonaws.com, and that may read the"
        " data and write to the bucket."
    )
    match role.state:
        case "unset":
            yield Problem("role", "No role is set that SageMaker could assume.", create)
        case "malformed":
            yield Problem("role", f"{role.arn!r} is not the ARN of an IAM role.", create)
        case "missing":
            yield Problem("role", f"The role {role.arn} does not exist.", create)
        case "untrusting":
            message = f"SageMaker may not assume the role {role.arn}: it does not trust sagemaker.amazonaws.com."
            yield Problem("role", message, "Allow that service sts:AssumeRole in the role's trust policy.")


def _bucket(bucket: Bucket, region: str) -> Iterator[Problem]:
    match bucket.state:
        case "unset":
            yield Problem("bucket", "No bucket is set for code, models and checkpoints.", f"Set {bucket.setting}.")
        case "missing":
            message = f"S3 bucket {bucket.name!r} does not exist."
            yield Problem("bucket", message, f"Create it in {region}, or give {bucket.setting} another.")
        case "elsewhere":
            message = f"S3 bucket {bucket.name!r} is in {bucket.region}, and the job is to run in {region}."
            yield Problem(
                "bucket", message, f"Train in {bucket.region}, or give {bucket.setting} a bucket in {region}."
            )
        case "forbidden":
            message = f"S3 bucket {bucket.name!r} is not ours to use: S3 denies it."
            remedy = f"Allow s3:ListBucket on it to the worker's credentials, or give {bucket.setting} another."
            yield Problem("bucket", message, remedy)


def _network(request: TrainingRequest, circumstances: Circumstances) -> Iterator[Problem]:
    if request.subnets and not request.security_groups:
        yield Problem(
            "network", "Subnets are given without security groups.", "Give security_groups of the same VPC, or neither."
        )
    if request.security_groups and not request.subnets:
        yield Problem(
            "network", "Security groups are given without subnets.", "Give subnets of the same VPC, or neither."
        )
    for noun, missing in (("subnet", circumstances.missing_subnets), ("security group", circumstances.missing_groups)):
        if missing:
            message = f"There is no {noun} {', '.join(missing)} in {circumstances.region}."
            yield Problem("network", message, f"Give the ids of {noun}s of this account and region.")


def _keys(request: TrainingRequest, circumstances: Circumstances) -> Iterator[Problem]:
    if request.volume_kms_key and has_own_disks(request.instance_type):
        message = f"volume_kms_key is given, but {request.instance_type} has disks of its own, which take no KMS key."
        yield Problem("request", message, "Leave volume_kms_key out: those disks are encrypted anyway.")
    for key in circumstances.unusable_keys:
        message = f"There is no KMS key {key} in {circumstances.region} that could be used."
        yield Problem("request", message, "Give the id, ARN or alias of one that is enabled.")


def _spot(request: TrainingRequest, approval: Approval | None, *, checkpoints: bool) -> Iterator[Problem]:
    runtime = approval.max_runtime_seconds if approval else request.max_runtime_seconds
    wait = request.max_wait_seconds
    if not request.use_spot_instances:
        if wait:
            message = (
                f"max_wait_seconds is {wait}, but only spot jobs wait for instances, and use_spot_instances is off."
            )
            yield Problem("spot", message, "Leave max_wait_seconds out, or turn use_spot_instances on.")
        return
    if wait and wait < request.max_runtime_seconds:
        yield Problem(
            "spot",
            f"max_wait_seconds is {wait}, less than max_runtime_seconds, {request.max_runtime_seconds}, which it includes.",
            f"Give at least {request.max_runtime_seconds}, or leave it out for an hour more than that.",
        )
    if not checkpoints and runtime > LONG_SECONDS:
        yield Problem(
            "spot",
            f"The job may run on spot instances for {runtime} s, and its trainer keeps no checkpoints: each interruption would"
            " begin it anew, and bill it anew.",
            f"Set use_spot_instances to false, max_runtime_seconds to at most {LONG_SECONDS}, or use a trainer that goes on"
            " from checkpoints.",
        )
    if request.warm_pool_seconds:
        yield Problem(
            "spot",
            f"warm_pool_seconds is {request.warm_pool_seconds}, but AWS keeps no spot instances.",
            "Leave warm_pool_seconds out, or turn use_spot_instances off.",
        )


# What the account allows


def _quotas(request: TrainingRequest, circumstances: Circumstances, approval: Approval | None) -> Iterator[Problem]:
    spot, count, region = request.use_spot_instances, request.instance_count, circumstances.region
    names = [
        quotas.of_type(request.instance_type, spot=spot),
        quotas.of_all_types(spot=spot),
        quotas.of_one_job(spot=spot),
    ]
    if request.warm_pool_seconds and not spot:
        names.append(quotas.of_warm_pools(request.instance_type))
    for name in names:
        room = circumstances.room(name)
        if room and room.left < count:
            yield _no_room(room, count, region)
    runtime = approval.max_runtime_seconds if approval else request.max_runtime_seconds
    longest = circumstances.room(quotas.LONGEST_RUNTIME)
    if longest and longest.quota.value < runtime:
        yield Problem(
            "quota",
            f"The job may run for {runtime} s; the quota {longest.quota.name!r} ({longest.quota.code}) is"
            f" {longest.quota.value} s.",
            f"Set max_runtime_seconds to at most {longest.quota.value}, or ask AWS for more:"
            f" {longest.quota.increase(runtime, region)}",
        )


def _no_room(room: Room, count: int, region: str) -> Problem:
    quota = room.quota
    used = f", and {room.used} in use" + (f" by {', '.join(room.jobs)}" if room.jobs else "") if room.used else ""
    waiting = "Wait until those have ended, or ask" if room.used and quota.value >= count else "Ask"
    return Problem(
        "quota",
        f"The quota {quota.name!r} ({quota.code}) is {quota.value}{used}; this job needs {count}.",
        f"{waiting} AWS for more, which may take days: {quota.increase(room.used + count, region)}",
    )


def _budgets(standings: Sequence[Standing], approval: Approval) -> Iterator[Problem]:
    worst = micro_up(approval.worst_case)
    for standing in standings:
        if standing.left is not None and standing.left < worst:
            cheaper = approval.cheaper(standing.left)
            choose = f"Choose {' or '.join(cheaper)}, have" if cheaper else "Have"
            yield Problem(
                "budget",
                f"The job may cost {shown(worst)}; {standing.sentence()}.",
                f"{choose} the budget raised (`{standing.raised_for(worst)}`), or let somebody decide: on_over_budget ask.",
            )


def _worth_knowing(
    request: TrainingRequest, approval: Approval | None, need: MemoryNeed | None, prices: PriceList, region: str
) -> Iterator[str]:
    if approval and approval.is_cut:
        yield (
            f"The longest runtime is cut from {approval.asked_runtime_seconds} s to {approval.max_runtime_seconds} s:"
            f" that is what the budget of {shown(approval.approved)} pays for."
        )
    if need and not need.fits(request.instance_type, request.instance_count):
        yield (
            f"{need.sentence(request.instance_type, request.instance_count)}. It may run out of memory."
            f" {need.suggestion(prices, region, request.instance_count)}"
        )
    if not request.wait and (request.instance_types or (request.use_spot_instances and request.fall_back_to_on_demand)):
        yield (
            "Nobody waits for this job, so other machines are tried only if AWS refuses to launch it. If it finds no capacity for it"
            " later, the job ends by that. Start the same request again, and it goes on with the next."
        )
