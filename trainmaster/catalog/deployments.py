"""Training jobs as the application's table `cloud_deployments` shows them: one row for each, made before the job is."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid5

from sqlalchemy import ARRAY, ColumnElement, Connection, Row, Text, and_, func, literal, select, tuple_, update
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.exc import IntegrityError

from trainmaster.catalog.columns import Moment, keepable
from trainmaster.catalog.cursor import read_cursor, write_cursor
from trainmaster.catalog.database import Database
from trainmaster.catalog.tables import STATUSES, cloud_deployments
from trainmaster.errors import NameConflictError, UnknownChoiceError

_NAMESPACE = UUID("0b0c1f5e-7a58-4f7e-9d7f-3a3f1f0f6c11")
LARGEST_PAGE = 200
ENDED = frozenset({"completed", "failed", "cancelled", "stopped"})
"""Statuses of a row whose job has ended, and that nobody changes any more. Cancelled by the application: see `stop_asked`."""


@dataclass(frozen=True)
class Stop:
    """Who wants a job stopped, why, and since when."""

    by: str
    why: str
    at: datetime


@dataclass(frozen=True)
class Job:
    """What Trainmaster itself knows of a deployment: kept in `config` under `trainmaster`, beside what the application keeps there."""

    arn: str = ""
    request: Mapping[str, Any] = field(default_factory=dict)
    """The TrainingRequest as JSON."""
    runs: tuple[str, ...] = ()
    """Flow runs that launched it or follow it: it is stopped when all of them are cancelled."""
    handed_over: bool = False
    """True when no flow run follows it, and the sweep does."""
    progress: Mapping[str, Any] = field(default_factory=dict)
    stop: Stop | None = None
    given_up: bool = False
    """There is no job: its launch was refused, or never came to it. Whoever launches it after all opens the row again."""


@dataclass(frozen=True)
class Deployment:
    """A row of `cloud_deployments`. Amounts are US dollars; `deployment_id` is the job's name; `logs` its last lines."""

    id: UUID
    user_id: UUID
    deployment_id: str
    status: str
    created_at: datetime
    platform: str = "sagemaker"
    training_config_id: UUID | None = None
    url: str | None = None
    job: Job = field(default_factory=Job)
    estimated_cost: Decimal | None = None
    actual_cost: Decimal | None = None
    budget_limit: Decimal | None = None
    metrics: Mapping[str, Any] | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None
    logs: str | None = None
    error_message: str | None = None
    checkpoint_urls: tuple[str, ...] = ()

    @property
    def has_ended(self) -> bool:
        return self.status in ENDED and self.completed_at is not None

    @property
    def stop_asked(self) -> bool:
        """Whether somebody wants the job stopped: one of us, or the application by the row's status."""
        return self.job.stop is not None or self.status in ("cancelled", "stopping")


def deployment_id_of(job_arn: str) -> UUID:
    """The row's id: the same for the same job, whoever makes it."""
    return uuid5(_NAMESPACE, job_arn)


@dataclass(frozen=True)
class DeploymentPage:
    """Some deployments, newest first, and the cursor to those after them; None at the end."""

    deployments: Sequence[Deployment]
    next_cursor: str | None


class Deployments:
    """The deployments of all users. Methods are transactions; see Database for what they raise besides.

    A row whose job has ended is never changed again: whoever comes later finds it as it is. Nor are the application's own rows,
    which have nothing of Trainmaster in their `config`; of ours, what the application keeps there is left as it is.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def begin(self, deployment: Deployment) -> Deployment:
        """Keep a new deployment, or find the one that is there, with the new one's runs among its own.

        One that was given up is begun anew, unless it was to be stopped. Raises NameConflictError when the id is another user's,
        UnknownChoiceError when its training config is gone.
        """
        with self._database.writing() as connection:
            row = self._database.insert(cloud_deployments).values(
                **_columns(deployment), config=_config(deployment.job)
            )
            try:
                connection.execute(row.on_conflict_do_nothing())
            except IntegrityError as error:  # the application's tables refer to each other
                raise UnknownChoiceError(
                    f"The row of training job {deployment.deployment_id} cannot be kept: is training config"
                    f" {deployment.training_config_id} deleted? Choose one there is."
                ) from error
            kept = _get(connection, deployment.id)
            if kept is None:
                raise NameConflictError(
                    f"The deployment {deployment.id} of training job {deployment.deployment_id} is not Trainmaster's any more: its"
                    " config lost what stood under `trainmaster`. Put it back, or choose another attempt."
                )
            if kept.user_id != deployment.user_id:
                raise NameConflictError(f"Training job {deployment.deployment_id} is another user's.")
            runs = tuple(dict.fromkeys([*kept.job.runs, *deployment.job.runs]))
            if kept.job.given_up and not kept.stop_asked:
                begun = replace(deployment, created_at=kept.created_at, job=replace(deployment.job, runs=runs))
            elif not kept.has_ended:
                begun = replace(kept, job=replace(kept.job, runs=runs))
            else:
                return kept
            return _write(connection, kept, begun)

    def find(self, job_name: str, user_id: UUID | None = None) -> Deployment | None:
        """The newest of that job's name, of one user's or of anybody's."""
        column = cloud_deployments.c
        wanted = [_is_ours(), column.deployment_id == job_name]
        if user_id is not None:
            wanted.append(column.user_id == user_id)
        query = select(cloud_deployments).where(*wanted).order_by(column.created_at.desc(), column.id.desc()).limit(1)
        return next(iter(self._fetch(query)), None)

    def get(self, deployment_id: UUID, user_id: UUID) -> Deployment | None:
        """One of this user's by the row's id; None when there is none, or it is somebody else's."""
        column = cloud_deployments.c
        query = select(cloud_deployments).where(_is_ours(), column.id == deployment_id, column.user_id == user_id)
        return next(iter(self._fetch(query)), None)

    def change(self, deployment_id: UUID, **changes: Any) -> Deployment:
        """Set fields of a row; one whose job has ended is returned as it is.

        Fields of `Job` go by their own names. The first stop stands, and so does a status by which the application wants the job
        stopped, until the job has ended. Raises UnknownChoiceError when there is no such row, TypeError for what is no field of
        it or says which row it is.
        """
        if strange := set(changes) - _CHANGING - _OF_JOB:
            raise TypeError(f"These are no fields of a deployment that change: {', '.join(sorted(strange))}")
        return self._change(deployment_id, lambda known: _changed(known, changes))

    def ask_stop(self, deployment_id: UUID, by: str, why: str) -> Deployment:
        """Note that the job is to be stopped; whoever asked first is kept. Raises UnknownChoiceError when there is no such row."""
        return self.change(deployment_id, stop=Stop(by, why, datetime.now(UTC)))

    def join(self, deployment_id: UUID, run: str) -> Deployment:
        """Note that a flow run follows the job too. Raises UnknownChoiceError when there is no such row."""
        return self._change(deployment_id, lambda known: _with_runs(known, [*known.job.runs, run]))

    def leave(self, deployment_id: UUID, run: str) -> Deployment:
        """Note that a flow run follows the job no more. Raises UnknownChoiceError when there is no such row."""
        return self._change(
            deployment_id, lambda known: _with_runs(known, [one for one in known.job.runs if one != run])
        )

    def give_up(self, deployment_id: UUID, why: str) -> Deployment:
        """End the row of a job that there is not: its launch was refused, stopped before it happened, or never came to it."""

        def given_up(known: Deployment) -> Deployment:
            stopped = known.status if known.status == "cancelled" else "stopped"
            return replace(
                known,
                status=stopped if known.stop_asked else "failed",
                error_message=why,
                completed_at=datetime.now(UTC),
                job=replace(known.job, given_up=True),
            )

        return self._change(deployment_id, lambda known: known if known.has_ended else given_up(known))

    def of_run(self, run: str) -> list[Deployment]:
        """Those whose jobs have not ended that a flow run launched or follows, oldest first."""
        column = cloud_deployments.c
        query = select(cloud_deployments).where(_is_open(), _follows(self._database.kind, run))
        return self._fetch(query.order_by(column.created_at, column.id))

    def open_jobs(self, *, page: int = 200) -> Iterator[Deployment]:
        """Every deployment of ours whose job has not ended, oldest first, a page in memory at a time."""
        column = cloud_deployments.c
        position = tuple_(column.created_at, column.id)
        wanted = [_is_open()]
        while True:
            found = self._fetch(
                select(cloud_deployments).where(*wanted).order_by(column.created_at, column.id).limit(page)
            )
            yield from found
            if len(found) < page:
                return
            wanted = [_is_open(), position > tuple_(literal(found[-1].created_at, Moment), literal(found[-1].id))]

    def ended_between(self, since: datetime, until: datetime) -> list[Deployment]:
        """Every deployment of ours whose job ended from one moment on and before another, the first to end first."""
        column = cloud_deployments.c
        ended = (column.completed_at >= since, column.completed_at < until)
        return self._fetch(select(cloud_deployments).where(_is_ours(), *ended).order_by(column.completed_at, column.id))

    def page(
        self, user_id: UUID | None = None, *, status: str | None = None, limit: int = 50, cursor: str | None = None
    ) -> DeploymentPage:
        """Deployments of a user or of everybody, in any state or one, newest first, at most 200.

        Following the cursor shows every one that was there at the start once. Raises UnknownChoiceError for a status there is not,
        and for a cursor that is none of ours.
        """
        if not 1 <= limit <= LARGEST_PAGE:
            raise UnknownChoiceError(f"A page of {limit} deployments was asked for; choose 1 to {LARGEST_PAGE}.")
        if status is not None and status not in STATUSES:
            raise UnknownChoiceError(f"There is no status {status!r}; there are {', '.join(STATUSES)}.")
        column = cloud_deployments.c
        wanted = [_is_ours()]
        if user_id is not None:
            wanted.append(column.user_id == user_id)
        if status is not None:
            wanted.append(column.status == status)
        if cursor is not None:
            created_at, id_ = read_cursor(cursor)
            wanted.append(tuple_(column.created_at, column.id) < tuple_(literal(created_at, Moment), literal(id_)))
        query = select(cloud_deployments).where(*wanted).order_by(column.created_at.desc(), column.id.desc())
        found = self._fetch(query.limit(limit + 1))
        shown, more = found[:limit], len(found) > limit
        return DeploymentPage(shown, write_cursor(shown[-1].created_at, shown[-1].id) if more else None)

    def _change(self, deployment_id: UUID, change: Callable[[Deployment], Deployment]) -> Deployment:
        """What comes of a row, which nobody else changes meanwhile."""
        with self._database.writing() as connection:
            known = _get(connection, deployment_id)
            if known is None:
                raise UnknownChoiceError(f"There is no deployment {deployment_id} of Trainmaster's.")
            if known.has_ended and not known.job.given_up:
                return known
            return _write(connection, known, change(known))

    def _fetch(self, query: Any) -> list[Deployment]:
        with self._database.reading() as connection:
            return [_read(row) for row in connection.execute(query)]


_OF_JOB = {one.name for one in fields(Job)}
_CHANGING = {one.name for one in fields(Deployment)} - {
    "id",
    "user_id",
    "deployment_id",
    "platform",
    "created_at",
    "job",
}


def _is_ours() -> ColumnElement[bool]:
    column = cloud_deployments.c
    arn = column.config[("trainmaster", "arn")].as_string()
    return and_(column.platform == "sagemaker", arn.is_not(None))


def _is_open() -> ColumnElement[bool]:
    return _is_ours() & cloud_deployments.c.completed_at.is_(None)


def _follows(kind: str, run: str) -> ColumnElement[bool]:
    config = cloud_deployments.c.config
    if kind == "sqlite":
        followers = func.json_each(config, "$.trainmaster.runs").table_valued("value")
        return select(followers.c.value).where(followers.c.value == run).exists()
    contains: ColumnElement[bool] = config.op("@>", is_comparison=True)(
        literal({"trainmaster": {"runs": [run]}}, JSONB)
    )
    return contains


def _get(connection: Connection, deployment_id: UUID) -> Deployment | None:
    """One of ours, which nobody else changes until the transaction ends."""
    query = select(cloud_deployments).where(cloud_deployments.c.id == deployment_id, _is_ours()).with_for_update()
    row = connection.execute(query).one_or_none()
    return _read(row) if row else None


def _changed(known: Deployment, changes: Mapping[str, Any]) -> Deployment:
    of_job = {name: value for name, value in changes.items() if name in _OF_JOB}
    if known.job.stop is not None:
        of_job.pop("stop", None)
    of_row = {name: value for name, value in changes.items() if name not in _OF_JOB}
    if "status" in of_row:
        of_row["status"] = _status(known, of_row["status"])
    return replace(known, **of_row, job=replace(known.job, **of_job))


def _status(known: Deployment, wanted: str) -> str:
    """Somebody may have asked for a stop since whoever changes the row last looked at it."""
    if known.status == "cancelled" and (wanted not in ENDED or wanted == "stopped"):
        return known.status
    if known.status == "stopping" and wanted not in {*ENDED, "cancelled"}:
        return known.status
    return wanted


def _with_runs(known: Deployment, runs: Sequence[str]) -> Deployment:
    return replace(known, job=replace(known.job, runs=tuple(dict.fromkeys(runs))))


def _write(connection: Connection, known: Deployment, changed: Deployment) -> Deployment:
    """Only what is different, so that nothing else of the row is even written anew."""
    before, after = _columns(known), _columns(changed)
    values = {name: value for name, value in after.items() if value != before[name]}
    if _config(changed.job) != _config(known.job):
        values["config"] = _beside(connection, _config(changed.job)["trainmaster"])
    if values:
        row = update(cloud_deployments).where(cloud_deployments.c.id == known.id)
        connection.execute(row.values(**values))
    return changed


def _beside(connection: Connection, ours: Mapping[str, Any]) -> ColumnElement[Any]:
    """The config with ours in its place, by the database: it keeps to the digit what Python would read and write again."""
    config = cloud_deployments.c.config
    if connection.dialect.name == "sqlite":
        return func.json_set(config, "$.trainmaster", func.json(json.dumps(ours)))
    return func.jsonb_set(config, literal(["trainmaster"], ARRAY(Text)), literal(ours, JSONB))


def _config(job: Job) -> dict[str, Any]:
    values = {one.name: getattr(job, one.name) for one in fields(Job)}
    stop = {"by": job.stop.by, "why": job.stop.why, "at": job.stop.at} if job.stop else None
    return {"trainmaster": keepable({**values, "stop": stop})}


def _columns(deployment: Deployment) -> dict[str, Any]:
    values = {one.name: getattr(deployment, one.name) for one in fields(Deployment) if one.name != "job"}
    texts = {name: keepable(values[name]) for name in ("metrics", "logs", "error_message", "url")}
    return {**values, **texts, "checkpoint_urls": list(deployment.checkpoint_urls) or None}


def _read(row: Row[Any]) -> Deployment:
    values = {one.name: getattr(row, one.name) for one in fields(Deployment) if one.name != "job"}
    ours = {name: value for name, value in row.config["trainmaster"].items() if name in _OF_JOB}
    stop = ours.get("stop")
    job = Job(
        **ours
        | {
            "runs": tuple(ours.get("runs") or ()),
            "stop": Stop(stop["by"], stop["why"], datetime.fromisoformat(stop["at"])) if stop else None,
        }
    )
    return Deployment(**values | {"job": job, "checkpoint_urls": tuple(row.checkpoint_urls or ())})
