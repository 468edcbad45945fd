"""Looking after endpoints that serve: which nobody calls, whose time is over or whose money is spent; and carrying out what follows.

What people were told is a tag on the endpoint, so whoever looks next knows of it; any number may look at once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

from botocore.exceptions import BotoCoreError, ClientError
from pydantic import BaseModel, ConfigDict, Field

from trainmaster.budget.idle_stops import note_stop
from trainmaster.budget.metering import Meters
from trainmaster.endpoints.deploying import find_endpoint, tags_of
from trainmaster.endpoints.metering import saved_hourly
from trainmaster.endpoints.plan import ENDPOINT_TAG, EXPIRES_TAG, IDLE_TAG, WHEN_OVER_TAG
from trainmaster.endpoints.watch.datapoints import Series, datapoints, period_of
from trainmaster.endpoints.watch.idle import (
    STANDING,
    WARNED_TAG,
    Act,
    Calls,
    Decision,
    Policy,
    Warned,
    Watched,
    decide,
    moment_of,
)
from trainmaster.endpoints.watch.results import SweptEndpoint
from trainmaster.endpoints.watch.stopping import scale_down, shrinkable, take_away
from trainmaster.errors import RefusedError, TrainmasterError
from trainmaster.form import as_form
from trainmaster.training.desk import Desk

if TYPE_CHECKING:
    from mypy_boto3_sagemaker import SageMakerClient

PASSING = (ClientError, BotoCoreError, TrainmasterError)
"""What keeps one endpoint from being looked after, and no other."""
LONGEST_PAGE = 100
"""Endpoints that ListEndpoints gives in one call, if it is asked for so many: else ten."""
_POLICIES: Mapping[str, Policy] = {"warn": "warn", "scale-down": "scale-down", "remove": "remove"}
_WOULD: Mapping[Act, str] = {
    "warn": "people would be warned",
    "forget": "its warning would be forgotten",
    "scale-down": "it would be scaled down",
    "remove": "it would be removed",
}


class StopIdleRequest(BaseModel):
    """How long people have after a warning, and whether anything is done."""

    model_config = ConfigDict(frozen=True, extra="forbid", json_schema_extra=as_form())

    notice_minutes: Annotated[
        int,
        Field(
            title="Notice (minutes)",
            description="Between the warning and what is done about an endpoint or a workspace.",
            ge=0,
            le=7 * 24 * 60,
        ),
    ] = 30
    dry_run: Annotated[bool, Field(title="Dry run", description="Only say what would be done.")] = False

    @property
    def notice(self) -> timedelta:
        return timedelta(minutes=self.notice_minutes)


@dataclass(frozen=True)
class _Found:
    """What AWS and the books say of an endpoint of ours, before CloudWatch is asked."""

    described: Mapping[str, Any]
    watched: Watched

    @property
    def name(self) -> str:
        return self.watched.name


def watch_endpoints(desk: Desk, request: StopIdleRequest) -> Iterator[SweptEndpoint]:
    """Each endpoint of ours that stands in the desk's region, in service or past it, looked after once. What fails for one is said
    of it, and the others are looked after all the same; where CloudWatch cannot be asked none is idle. Raises botocore's errors
    where they cannot be listed."""
    now, region = desk.ledger.now(), desk.settings.region
    found: list[_Found] = []
    for name in _standing(desk.client("sagemaker")):
        try:
            if ours := _look_at(desk, name):
                found.append(ours)
        except PASSING as error:
            yield SweptEndpoint(endpoint=name, region=region, failure=str(error), at=now)
    for one in _with_calls(desk, found, now):
        if isinstance(one, SweptEndpoint):
            yield one
            continue
        try:
            yield _acted(desk, one, request, now)
        except PASSING as error:
            yield SweptEndpoint(endpoint=one.name, region=region, failure=str(error), at=now)


def _standing(sagemaker: SageMakerClient) -> list[str]:
    pages = sagemaker.get_paginator("list_endpoints").paginate(PaginationConfig={"PageSize": LONGEST_PAGE})
    found = [endpoint for page in pages for endpoint in page["Endpoints"]]
    return [endpoint["EndpointName"] for endpoint in found if endpoint["EndpointStatus"] in STANDING]


def _look_at(desk: Desk, name: str) -> _Found | None:
    """None for what is gone by now, and for one that is not ours. Raises RefusedError for tags that nobody can read."""
    sagemaker: SageMakerClient = desk.client("sagemaker")
    described = find_endpoint(sagemaker, name)
    if described is None:
        return None
    arn = described["EndpointArn"]
    tags = tags_of(sagemaker, arn)
    if tags.get(ENDPOINT_TAG) != name:
        return None
    exhausted = Meters(desk.ledger).exhausted(arn)
    watched = Watched(
        name,
        described["EndpointStatus"],
        described["LastModifiedTime"],
        policy=_policy(name, tags),
        idle_after=_idle_after(name, tags),
        expires=_expires(name, tags),
        exhausted=str(exhausted) if exhausted else "",
        shrinkable=described["EndpointStatus"] == "InService" and shrinkable(described),
        warned=Warned.of(tags.get(WARNED_TAG, "")),
    )
    return _Found(described, watched)


def _policy(name: str, tags: Mapping[str, str]) -> Policy:
    given = tags.get(WHEN_OVER_TAG, "warn")
    if given not in _POLICIES:
        raise _unreadable(name, WHEN_OVER_TAG, given, "one of " + ", ".join(_POLICIES))
    return _POLICIES[given]


def _idle_after(name: str, tags: Mapping[str, str]) -> timedelta | None:
    given = tags.get(IDLE_TAG)
    if given is not None and not (given.isascii() and given.isdecimal() and int(given)):
        raise _unreadable(name, IDLE_TAG, given, "a number of minutes")
    return timedelta(minutes=int(given)) if given else None


def _expires(name: str, tags: Mapping[str, str]) -> datetime | None:
    given = tags.get(EXPIRES_TAG)
    found = moment_of(given) if given else None
    if given and found is None:
        raise _unreadable(name, EXPIRES_TAG, given, "a point in time such as 2027-01-31T12:00:00+00:00")
    return found


def _unreadable(name: str, tag: str, given: str, wanted: str) -> RefusedError:
    return RefusedError(f"The tag {tag} of endpoint {name} is {given!r}. Make it {wanted}, or remove it.")


def _with_calls(desk: Desk, found: Sequence[_Found], now: datetime) -> Iterator[_Found | SweptEndpoint]:
    """The same with what CloudWatch says of their calls; those that cannot be idle are not asked about."""
    by_silence: dict[timedelta | None, list[_Found]] = defaultdict(list)
    for one in found:
        by_silence[one.watched.idle_after].append(one)
    for silence, alike in by_silence.items():
        if silence is None:
            yield from alike
            continue
        wanted = {one.name: _series(one, silence) for one in alike}
        try:
            every = [series for of_one in wanted.values() for series in of_one]
            points = datapoints(desk.client("cloudwatch"), every, now - silence, now)
        except PASSING as error:
            why = f"CloudWatch does not say how often they are called: {error}"
            yield SweptEndpoint(endpoint=", ".join(wanted), region=desk.settings.region, failure=why, at=now)
            points = {}
        for one in alike:
            known = [points.get(series) for series in wanted[one.name]]
            calls = [Calls(at, value) for read in known if read for at, value in read]
            unknown = any(read is None for read in known)
            yield replace(one, watched=replace(one.watched, calls=None if unknown else calls))


def _series(one: _Found, silence: timedelta) -> list[Series]:
    variants = [variant["VariantName"] for variant in one.described["ProductionVariants"]]
    period = period_of(silence)
    return [Series(one.name, variant, "Invocations", "Sum", period) for variant in variants]


def _acted(desk: Desk, one: _Found, request: StopIdleRequest, now: datetime) -> SweptEndpoint:
    decision = decide(one.watched, now, request.notice)
    seen = SweptEndpoint(
        endpoint=one.name,
        region=desk.settings.region,
        act=decision.act,
        reason=decision.reason,
        why=decision.why,
        at=now,
    )
    if decision.act == "leave":
        return seen
    if request.dry_run:
        return seen.model_copy(update={"done": _WOULD[decision.act]})
    return seen.model_copy(update=_carried_out(desk, one, decision, request, now))


def _carried_out(
    desk: Desk, one: _Found, decision: Decision, request: StopIdleRequest, now: datetime
) -> dict[str, str]:
    """What changes of the report: what was done, in words; or that the endpoint was left alone after all, as it has changed."""
    sagemaker: SageMakerClient = desk.client("sagemaker")
    arn, done = one.described["EndpointArn"], ""
    meters = Meters(desk.ledger).running(arn) if decision.act in {"scale-down", "remove"} else []
    fewer: Mapping[str, int] | None = None
    if decision.act == "warn" and decision.reason:
        tag = {"Key": WARNED_TAG, "Value": Warned(decision.reason, now).tag()}
        sagemaker.add_tags(ResourceArn=arn, Tags=[tag])  # type: ignore[list-item]
        done = _announced(one.watched, request)
    elif decision.act == "forget":
        sagemaker.delete_tags(ResourceArn=arn, TagKeys=[WARNED_TAG])
        done = "its warning is forgotten"
    elif decision.act == "scale-down":
        fewer = scale_down(sagemaker, desk.client("application-autoscaling"), one.described)
        done = "scaled down: " + ", ".join(f"{name} to {count}" for name, count in fewer.items()) if fewer else ""
    elif decision.act == "remove" and take_away(sagemaker, one.described):
        done = f"it is removed; `trainmaster endpoints start {one.name}` brings it back"
    for meter in meters if done else ():
        note_stop(desk.ledger, meter, saved_hourly(desk, meter, fewer), str(decision.reason))
    return {"done": done} if done else {"act": "leave"}


def _announced(watched: Watched, request: StopIdleRequest) -> str:
    """What a warning says will happen."""
    if watched.policy == "warn":
        return "it goes on, and on costing money, until somebody removes it"
    if watched.policy == "scale-down":
        return (
            f"it is scaled down in {request.notice_minutes} minutes if that is so still"
            if watched.shrinkable
            else "it goes on with the fewest instances it can have"
        )
    return f"it is removed in {request.notice_minutes} minutes if that is so still"
