"""Bringing rows and ledger to what AWS says, and AWS to what they say, for launches and followers that died before they could."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import Annotated, Any, Literal, TypeVar

from botocore.exceptions import BotoCoreError, ClientError
from pydantic import BaseModel, ConfigDict, Field

from trainmaster.budget.charge import Reservation
from trainmaster.budget.money import shown
from trainmaster.catalog.deployments import Deployment
from trainmaster.errors import TrainmasterError
from trainmaster.form import as_form
from trainmaster.training.desk import Desk
from trainmaster.training.followers import States, following, no_states
from trainmaster.training.looking import Books, Described, descriptions, is_here, is_in_region, read_books
from trainmaster.training.overdrawing import is_of_job
from trainmaster.training.plan import INSTALLATION_TAG
from trainmaster.training.stopping import stop_training
from trainmaster.training.tending import Known, Tended, tend, tend_known

Finding = Literal[
    "running", "settled", "stopped", "adopted", "drifted", "released", "waiting", "elsewhere", "orphan", "failed",
]  # fmt: skip
"""Stopped: was told to, just now. Waiting: AWS knows no such job, but its launch is too recent to be given up. Elsewhere: of
another account. Orphan: bears our installation's tag, but neither row nor ledger knows it. Failed: could not be looked after."""

UNEVENTFUL: frozenset[Finding] = frozenset({"running", "waiting", "elsewhere"})
CHANGES: frozenset[Finding] = frozenset({"settled", "released", "adopted"})
"""Findings that change the books."""
BATCH = 200
"""Jobs looked at together, in memory with their descriptions."""
MOST_LISTED = 5_000
"""Jobs under way that are looked through for orphans, the oldest first; AWS throttles who lists on and on."""
PASSING = (ClientError, BotoCoreError, TrainmasterError)
"""What one job may fail with while the others are looked after."""

T = TypeVar("T")


@dataclass(frozen=True)
class Reconciled:
    """What was found of one job, and why something was done about it; what is reserved or billed for it now, if anything."""

    finding: Finding
    job_name: str
    reservation: Reservation | None = None
    why: str = ""


class ReconcileRequest(BaseModel):
    """How patient to be, and how strict."""

    model_config = ConfigDict(frozen=True, extra="forbid", json_schema_extra=as_form())

    release_after_minutes: Annotated[
        int,
        Field(
            title="Give up after (minutes)",
            description="How old a launch must be to be given up when AWS has no job of it, and a job to be stopped when nobody here"
            " knows it. A launch takes ten minutes at the very most.",
            ge=15,
            le=7 * 24 * 60,
        ),
    ] = 30
    stop_orphans: Annotated[
        bool,
        Field(
            title="Stop orphans",
            description="Stop jobs this installation launched that neither its catalogue nor its ledger knows any more.",
        ),
    ] = True


class Reconciliation(BaseModel):
    """What was found of how many jobs, and those that something was done about or is to be said of."""

    counts: dict[Finding, int] = Field(default_factory=dict)
    changed: list[dict[str, str]] = Field(default_factory=list)

    def add(self, found: Reconciled) -> None:
        self.counts[found.finding] = self.counts.get(found.finding, 0) + 1
        if found.finding not in UNEVENTFUL:
            booked = found.reservation
            row = {"job": found.job_name, "what": found.finding, "why": found.why}
            row["reserved"] = shown(booked.charge.amount) if booked else ""
            self.changed.append({**row, "billed": "" if not booked or booked.bill is None else shown(booked.bill)})

    @property
    def failures(self) -> list[str]:
        """Of jobs that could not be looked after, why."""
        return [f"{row['job']}: {row['why']}" for row in self.changed if row["what"] == "failed"]

    def sentence(self) -> str:
        said = ", ".join(f"{count} {finding}" for finding, count in sorted(self.counts.items()))
        return f"Jobs: {said or 'none is open'}."

    def table(self) -> list[dict[str, Any]]:
        return [dict(row) for row in self.changed]


def reconcile(
    desk: Desk, *, release_after: timedelta, states: States = no_states, stop_orphans: bool = True
) -> Iterator[Reconciled]:
    """Every open row and reservation of the desk's region against AWS, then AWS's jobs under way there against them.

    Settles what has ended, stops what must not go on, releases and closes what was never launched, counts again what runs
    although it was released. One Describe for each; any number of these may run at once. What fails for one job is a finding;
    raises botocore's errors when AWS is out of reach altogether.
    """
    books, now = read_books(desk), desk.ledger.now()
    given_up_before, seen = now - release_after, set[str]()
    for rows in _batches(desk.deployments.open_jobs(page=BATCH)):
        seen |= {row.deployment_id for row in rows}
        yield from _of_rows(desk, rows, books, states, given_up_before)
    released = desk.ledger.released_since(now - 2 * release_after)
    unseen = [one for one in [*books.reserved.values(), *released] if one.key not in seen and is_of_job(one)]
    seen |= {one.key for one in unseen}
    for reservations in _batches(unseen):
        yield from _of_reservations(desk, reservations, books, given_up_before)
    yield from _of_jobs_under_way(desk, seen, given_up_before, stop=stop_orphans)


def _of_rows(
    desk: Desk, rows: Sequence[Deployment], books: Books, states: States, given_up_before: datetime
) -> Iterator[Reconciled]:
    here = {row.deployment_id: row for row in rows if is_here(desk, row.job.arn)}
    others = [row for row in rows if row.deployment_id not in here and is_in_region(desk, row.job.arn)]
    yield from (Reconciled("elsewhere", row.deployment_id) for row in others)
    of_runs = states([run for row in here.values() for run in row.job.runs])
    for name, described in descriptions(desk, list(here)):
        try:
            row = here[name]
            if following(row.job, of_runs) == "cancelled" and not row.stop_asked:
                row = desk.deployments.ask_stop(row.id, "Prefect", "every flow run that followed it was cancelled")
            yield _found(desk, name, books.known(desk, name, row), described, given_up_before)
        except PASSING as error:
            yield Reconciled("failed", name, why=str(error))


def _of_reservations(
    desk: Desk, reservations: Sequence[Reservation], books: Books, given_up_before: datetime
) -> Iterator[Reconciled]:
    here = {one.key: one for one in reservations if is_here(desk, one.charge.resource)}
    others = [one for one in reservations if one.key not in here and is_in_region(desk, one.charge.resource)]
    yield from (Reconciled("elsewhere", one.key, one) for one in others if one.is_open)
    for name, described in descriptions(desk, list(here)):
        try:
            known = Known(desk.deployments.find(name), here[name], books.overdrawn.get(name, ""))
            if described is not None or here[name].is_open:
                yield _found(desk, name, known, described, given_up_before)
        except PASSING as error:
            yield Reconciled("failed", name, why=str(error))


def _found(desk: Desk, name: str, known: Known, described: Described, given_up_before: datetime) -> Reconciled:
    if isinstance(described, Exception):
        return Reconciled("failed", name, known.reservation, str(described))
    if described is None and known.deployment and known.deployment.url:  # which only a description of AWS's gives it
        return _vanished(desk, name, known.deployment, known.reservation)
    if described is None:
        return _unlaunched(desk, name, known, given_up_before)
    return _tended(name, tend_known(desk, name, known, described))


def _tended(name: str, tended: Tended) -> Reconciled:
    why = {action.what: action.why for action in tended.actions}
    for what, finding in (("settle", "settled"), ("stop", "stopped"), ("adopt", "adopted")):
        if what in why:
            said = "; ".join([why[what], *(one for one in tended.drift if one not in why[what])])
            return Reconciled(finding, name, tended.reservation, said)  # type: ignore[arg-type]
    return Reconciled("drifted" if tended.drift else "running", name, tended.reservation, "; ".join(tended.drift))


def _unlaunched(desk: Desk, name: str, known: Known, given_up_before: datetime) -> Reconciled:
    row, reservation = known.deployment, known.reservation
    since = max(one for one in (row and row.created_at, reservation and reservation.reserved_at) if one)
    if since > given_up_before:
        return Reconciled("waiting", name, reservation)
    why = f"AWS knows no such job, though it was to be launched at {since:%Y-%m-%d %H:%M} UTC"
    if reservation and reservation.is_open:
        desk.ledger.release(name, reservation.position)
    if row:
        desk.deployments.give_up(row.id, f"Never launched: {why}.")
    return Reconciled("released", name, desk.ledger.find(name), why)


def _vanished(desk: Desk, name: str, row: Deployment, reservation: Reservation | None) -> Reconciled:
    """It was there, so it cost something; and where the credentials are another account's, it is there still and costs more."""
    why = "AWS described it before and knows no such job now: it was deleted there, or these are another account's credentials"
    if not row.stop_asked:
        remedy = "where it was deleted, `trainmaster train stop` closes it at what is reserved for it"
        return Reconciled("failed", name, reservation, f"{why}; {remedy}")
    if reservation and reservation.is_open:
        reservation = desk.ledger.settle(name, reservation.charge.amount)
    desk.deployments.give_up(row.id, f"{why}.")
    return Reconciled("settled", name, reservation, f"{why}; booked is what was reserved")


def _of_jobs_under_way(desk: Desk, seen: set[str], before: datetime, *, stop: bool) -> Iterator[Reconciled]:
    """Those that neither an open row nor an open reservation led to."""
    pages = desk.client("sagemaker").get_paginator("list_training_jobs").paginate(
        StatusEquals="InProgress", CreationTimeBefore=before, SortBy="CreationTime", SortOrder="Ascending",
        PaginationConfig={"PageSize": 100, "MaxItems": MOST_LISTED},
    )  # fmt: skip
    try:
        for page in pages:
            for job in page["TrainingJobSummaries"]:
                if job["TrainingJobName"] not in seen:
                    yield from _under_way(desk, job["TrainingJobName"], job["TrainingJobArn"], stop=stop)
    except (ClientError, BotoCoreError) as error:
        yield Reconciled("failed", "the list of jobs under way", why=str(error))


def _under_way(desk: Desk, name: str, arn: str, *, stop: bool) -> Iterator[Reconciled]:
    try:
        if desk.deployments.find(name) or desk.ledger.find(name):
            yield _tended(name, tend(desk, name, desk.client("sagemaker").describe_training_job(TrainingJobName=name)))
        elif stop and is_here(desk, arn) and _is_ours(desk, arn):
            stop_training(desk.client("sagemaker"), name)
            yield Reconciled("orphan", name, why="it bears our tag, but no deployment and no reservation; told to stop")
    except PASSING as error:
        yield Reconciled("failed", name, why=str(error))


def _is_ours(desk: Desk, arn: str) -> bool:
    pages = desk.client("sagemaker").get_paginator("list_tags").paginate(ResourceArn=arn)
    ours = {"Key": INSTALLATION_TAG, "Value": str(desk.catalogue.installation)}
    return any(tag == ours for page in pages for tag in page["Tags"])


def _batches(items: Iterable[T]) -> Iterator[list[T]]:
    remaining = iter(items)
    while batch := list(islice(remaining, BATCH)):
        yield batch
