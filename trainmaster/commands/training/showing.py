"""Jobs in words and in JSON, as `trainmaster train` prints them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from datetime import datetime
from decimal import Decimal
from typing import Any

from pydantic_core import to_jsonable_python

from trainmaster.budget.money import shown
from trainmaster.catalog.deployments import Deployment
from trainmaster.commands.terminal.tables import labelled, table
from trainmaster.plain_words import counted, printable
from trainmaster.training.attempts import kind_of
from trainmaster.training.launching import Launch
from trainmaster.training.plan import TrainingPlan
from trainmaster.training.seen import Seen
from trainmaster.training.tending import console_url

_LONGEST_BY = 12
_LAUNCHES: Mapping[Launch, str] = {
    "created": "launched",
    "found": "was launched before; it is the same job",
    "joined": "was launched at the same moment by another; it is the same job",
}


def launched(plan: TrainingPlan, launch: Launch, *, has_ended: bool = False) -> Iterator[str]:
    """What was launched, what it may cost, and what to do with it now; of one that has ended only that."""
    approval = plan.approval
    if has_ended:
        yield f"Training job {plan.job_name} {_LAUNCHES[launch]}."
        yield from notes(plan.notes)
        return
    yield f"Training job {plan.job_name} {_LAUNCHES[launch]}."
    yield from labelled(
        {
            "runs on": f"{_machines(plan.request.model_dump())}, at most {approval.max_runtime_seconds:,} s",
            "cost": f"at worst {shown(approval.worst_case)} of its budget_limit of {shown(plan.request.budget_limit)},"
            f" {shown(approval.rate.hourly)} an hour",
            "console": console_url(plan.charge.resource),
            "follow": f"trainmaster train logs {plan.job_name} --follow",
            "stop": f"trainmaster train stop {plan.job_name} --reason WHY",
        }
    )
    yield from notes(plan.notes)


def notes(said: Iterable[str]) -> Iterator[str]:
    for one in said:
        yield from labelled({"note": one})


def facts_of_launch(plan: TrainingPlan, launch: Launch, seen: Seen) -> dict[str, Any]:
    """The facts of a job, and how it came to be there: created, found, joined."""
    return {"launch": launch, **facts_of_job(seen), "notes": list(plan.notes)}


def listed(deployments: Iterable[Deployment], *, with_user: bool) -> Iterator[str]:
    """A table; the job's name, which may be long, comes last. Of a job that goes on the cost is what is reserved for it."""
    told = list(deployments)
    with_stops = any(one.job.stop for one in told)
    head = (
        "CREATED (UTC)",
        "STATUS",
        *(["BY"] if with_stops else []),
        "COST",
        "MACHINES",
        *(["USER"] if with_user else []),
    )
    rows = [
        (
            f"{one.created_at:%Y-%m-%d %H:%M}",
            _word(one),
            *([_shortened(one.job.stop.by if one.job.stop else "")] if with_stops else []),
            _dollars(one.actual_cost) if one.has_ended else f"≤ {_dollars(one.estimated_cost)}",
            _machines_listed(one),
            *([str(one.user_id)] if with_user else []),
            printable(one.deployment_id),
        )
        for one in told
    ]
    return table([(*head, "JOB"), *rows], frozenset({2 + with_stops}))


def _word(row: Deployment) -> str:
    """How a job stands: as its row says, but that of one that never was it says which: `refused`."""
    return "refused" if was_refused(row) else row.status


def was_refused(row: Deployment) -> bool:
    """Whether there never was a job, and whoever starts it again launches it: nobody wanted it stopped."""
    return row.job.given_up and row.has_ended and not row.stop_asked


def _shortened(text: str) -> str:
    said = printable(text)
    return said if len(said) <= _LONGEST_BY else f"{said[: _LONGEST_BY - 1]}…"


def _machines_listed(row: Deployment) -> str:
    request = row.job.request
    if not request:
        return ""
    count = request["instance_count"]
    return f"{f'{count} × ' if count > 1 else ''}{request['instance_type'].removeprefix('ml.')}"


def of_job(seen: Seen, headline: str = "") -> Iterator[str]:
    """Everything worth knowing of a job; what nobody knows is left out."""
    row, stop, cause = seen.deployment, seen.deployment.job.stop, seen.cause
    yield headline or f"Training job {row.deployment_id}: {_state(seen)}."
    yield from labelled(
        {
            "unsure": f"AWS could not be asked, so this is how it stood last: {seen.problem}" if seen.problem else "",
            "runs on": _machines(row.job.request) if row.job.request else "",
            "user": row.user_id,
            "created": _moment(row.created_at),
            "started": _moment(row.started_at),
            "ended": _moment(row.completed_at),
            "progress": "" if seen.has_ended else seen.progress.sentence(),
            "spot": f"interrupted {counted(seen.interruptions, 'time')}" if seen.interruptions else "",
            "cost": _cost(seen),
            "stop": f"asked by {stop.by} at {_moment(stop.at)}: {stop.why}" if stop else "",
            "why": row.error_message,
            "likely": cause.sentence() if cause and cause.kind not in ("stopped", "unknown") else "",
            "model": _model_uri(seen),
            "metrics": ", ".join(f"{name} {_figure(value)}" for name, value in (row.metrics or {}).items()),
            "left": seen.left.sentence() if row.status != "completed" else "",
            "checkpoints": ", ".join(row.checkpoint_urls) if not seen.left.checkpoints.count else "",
            "next": _next(seen),
            "console": (row.url or console_url(row.job.arn)) if seen.description or row.url else "",
            "id": row.id,
        }
    )


def facts_of_job(seen: Seen) -> dict[str, Any]:
    """Of a job for machines: its row, what is booked, what AWS says. Money is text, with every digit."""
    row, booked, stop, cause = seen.deployment, seen.reservation, seen.deployment.job.stop, seen.cause
    return {
        "job_name": row.deployment_id,
        "id": str(row.id),
        "user_id": str(row.user_id),
        "arn": row.job.arn,
        "status": row.status,
        "secondary_status": (seen.description or {}).get("SecondaryStatus"),
        "problem": seen.problem or None,
        "progress": {name: value for name, value in asdict(seen.progress).items() if value not in (None, False)},
        "interruptions": seen.interruptions if seen.description else None,
        "created_at": _iso(row.created_at),
        "started_at": _iso(row.started_at),
        "completed_at": _iso(row.completed_at),
        "cost_usd": _exact(seen.cost),
        "is_billed": seen.is_billed,
        "reserved_usd": _exact(booked.charge.amount) if booked and booked.is_open else None,
        "worst_case_usd": _exact(row.estimated_cost),
        "budget_limit_usd": _exact(row.budget_limit),
        "stop": {"by": stop.by, "why": stop.why, "at": _iso(stop.at)} if stop else None,
        "error": row.error_message,
        "likely_cause": {"kind": cause.kind, "why": cause.why, "advice": cause.advice} if cause else None,
        "metrics": dict(row.metrics or {}),
        "model_uri": _model_uri(seen) or None,
        "checkpoint_uris": list(row.checkpoint_urls),
        "left": seen.left.model_dump(mode="json") if seen.description and seen.has_ended else None,
        "console_url": row.url or console_url(row.job.arn),
        "request": to_jsonable_python(dict(row.job.request)),
    }


def _next(seen: Seen) -> str:
    """What is to be done about a job that AWS does not know."""
    row = seen.deployment
    if was_refused(row):
        return "nothing was launched; the same command, with the same --attempt, launches it"
    if row.has_ended or row.url or seen.problem or seen.description:
        return ""
    return "AWS has no such job yet: the same `train start` goes on with it, or reconcile closes it 30 minutes after it began"


def _model_uri(seen: Seen) -> str:
    """Of a job that completed: AWS names where it would be for any."""
    if seen.description is None or seen.deployment.status != "completed":
        return ""
    return str((seen.description.get("ModelArtifacts") or {}).get("S3ModelArtifacts", ""))


def _state(seen: Seen) -> str:
    description = seen.description
    if description is None or seen.deployment.has_ended:
        return _word(seen.deployment)
    return f"{seen.deployment.status} ({description['SecondaryStatus']})"


def _cost(seen: Seen) -> str | None:
    booked, cost = seen.reservation, seen.cost
    limit = seen.deployment.budget_limit
    of = f"; its budget_limit is {shown(limit)}" if limit is not None else ""
    if booked is None:
        return None if cost is None else f"{shown(cost)}{of}"
    if booked.bill is not None:
        return f"{shown(booked.bill)} billed of {shown(booked.charge.amount)} reserved{of}"
    if not booked.is_open:
        return f"nothing is reserved any more{of}"
    so_far = f"at most {shown(cost)} so far, " if cost is not None else ""
    return f"{so_far}{shown(booked.charge.amount)} reserved{of}"


def _machines(request: Mapping[str, Any]) -> str:
    kind = kind_of(request["instance_type"], spot=request["use_spot_instances"])
    return f"{request['instance_count']} × {kind}"


def _figure(value: float) -> str:
    return f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"


def _moment(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC" if moment else ""


def _iso(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None


def _dollars(amount: Decimal | None) -> str:
    return "" if amount is None else shown(amount)


def _exact(amount: Decimal | None) -> str | None:
    return None if amount is None else f"{amount:f}"
