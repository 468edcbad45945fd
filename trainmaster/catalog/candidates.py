"""Datasets as a migration looks at them: light, many at a time, with their copies and what hindered them before."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy import Connection, FromClause, Select, and_, case, func, literal, or_, select, tuple_
from sqlalchemy.sql import ColumnElement

from trainmaster.catalog.columns import Moment
from trainmaster.catalog.database import Database
from trainmaster.catalog.datasets import Copy, NamesObject
from trainmaster.catalog.hindrances import Hindrance
from trainmaster.catalog.moves import Phase, promoted_at
from trainmaster.catalog.tables import dataset_copies, dataset_hindrances, training_datasets
from trainmaster.storage.store import StorageProvider

MOST_IDS = 10_000
"""SQLite takes 32,766 values in one statement, PostgreSQL 65,535."""

_SUPABASE = dataset_copies.alias("supabase")
_S3 = dataset_copies.alias("s3")
_ROW = ("id", "user_id", "name", "format", "storage_provider", "storage_path", "created_at", "updated_at")
COPY_COLUMNS = ("provider", "bucket", "path", "size_bytes", "sha256", "verified_at", "verified_by", "version")
_HINDRANCE = ("kind", "reason", "advice", "failures", "first_at", "last_at", "row_updated_at")


T = TypeVar("T")


@dataclass(frozen=True)
class Candidate(NamesObject):
    """A dataset that may be moved, as it was when it was looked at. `size_bytes` is vouched for where there is a copy.

    `promoted_at` is since when readers get S3; None when they do not, or when nobody noted it.
    """

    id: UUID
    user_id: UUID
    name: str
    format: str
    storage_provider: str
    storage_path: str
    created_at: datetime
    updated_at: datetime
    size_bytes: int | None = None
    supabase: Copy | None = None
    s3: Copy | None = None
    hindrance: Hindrance | None = None
    promoted_at: datetime | None = None

    @property
    def given_up(self) -> bool:
        """Whether it failed so often, without its row having changed since, that another try would be no better."""
        return self.hindrance is not None and self.hindrance.gives_up(self.updated_at)

    def copy_at(self, provider: str) -> Copy | None:
        """The copy recorded at a provider."""
        return self.s3 if provider == StorageProvider.S3 else self.supabase


@dataclass(frozen=True)
class Selection:
    """Which datasets a run is about; everybody's and all of them when nothing is said. Takes up to 10,000 ids."""

    user_id: UUID | None = None
    dataset_ids: Sequence[UUID] = ()
    older_than: datetime | None = None
    format: str | None = None

    def __post_init__(self) -> None:
        if len(self.dataset_ids) > MOST_IDS:
            raise ValueError(f"{len(self.dataset_ids):,} datasets are selected by id, at most {MOST_IDS:,} can be")

    def conditions(self) -> list[ColumnElement[bool]]:
        """What the selected rows of `training_datasets` fulfil."""
        column = training_datasets.c
        wanted: list[ColumnElement[bool]] = []
        if self.user_id is not None:
            wanted.append(column.user_id == self.user_id)
        if self.dataset_ids:
            wanted.append(column.id.in_(self.dataset_ids))
        if self.older_than is not None:
            wanted.append(column.created_at < self.older_than)
        if self.format is not None:
            wanted.append(column.format == str(self.format))
        return wanted


def page(
    connection: Connection, selection: Selection, *, after: UUID | None, limit: int, only: Phase | None
) -> Sequence[Candidate]:
    """The next candidates by id. A UUID's 32 digits, as SQLite keeps it, sort as PostgreSQL's 16 bytes do."""
    wanted = selection.conditions()
    if after is not None:
        wanted.append(training_datasets.c.id > after)
    if only is not None:
        wanted.append(_something_to_do(only))
    return _read(connection, _candidates(after).where(*wanted).order_by(training_datasets.c.id).limit(limit))


def page_to_verify(
    database: Database,
    connection: Connection,
    selection: Selection,
    *,
    verified_before: datetime | None,
    after: Candidate | None,
    limit: int,
) -> Sequence[Candidate]:
    """The next that have a copy in S3, by when that was verified. Nothing was verified in the future, whatever was noted."""
    key = (_S3.c.verified_at, _S3.c.dataset_id)
    wanted = [*selection.conditions(), _S3.c.provider == StorageProvider.S3]
    if verified_before is not None:
        wanted.append(or_(_S3.c.verified_at < verified_before, _S3.c.verified_at > database.now(connection)))
    if after is not None:
        if after.s3 is None:
            raise ValueError(f"dataset {after.id} has no copy in S3: no page of copies there ended with it")
        wanted.append(tuple_(*key) > tuple_(literal(after.s3.verified_at, Moment), literal(after.id)))
    return _read(connection, _candidates().where(*wanted).order_by(*key).limit(limit))


def _candidates(after: UUID | None = None) -> Select[Any]:
    """All of a candidate in one statement, so that it is of one moment; `metadata`, which may be large, stays where it is."""

    def of_row(other: FromClause) -> ColumnElement[bool]:
        # PostgreSQL does not conclude that what equals an id beyond `after` is beyond it too, and would begin at the beginning.
        beyond = [other.c.dataset_id > after] if after else []
        return and_(other.c.dataset_id == row.id, *beyond)

    row = training_datasets.c
    noted = case((row.file_size_bytes >= 0, row.file_size_bytes))  # nothing keeps the application from noting less
    size = func.coalesce(_SUPABASE.c.size_bytes, _S3.c.size_bytes, noted)
    columns = [
        *(row[name] for name in _ROW),
        size.label("size"),
        *(_SUPABASE.c[name].label(f"supabase_{name}") for name in COPY_COLUMNS),
        *(_S3.c[name].label(f"s3_{name}") for name in COPY_COLUMNS),
        *(dataset_hindrances.c[name].label(f"hindrance_{name}") for name in _HINDRANCE),
        promoted_at().label("promoted_at"),
    ]
    at_supabase = and_(of_row(_SUPABASE), _SUPABASE.c.provider == StorageProvider.SUPABASE)
    at_s3 = and_(of_row(_S3), _S3.c.provider == StorageProvider.S3)
    joined = training_datasets.outerjoin(_SUPABASE, at_supabase).outerjoin(_S3, at_s3)
    return select(*columns).select_from(joined.outerjoin(dataset_hindrances, of_row(dataset_hindrances)))


def _something_to_do(phase: Phase) -> ColumnElement[bool]:
    """Whether a phase has something to do for a row of `_candidates`."""
    names_s3 = training_datasets.c.storage_provider == StorageProvider.S3
    in_s3, in_supabase = _S3.c.dataset_id.is_not(None), _SUPABASE.c.dataset_id.is_not(None)
    sound = and_(in_s3, or_(dataset_hindrances.c.kind.is_(None), dataset_hindrances.c.kind != "damaged"))
    match phase:
        case "copy":
            return and_(~names_s3, ~in_s3)
        case "promote":
            return and_(~names_s3, sound)
        case "prune":
            return and_(names_s3, sound, in_supabase)
        case "rollback":
            return names_s3


def _read(connection: Connection, query: Select[Any]) -> Sequence[Candidate]:
    supabase = len(_ROW) + 1
    s3, hindrance = supabase + len(COPY_COLUMNS), supabase + 2 * len(COPY_COLUMNS)
    found: list[Candidate] = []
    for row in map(tuple, connection.execute(query)):
        copies = (_all_or_none(Copy, row[supabase:s3]), _all_or_none(Copy, row[s3:hindrance]))
        hindered = _all_or_none(Hindrance, row[hindrance:-1])
        found.append(Candidate(*(*row[:supabase], *copies, hindered, row[-1])))
    return found


def _all_or_none(kind: Callable[..., T], values: Sequence[Any]) -> T | None:
    """What an outer join found."""
    return None if values[0] is None else kind(*values)
