"""What failed in a week: training jobs by what they likely failed of, and flow runs by their flow."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from decimal import Decimal

from pydantic import BaseModel, ConfigDict

from trainmaster.budget.entries import NOTHING
from trainmaster.catalog.deployments import Deployment
from trainmaster.training.attempts import FALLBACK
from trainmaster.training.causes import TRAINMASTER, Cause, Kind, cause_of_reason

_RUNTIME, _NO_SPOT = "SageMaker stopped it after its longest runtime", "No spot instances became free"
"""How the rows of jobs begin that AWS stopped: see `why_ended` in trainmaster/training/tending.py."""


class FailedJobs(BaseModel):
    """Training jobs that failed of one kind of cause: how many, what they cost in US dollars, the newest of them, what helps."""

    model_config = ConfigDict(frozen=True)

    kind: Kind
    count: int
    billed: Decimal
    newest: str
    advice: str


class FailedRuns(BaseModel):
    """Runs of a flow that ended badly."""

    model_config = ConfigDict(frozen=True)

    flow: str
    failed: int = 0
    crashed: int = 0


def jobs_that_were(ended: Iterable[Deployment]) -> list[Deployment]:
    """Without rows of jobs that never came to be: refused, or stopped before they were launched."""
    return [row for row in ended if not row.job.given_up]


def failed_jobs(ended: Iterable[Deployment]) -> list[FailedJobs]:
    """By kind, the most frequent first. What was refused or what a person stopped has not failed."""
    by_kind: defaultdict[Kind, list[tuple[Deployment, Cause]]] = defaultdict(list)
    for row in jobs_that_were(ended):
        if cause := cause_of_row(row):
            by_kind[cause.kind].append((row, cause))
    found = [
        FailedJobs(
            kind=kind,
            count=len(rows),
            billed=sum((row.actual_cost or NOTHING for row, _ in rows), NOTHING),
            newest=rows[-1][0].deployment_id,
            advice=rows[-1][1].advice,
        )
        for kind, rows in by_kind.items()
    ]
    return sorted(found, key=lambda one: (-one.count, one.kind))


def cause_of_row(row: Deployment) -> Cause | None:
    """Why a job failed, likely, by what its row keeps; None of one that completed or that a person stopped."""
    if row.status == "completed" or not row.has_ended:
        return None
    why, stop = row.error_message or "", row.job.stop
    if row.status == "failed":
        return cause_of_reason(why, (row.logs or "").splitlines())
    if stop and stop.by == FALLBACK:
        return cause_of_reason("CapacityError: ")
    if stop and stop.by == TRAINMASTER:
        return Cause("budget", why, "Raise budget_limit or the monthly budget, and go on from its checkpoints.")
    if why.startswith(_RUNTIME):
        return Cause("runtime", why, "Raise max_runtime_seconds, and go on from its checkpoints.")
    return cause_of_reason("CapacityError: ") if why.startswith(_NO_SPOT) else None
