"""Jobs in words and in JSON, as `trainmaster train` prints them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from pydantic_core import to_jsonable_python

from trainmaster.budget.approval import Rate
from trainmaster.budget.charge import Reservation
from trainmaster.budget.money import shown
from trainmaster.catalog.deployments import Deployment
from trainmaster.datasets.showing.wording import printable
from trainmaster.training.attempts import kind_of
from trainmaster.training.following import Cadence, interruptions_of, next_step
from trainmaster.training.launching import Launch
from trainmaster.training.plan import TrainingPlan
from trainmaster.training.progress import Course
from trainmaster.training.tending import console_url

_LABEL = 11
_ANY_CADENCE = Cadence(30, 900)
_LAUNCHES: Mapping[Launch, str] = {
    "created": "launched",
    "found": "was launched before; it is the same job",
    "joined": "was launched at the same moment by another; it is the same job",
}


@dataclass(frozen=True)
class Seen:
    """A job as it was just looked at: its row, what is reserved or billed for it, and what AWS says, if it was asked."""

    deployment: Deployment
    reservation: Reservation | None = None
    description: Mapping[str, Any] | None = None

    @property
    def is_billed(self) -> bool:
        """Whether the cost is AWS's last word."""
        return self.deployment.actual_cost is not None or bool(self.reservation and self.reservation.bill is not None)

    @property
    def cost(self) -> Decimal | None:
        """The bill, or what the job costs at most so far, in US dollars; None where nobody knows."""
        booked = self.reservation
        if booked is None or booked.bill is not None:
            return booked.bill if booked else self.deployment.actual_cost
        if self.description is None:
            return None
        return next_step(self.description, datetime.now(UTC), _ANY_CADENCE, Rate(booked.charge.hourly)).cost


def labelled(values: Mapping[str, object]) -> Iterator[str]:
    """A line for each that has a value."""
    for label, value in values.items():
        if value not in (None, "", ()):
            yield f"  {label:<{_LABEL}} {printable(str(value))}"


def table(rows: Sequence[tuple[str, ...]], numbers: frozenset[int] = frozenset()) -> Iterator[str]:
    """The first row is the head; columns of numbers end at one edge."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [
            cell.rjust(width) if at in numbers else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield "  ".join(cells).rstrip()


def launched(plan: TrainingPlan, launch: Launch) -> Iterator[str]:
    """What was launched, what it may cost, and what to do with it now."""
    approval = plan.approval
    yield f"Training job {plan.job_name} {_LAUNCHES[launch]}."
    yield from labelled(
        {
            "runs on": f"{_machines(plan.request.model_dump())}, at most {approval.max_runtime_seconds:,} s",
            "cost": f"at worst {shown(approval.worst_case)} of {shown(approval.approved)} approved, {shown(approval.rate.hourly)} an hour",
            "console": console_url(plan.charge.resource),
            "follow": f"trainmaster train logs {plan.job_name} --follow",
            "stop": f"trainmaster train stop {plan.job_name} --reason WHY",
        }
    )
    yield from notes(plan.notes)


def notes(said: Iterable[str]) -> Iterator[str]:
    for one in said:
        yield from labelled({"note": one})


def facts_of_launch(plan: TrainingPlan, launch: Launch, deployment: Deployment) -> dict[str, Any]:
    return {"launch": launch, **facts_of_job(Seen(deployment)), "notes": list(plan.notes)}


def listed(deployments: Iterable[Deployment], *, with_user: bool) -> Iterator[str]:
    """A table; the job's name, which may be long, comes last."""
    head = ("CREATED (UTC)", "STATUS", "COST", "AT MOST", *(["USER"] if with_user else []), "JOB")
    rows = [
        (
            f"{one.created_at:%Y-%m-%d %H:%M}",
            one.status,
            _dollars(one.actual_cost),
            _dollars(one.estimated_cost),
            *([str(one.user_id)] if with_user else []),
            one.deployment_id,
        )
        for one in deployments
    ]
    return table([head, *rows], frozenset({2, 3}))


def of_job(seen: Seen) -> Iterator[str]:
    """Everything worth knowing of a job; what nobody knows is left out."""
    row, request, stop = seen.deployment, seen.deployment.job.request, seen.deployment.job.stop
    interrupted = interruptions_of(seen.description) if seen.description else 0
    yield f"Training job {row.deployment_id}: {_state(seen)}."
    yield from labelled(
        {
            "runs on": _machines(request) if request else None,
            "user": row.user_id,
            "created": _moment(row.created_at),
            "started": _moment(row.started_at),
            "ended": _moment(row.completed_at),
            "progress": "" if row.has_ended else Course.of_json(row.job.progress).now.sentence(),
            "spot": f"interrupted {interrupted} time{'s' if interrupted > 1 else ''}" if interrupted else "",
            "cost": _cost(seen),
            "stop": f"asked by {stop.by} at {_moment(stop.at)}: {stop.why}" if stop else None,
            "why": row.error_message,
            "model": (seen.description or {}).get("ModelArtifacts", {}).get("S3ModelArtifacts"),
            "metrics": ", ".join(f"{name} {value:.4g}" for name, value in (row.metrics or {}).items()),
            "checkpoints": ", ".join(row.checkpoint_urls),
            "console": row.url or console_url(row.job.arn),
            "id": row.id,
        }
    )


def facts_of_job(seen: Seen) -> dict[str, Any]:
    """Of a job for machines: its row, what is booked, what AWS says. Money is text, with every digit."""
    row, booked, description = seen.deployment, seen.reservation, seen.description or {}
    stop = row.job.stop
    return {
        "job_name": row.deployment_id,
        "id": str(row.id),
        "user_id": str(row.user_id),
        "arn": row.job.arn,
        "status": row.status,
        "secondary_status": description.get("SecondaryStatus"),
        "progress": _known(row),
        "interruptions": interruptions_of(description) if description else None,
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
        "metrics": dict(row.metrics or {}),
        "model_uri": description.get("ModelArtifacts", {}).get("S3ModelArtifacts"),
        "checkpoint_uris": list(row.checkpoint_urls),
        "console_url": row.url or console_url(row.job.arn),
        "request": to_jsonable_python(dict(row.job.request)),
    }


def _known(row: Deployment) -> dict[str, Any]:
    """Of the progress, what is known; not the curve, nor what it is reckoned from."""
    return {name: value for name, value in asdict(Course.of_json(row.job.progress).now).items() if value is not None}


def _state(seen: Seen) -> str:
    description = seen.description
    if description is None or seen.deployment.has_ended:
        return seen.deployment.status
    return f"{seen.deployment.status} ({description['SecondaryStatus']})"


def _cost(seen: Seen) -> str | None:
    booked, cost = seen.reservation, seen.cost
    approved = seen.deployment.budget_limit
    of = f"; {shown(approved)} approved" if approved is not None else ""
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


def _moment(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC" if moment else ""


def _iso(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None


def _dollars(amount: Decimal | None) -> str:
    return "" if amount is None else shown(amount)


def _exact(amount: Decimal | None) -> str | None:
    return None if amount is None else f"{amount:f}"
