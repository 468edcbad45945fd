"""Training jobs as the application's table `cloud_deployments` shows them: one row for each, made before the job is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid5

from sqlalchemy import Connection, Row, select, update

from trainmaster.catalog.database import Database
from trainmaster.catalog.tables import cloud_deployments
from trainmaster.errors import NameConflictError, UnknownChoiceError

_NAMESPACE = UUID("0b0c1f5e-7a58-4f7e-9d7f-3a3f1f0f6c11")
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


class Deployments:
    """The deployments of all users. Methods are transactions; see Database for what they raise besides.

    A row whose job has ended is never changed again: whoever comes later finds it as it is.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def begin(self, deployment: Deployment) -> Deployment:
        """Keep a new deployment, or find the one that is there, with the new one's runs among its own.

        One that was given up is begun anew, unless it was to be stopped. Raises NameConflictError when the id is another user's.
        """
        with self._database.writing() as connection:
            row = self._database.insert(cloud_deployments).values(**_columns(deployment)).on_conflict_do_nothing()
            connection.execute(row)
            kept = _get(connection, deployment.id, locked=True)
            if kept.user_id != deployment.user_id:
                raise NameConflictError(f"Training job {deployment.deployment_id} is another user's.")
            runs = tuple(dict.fromkeys([*kept.job.runs, *deployment.job.runs]))
            if kept.job.given_up and not kept.stop_asked:
                begun = replace(deployment, created_at=kept.created_at, job=replace(deployment.job, runs=runs))
            elif runs != kept.job.runs and not kept.has_ended:
                begun = replace(kept, job=replace(kept.job, runs=runs))
            else:
                return kept
            return _write(connection, begun)

    def find(self, job_name: str, user_id: UUID | None = None) -> Deployment | None:
        """The newest of that job's name, of one user's or of anybody's."""
        column = cloud_deployments.c
        query = select(cloud_deployments).where(column.deployment_id == job_name, column.platform == "sagemaker")
        if user_id is not None:
            query = query.where(column.user_id == user_id)
        with self._database.reading() as connection:
            row = connection.execute(query.order_by(column.created_at.desc()).limit(1)).one_or_none()
        return _read(row) if row else None

    def change(self, deployment_id: UUID, **changes: Any) -> Deployment:
        """Set fields of a row; one whose job has ended is returned as it is.

        Fields of `Job` go by their own names. What the application cancelled stays cancelled. Raises UnknownChoiceError when there is no such row.
        """
        with self._database.writing() as connection:
            known = _get(connection, deployment_id, locked=True)
            if known.has_ended and not known.job.given_up:
                return known
            if known.status == "cancelled":  # perhaps since the caller looked
                changes = _without(changes, {"status"})
            of_job = {one.name for one in fields(Job)}
            job = {**{name: getattr(known.job, name) for name in of_job}, **_only(changes, of_job)}
            whole = {one.name: getattr(known, one.name) for one in fields(Deployment)}
            changed = Deployment(**{**whole, **_without(changes, of_job), "job": Job(**job)})
            return _write(connection, changed)

    def give_up(self, deployment_id: UUID, why: str) -> Deployment:
        """End the row of a job that there is not: its launch was refused, stopped before it happened, or never came to it."""
        with self._database.writing() as connection:
            known = _get(connection, deployment_id, locked=True)
            if known.has_ended:
                return known
            stopped = known.status if known.status == "cancelled" else "stopped"
            return _write(
                connection,
                replace(
                    known,
                    status=stopped if known.stop_asked else "failed",
                    error_message=why,
                    completed_at=datetime.now(UTC),
                    job=replace(known.job, given_up=True),
                ),
            )

    def open_jobs(self, *, page: int = 200) -> Iterator[Deployment]:
        """Every SageMaker deployment of ours whose job has not ended, oldest first, a page in memory at a time."""
        column = cloud_deployments.c
        after: tuple[Any, Any] | None = None
        while True:
            query = select(cloud_deployments).where(column.platform == "sagemaker", column.completed_at.is_(None))
            if after:
                query = query.where(
                    (column.created_at > after[0]) | ((column.created_at == after[0]) & (column.id > after[1]))
                )
            with self._database.reading() as connection:
                rows = connection.execute(query.order_by(column.created_at, column.id).limit(page)).all()
            found = [_read(row) for row in rows]
            yield from (one for one in found if one.job.arn and not one.has_ended)
            if len(rows) < page:
                return
            after = (rows[-1].created_at, rows[-1].id)


def _get(connection: Connection, deployment_id: UUID, *, locked: bool = False) -> Deployment:
    query = select(cloud_deployments).where(cloud_deployments.c.id == deployment_id)
    row = connection.execute(query.with_for_update() if locked else query).one_or_none()
    if row is None:
        raise UnknownChoiceError(f"There is no deployment {deployment_id}.")
    return _read(row)


def _write(connection: Connection, deployment: Deployment) -> Deployment:
    """In the place of the row that is there, with what the application keeps in its `config`."""
    values = _columns(deployment, beside=_config(connection, deployment.id))
    connection.execute(update(cloud_deployments).where(cloud_deployments.c.id == deployment.id).values(**values))
    return deployment


def _config(connection: Connection, deployment_id: UUID) -> Mapping[str, Any]:
    query = select(cloud_deployments.c.config).where(cloud_deployments.c.id == deployment_id)
    config = connection.execute(query).scalar_one()
    return config if isinstance(config, dict) else {}


def _columns(deployment: Deployment, beside: Mapping[str, Any] | None = None) -> dict[str, Any]:
    job, stop = deployment.job, deployment.job.stop
    ours = {
        "arn": job.arn,
        "request": dict(job.request),
        "runs": list(job.runs),
        "handed_over": job.handed_over,
        "progress": dict(job.progress),
        "stop": {"by": stop.by, "why": stop.why, "at": stop.at.isoformat()} if stop else None,
        "given_up": job.given_up,
    }
    values = {one.name: getattr(deployment, one.name) for one in fields(Deployment) if one.name != "job"}
    return values | {
        "config": {**(beside or {}), "trainmaster": ours},
        "checkpoint_urls": list(deployment.checkpoint_urls),
    }


def _read(row: Row[Any]) -> Deployment:
    values = {one.name: getattr(row, one.name) for one in fields(Deployment) if one.name != "job"}
    ours = (row.config.get("trainmaster") if isinstance(row.config, dict) else None) or {}
    stop = ours.get("stop")
    job = Job(
        arn=ours.get("arn", ""),
        request=ours.get("request", {}),
        runs=tuple(ours.get("runs", ())),
        handed_over=ours.get("handed_over", False),
        progress=ours.get("progress", {}),
        stop=Stop(stop["by"], stop["why"], datetime.fromisoformat(stop["at"])) if stop else None,
        given_up=ours.get("given_up", False),
    )
    return Deployment(**values | {"job": job, "checkpoint_urls": tuple(row.checkpoint_urls or ())})


def _only(changes: Mapping[str, Any], names: set[str]) -> dict[str, Any]:
    return {name: value for name, value in changes.items() if name in names}


def _without(changes: Mapping[str, Any], names: set[str]) -> dict[str, Any]:
    return {name: value for name, value in changes.items() if name not in names}
