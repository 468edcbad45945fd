"""Datasets as the catalogue knows them. Every query names the user it is for: the service role sees everybody's rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import (
    Connection,
    Row,
    Select,
    and_,
    case,
    delete,
    exists,
    func,
    insert,
    literal,
    or_,
    select,
    tuple_,
    update,
)
from sqlalchemy.sql import ColumnElement

from trainmaster.catalog.columns import Moment
from trainmaster.catalog.cursor import read_cursor, write_cursor
from trainmaster.catalog.database import Database
from trainmaster.catalog.pending import PendingObject, forget, orphan, require_unheld, settle
from trainmaster.catalog.refusals import check_text, integrity_refused
from trainmaster.catalog.tables import dataset_copies, training_config_datasets, training_datasets
from trainmaster.errors import (
    DatasetMissingError,
    NameConflictError,
    UnknownChoiceError,
    UploadUnderWayError,
)
from trainmaster.storage.store import StorageProvider

TRAINING_PROVIDERS: Mapping[str, StorageProvider] = {
    "runpod": StorageProvider.SUPABASE,
    "lambda": StorageProvider.SUPABASE,
    "local": StorageProvider.SUPABASE,
    "colab": StorageProvider.SUPABASE,
    "huggingface": StorageProvider.SUPABASE,
    "sagemaker": StorageProvider.S3,
    "aws": StorageProvider.S3,
}
"""Where training at each provider reads its datasets; it sees no others."""
LARGEST_PAGE = 200
REPORTED = (
    "container", "detection", "bad_examples", "problem_counts", "note_counts", "statistics", "normalised", "dropped"
)  # fmt: skip
"""What `metadata` says, beside where its `source` is, of the bytes as they were checked; all else there is the application's."""


@dataclass(frozen=True)
class Copy:
    """One verified copy of a dataset's bytes. `version` is the store's own name of the object as it was verified, if noted."""

    provider: str
    bucket: str
    path: str
    size_bytes: int
    sha256: str
    verified_at: datetime
    verified_by: str
    version: str | None = None

    @property
    def uri(self) -> str:
        """Where it is, as people say it."""
        return f"{self.provider}://{self.bucket}/{self.path}"

    def verified_until(self, now: datetime) -> Copy:
        """The same, verified by `now` at the latest: the clock of who verified it may be ahead of the database's."""
        return replace(self, verified_at=min(self.verified_at, now))


class NamesObject:
    """A row of the application's table, which names an object."""

    user_id: UUID
    storage_path: str

    @property
    def names_its_own(self) -> bool:
        """Whether `storage_path` lies in its user's folder.

        People can write rows of the application's table; ours are read and removed with a key that may do everything.
        """
        return self.storage_path.startswith(f"{self.user_id}/") and ".." not in self.storage_path.split("/")


@dataclass(frozen=True)
class Dataset(NamesObject):
    """A row of `training_datasets`, and the copies known of it. Lengths are average characters."""

    id: UUID
    user_id: UUID
    name: str
    format: str
    storage_provider: str
    storage_path: str
    created_at: datetime
    updated_at: datetime
    description: str | None = None
    config_id: UUID | None = None
    file_size_bytes: int | None = None
    total_examples: int | None = None
    avg_input_length: float | None = None
    avg_output_length: float | None = None
    metadata: Mapping[str, Any] | None = None
    copies: Sequence[Copy] = ()

    def copy_at(self, provider: str) -> Copy | None:
        """The copy at a provider, if one is recorded. Of datasets the application stored itself none is."""
        return next((copy for copy in self.copies if copy.provider == provider), None)


@dataclass(frozen=True)
class DatasetPage:
    """Some datasets, newest first. `cursor` asks for those after them; None when there are none."""

    datasets: Sequence[Dataset]
    cursor: str | None


@dataclass(frozen=True)
class DatasetCounts:
    """How many datasets there are, in all and by provider."""

    total: int
    at: Mapping[str, int]


class Datasets:
    """The datasets of all users, each shown to its own. Methods are transactions; see Database for what they raise besides."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def insert(self, dataset: Dataset, *, claims: Sequence[PendingObject] = ()) -> Dataset:
        """Catalogue a dataset with its `copies` and settle the claims on them, all or nothing; returns it as it is kept.

        Safe to repeat: the same dataset again (user, name, format, content) is left as it is and returned. Raises
        NameConflictError when its id, or an object of it, is another dataset's; LeaseLostError when a claim was taken over;
        UploadUnderWayError when somebody else holds an object of it; DatasetRefusedError when the database takes no such row.
        """
        _check(dataset, claims)
        with integrity_refused(f"Dataset {dataset.name!r} ({dataset.id})"), self._database.writing() as connection:
            row = (
                self._database.insert(training_datasets)
                .values(**_columns(dataset))
                .on_conflict_do_nothing(index_elements=["id"])
            )
            if connection.execute(row.returning(training_datasets.c.id)).first() is None:
                return self._found(connection, dataset, claims)
            now = self._database.now(connection)
            connection.execute(
                insert(dataset_copies), [_copy_columns(dataset.id, copy.verified_until(now)) for copy in dataset.copies]
            )
            for claim in claims:
                settle(connection, claim)
            for copy in dataset.copies:
                require_unheld(self._database, connection, copy.provider, copy.bucket, copy.path)
            return _one(connection, dataset.id, dataset.user_id)

    def get(self, dataset_id: UUID, user_id: UUID) -> Dataset | None:
        """A dataset of this user's; None when there is none of that id, or it is somebody else's."""
        with self._database.reading() as connection:
            found = _fetch(connection, select(training_datasets).where(_is(dataset_id, user_id)))
        return found[0] if found else None

    def at(self, provider: str, bucket: str, path: str) -> Dataset | None:
        """The dataset whose verified copy an object is, whoever's; None of one that none vouches for."""
        copy = dataset_copies.c
        wanted = exists().where(
            copy.dataset_id == training_datasets.c.id,
            copy.provider == provider,
            copy.bucket == bucket,
            copy.path == path,
        )
        with self._database.reading() as connection:
            found = _fetch(connection, select(training_datasets).where(wanted))
        return found[0] if found else None

    def add_copy(self, dataset_id: UUID, user_id: UUID, copy: Copy, *, claim: PendingObject | None = None) -> Dataset:
        """Record a verified copy and settle the claim on it; one recorded already is as good as verified again.

        Raises DatasetMissingError, LeaseLostError, UploadUnderWayError when somebody else holds the object, and NameConflictError
        when the dataset has another object or other bytes there.
        """
        with integrity_refused(f"A copy of dataset {dataset_id}"), self._database.writing() as connection:
            dataset = self._locked(connection, dataset_id, user_id)
            _check_copy(dataset, copy)
            copy = copy.verified_until(self._database.now(connection))
            if dataset.copy_at(copy.provider):
                connection.execute(
                    update(dataset_copies)
                    .where(dataset_copies.c.dataset_id == dataset_id, dataset_copies.c.provider == copy.provider)
                    .values(verified_at=copy.verified_at, verified_by=copy.verified_by, version=copy.version)
                )
            else:
                connection.execute(insert(dataset_copies).values(_copy_columns(dataset_id, copy)))
            if claim:
                settle(connection, claim)
            require_unheld(self._database, connection, copy.provider, copy.bucket, copy.path)
            return _one(connection, dataset_id, user_id)

    def delete(
        self, dataset_id: UUID, user_id: UUID, *, holder: str, lease: timedelta, buckets: Mapping[str, str]
    ) -> Sequence[PendingObject]:
        """Take a dataset out of the catalogue; its objects become pending, held by `holder`, who removes and releases them.

        Where the application stored an object itself no bucket is recorded: `buckets` says it, by provider; one outside the user's
        folder is left alone. Whatever a crash leaves is found among the expired ones when the lease has run out. Raises
        DatasetMissingError.
        """
        with self._database.writing() as connection:
            dataset = self._locked(connection, dataset_id, user_id)
            now = self._database.now(connection)
            places = [(copy.provider, copy.bucket, copy.path) for copy in dataset.copies]
            if dataset.copy_at(dataset.storage_provider) is None and dataset.names_its_own:
                places.append((dataset.storage_provider, buckets[dataset.storage_provider], dataset.storage_path))
            claims = [PendingObject(*place, dataset_id, user_id, holder, now + lease, now) for place in sorted(places)]
            for claim in claims:
                orphan(self._database, connection, claim)
            connection.execute(delete(training_datasets).where(_is(dataset_id, user_id)))
            return claims

    def page(
        self,
        user_id: UUID,
        *,
        provider: str | None = None,
        training_provider: str | None = None,
        format: str | None = None,  # noqa: A002 - the catalogue's own word
        name: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> DatasetPage:
        """This user's datasets, newest first, at most 200: those with bytes at `provider`, those `training_provider` sees, of
        a format, with `name` somewhere in theirs (upper and lower case alike).

        Following the cursor shows every dataset that was there at the start once, whatever is inserted meanwhile. Raises
        UnknownChoiceError for a provider there is not, or a cursor that is none of ours.
        """
        if not 1 <= limit <= LARGEST_PAGE:
            raise UnknownChoiceError(f"A page of {limit} datasets was asked for; choose 1 to {LARGEST_PAGE}.")
        column = training_datasets.c
        wanted = [column.user_id == user_id]
        if provider is not None:
            wanted.append(_has_bytes_at(_storage_provider(provider)))
        if training_provider is not None:
            wanted.append(_has_bytes_at(where_training_reads(training_provider)))
        if format is not None:
            wanted.append(column.format == str(format))
        if name:
            wanted.append(column.name.icontains(name, autoescape=True))
        if cursor is not None:
            created_at, id_ = read_cursor(cursor)
            wanted.append(tuple_(column.created_at, column.id) < tuple_(literal(created_at, Moment), literal(id_)))
        query = select(training_datasets).where(*wanted)
        query = query.order_by(column.created_at.desc(), column.id.desc()).limit(limit + 1)
        with self._database.reading() as connection:
            found = _fetch(connection, query)
        shown = found[:limit]
        more = len(found) > limit
        return DatasetPage(shown, write_cursor(shown[-1].created_at, shown[-1].id) if more else None)

    def counts(self, user_id: UUID) -> DatasetCounts:
        """How many datasets a user has, and how many of them have bytes at each provider: one may have them at both."""
        at = {str(provider): _has_bytes_at(provider) for provider in StorageProvider}
        counted = [func.sum(case((there, 1), else_=0)).label(name) for name, there in at.items()]
        query = select(func.count().label("total"), *counted).where(training_datasets.c.user_id == user_id)
        with self._database.reading() as connection:
            row = connection.execute(query.select_from(training_datasets)).one()
        return DatasetCounts(row.total, {name: row._mapping[name] or 0 for name in at})

    def _found(self, connection: Connection, dataset: Dataset, claims: Sequence[PendingObject]) -> Dataset:
        """What is kept under the id already, when it is the same dataset."""
        found = _fetch(connection, select(training_datasets).where(training_datasets.c.id == dataset.id))
        if not found:
            raise UploadUnderWayError(f"Dataset {dataset.id} was deleted at this moment. Try again later.")
        kept = found[0]
        if _identity(kept) != _identity(dataset):
            raise NameConflictError(
                f"Dataset id {dataset.id} belongs to another dataset than {dataset.name!r}. Choose another name."
            )
        objects = {(copy.provider, copy.bucket, copy.path) for copy in kept.copies}
        for claim in claims:
            if (claim.provider, claim.bucket, claim.path) in objects:  # any other object stays pending: nobody knows it
                forget(connection, claim)
        return kept

    def _locked(self, connection: Connection, dataset_id: UUID, user_id: UUID) -> Dataset:
        """The dataset, which nobody else changes or adds copies to until the transaction ends."""
        row = select(training_datasets.c.id).where(_is(dataset_id, user_id)).with_for_update()
        if connection.execute(row).one_or_none() is None:
            raise DatasetMissingError(f"There is no dataset {dataset_id} of user {user_id}.")
        return _one(connection, dataset_id, user_id)


def datasets_of_config(connection: Connection, config_id: UUID, user_id: UUID) -> Sequence[Dataset]:
    """Those of this user's that a training config names, oldest first."""
    named = select(training_config_datasets.c.dataset_id).where(training_config_datasets.c.config_id == config_id)
    column = training_datasets.c
    found = _fetch(connection, select(training_datasets).where(column.user_id == user_id, column.id.in_(named)))
    return sorted(found, key=lambda dataset: (dataset.created_at, str(dataset.id)))


def where_training_reads(training_provider: str) -> StorageProvider:
    """Where training at a provider reads its datasets. Raises UnknownChoiceError listing the providers there are."""
    try:
        return TRAINING_PROVIDERS[training_provider.strip().lower()]
    except KeyError:
        known = ", ".join(TRAINING_PROVIDERS)
        raise UnknownChoiceError(
            f"There is no training provider {training_provider!r}. Choose one of: {known}."
        ) from None


def _storage_provider(name: str) -> StorageProvider:
    try:
        return StorageProvider(name)
    except ValueError:
        known = ", ".join(StorageProvider)
        raise UnknownChoiceError(f"There is no storage provider {name!r}. Choose one of: {known}.") from None


def _check(dataset: Dataset, claims: Sequence[PendingObject]) -> None:
    check_text(dataset.name, dataset.description, dataset.metadata)
    named = dataset.copy_at(dataset.storage_provider)
    if named is None or named.path != dataset.storage_path:
        raise ValueError(f"dataset {dataset.id} names an object it has no copy of")
    objects = {(copy.provider, copy.bucket, copy.path) for copy in dataset.copies}
    if not all((claim.provider, claim.bucket, claim.path) in objects for claim in claims):
        raise ValueError(f"dataset {dataset.id} settles the claim on an object it has no copy of")


def _check_copy(dataset: Dataset, copy: Copy) -> None:
    there = dataset.copy_at(copy.provider)
    if there and (there.bucket, there.path) != (copy.bucket, copy.path):
        raise NameConflictError(
            f"Dataset {dataset.id} has a copy in {copy.provider} already: {there.bucket}/{there.path}."
        )
    if any((other.sha256, other.size_bytes) != (copy.sha256, copy.size_bytes) for other in dataset.copies):
        raise NameConflictError(
            f"{copy.bucket}/{copy.path} in {copy.provider} has other bytes than dataset {dataset.id}."
        )


def _identity(dataset: Dataset) -> tuple[Any, ...]:
    """What makes two inserts the same. Not where it lies or how it is described (that may have changed since), nor figures that
    follow from the content."""
    content = frozenset((copy.sha256, copy.size_bytes) for copy in dataset.copies)
    return dataset.user_id, dataset.name, str(dataset.format), content


def _is(dataset_id: UUID, user_id: UUID) -> ColumnElement[bool]:
    return and_(training_datasets.c.id == dataset_id, training_datasets.c.user_id == user_id)


def _has_bytes_at(provider: StorageProvider) -> ColumnElement[bool]:
    copied = exists().where(
        dataset_copies.c.dataset_id == training_datasets.c.id, dataset_copies.c.provider == str(provider)
    )
    return or_(training_datasets.c.storage_provider == str(provider), copied)


def _columns(dataset: Dataset) -> dict[str, Any]:
    values = {column.name: getattr(dataset, column.name) for column in training_datasets.columns}
    return values | {"format": str(dataset.format), "storage_provider": str(dataset.storage_provider)}


def _copy_columns(dataset_id: UUID, copy: Copy) -> dict[str, Any]:
    values = {field.name: getattr(copy, field.name) for field in fields(Copy)}
    return values | {"dataset_id": dataset_id, "provider": str(copy.provider)}


def _one(connection: Connection, dataset_id: UUID, user_id: UUID) -> Dataset:
    return _fetch(connection, select(training_datasets).where(_is(dataset_id, user_id)))[0]


def _fetch(connection: Connection, query: Select[Any]) -> list[Dataset]:
    """The datasets of a query over `training_datasets` with their copies, in one statement: both as of the same moment."""
    page = query.subquery()
    copies = [column.label(f"copy_{column.name}") for column in dataset_copies.columns]
    rows = connection.execute(
        select(page, *copies)
        .outerjoin(dataset_copies, dataset_copies.c.dataset_id == page.c.id)
        .order_by(page.c.created_at.desc(), page.c.id.desc(), dataset_copies.c.provider)
    ).all()
    found: dict[UUID, Dataset] = {}
    for row in rows:
        dataset = found.get(row.id) or _read(row)
        if row.copy_provider is not None:
            dataset = replace(dataset, copies=(*dataset.copies, _read_copy(row)))
        found[row.id] = dataset
    return list(found.values())


def _read(row: Row[Any]) -> Dataset:
    return Dataset(**{column.name: row._mapping[column.name] for column in training_datasets.columns})


def _read_copy(row: Row[Any]) -> Copy:
    return Copy(**{field.name: row._mapping[f"copy_{field.name}"] for field in fields(Copy)})
