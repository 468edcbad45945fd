"""Objects no catalogue row vouches for: claimed before the first byte is sent, so that whatever a crash leaves is found.

An object is catalogued, or pending, or not there. Who puts one claims it first, renews the claim while at work and has it settled
by `Datasets.insert`; who deletes one gets the claim from `Datasets.delete` and releases it afterwards. A sweep takes over what
`expired` lists, removes the object, and releases it; what a migration left in S3 it leaves to the next one, for two nights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, and_, delete, exists, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql import ColumnElement

from trainmaster.catalog.database import Database
from trainmaster.catalog.tables import dataset_copies, pending_objects, training_datasets
from trainmaster.errors import LeaseLostError, UploadUnderWayError


@dataclass(frozen=True)
class PendingObject:
    """A row of `pending_objects`: where the object is or may be, whose dataset it is of, and who holds it until when.

    The last three are of a multipart upload that was begun, by this holder or one before.
    """

    provider: str
    bucket: str
    path: str
    dataset_id: UUID
    user_id: UUID
    holder: str
    lease_until: datetime
    started_at: datetime
    upload_id: str | None = None
    part_size: int | None = None
    source_version: str | None = None

    @property
    def uri(self) -> str:
        """Where the object is or may be, as people say it."""
        return f"{self.provider}://{self.bucket}/{self.path}"


UPLOAD = ("upload_id", "part_size", "source_version")
"""What outlives a claim that is taken over: the next holder goes on with the upload, or ends it."""
TAKEN_UP_WITHIN = timedelta(days=2)
"""So long what a migration left in S3 is kept for the next: it was read from Supabase already, which bills for that."""


class PendingObjects:
    """Leases on objects. Times are the database's, so the clocks of workers need not agree."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def claim(
        self, *, provider: str, bucket: str, path: str, dataset_id: UUID, user_id: UUID, holder: str, lease: timedelta
    ) -> PendingObject | None:
        """Hold an object before anything is done to it; None when a catalogued dataset has it, so there is nothing to do.

        Of many at once one gets it. Who holds it already gets it anew. A lease that ran out is taken over. Raises
        UploadUnderWayError when somebody else's has not. `holder` names one attempt, as nobody else does.
        """
        with self._database.writing() as connection:
            now = self._database.now(connection)
            wanted = PendingObject(provider, bucket, path, dataset_id, user_id, holder, now + lease, now)
            held = self._hold(connection, wanted, now)
            # Looked at only now: whoever catalogued it in the meantime had to settle his claim, and ours waited for that.
            if connection.execute(select(is_vouched(provider, bucket, path))).scalar_one():
                forget(connection, wanted)
                return None
            return held

    def hold(
        self, *, provider: str, bucket: str, path: str, dataset_id: UUID, user_id: UUID, holder: str, lease: timedelta
    ) -> PendingObject:
        """Hold an object though it may be catalogued, to put it anew. Raises UploadUnderWayError when somebody else holds it.

        Where it is catalogued, and its holder dies, whoever takes the claim over finds that and leaves the object alone.
        """
        with self._database.writing() as connection:
            now = self._database.now(connection)
            wanted = PendingObject(provider, bucket, path, dataset_id, user_id, holder, now + lease, now)
            return self._hold(connection, wanted, now)

    def renew(self, claim: PendingObject, lease: timedelta) -> PendingObject:
        """The same claim for longer, from now. Raises LeaseLostError when it was taken over or settled."""
        with self._database.writing() as connection:
            until = self._database.now(connection) + lease
            renewed = connection.execute(
                update(pending_objects).where(is_held(claim)).values(lease_until=until).returning(pending_objects)
            ).one_or_none()
        if renewed is None:
            raise lost(claim)
        return _read(renewed)

    def release(self, claim: PendingObject) -> bool:
        """Forget an object that is gone, or never came; False when somebody else holds it by now."""
        with self._database.writing() as connection:
            return connection.execute(delete(pending_objects).where(is_held(claim))).rowcount == 1

    def expired(self, limit: int = 100) -> Sequence[PendingObject]:
        """Objects to be removed, of all users, the longest abandoned first. `claim` one before touching it.

        Nobody holds them any more, nor will a migration go on with them.
        """
        with self._database.reading() as connection:
            now = self._database.now(connection)
            rows = connection.execute(
                select(pending_objects)
                .where(pending_objects.c.lease_until <= now, ~_is_to_be_taken_up(now))
                .order_by(pending_objects.c.lease_until, pending_objects.c.path)
                .limit(limit)
            ).all()
        return [_read(row) for row in rows]

    def _hold(self, connection: Connection, wanted: PendingObject, now: datetime) -> PendingObject:
        if not self._take(connection, wanted, now):
            # There still: a conflict locks the row even where it changes nothing.
            there = select(pending_objects).where(_is(wanted.provider, wanted.bucket, wanted.path))
            raise _under_way(_read(connection.execute(there).one()), now)
        return _read(connection.execute(select(pending_objects).where(is_held(wanted))).one())

    def _take(self, connection: Connection, wanted: PendingObject, now: datetime) -> bool:
        free = or_(pending_objects.c.lease_until <= now, pending_objects.c.holder == wanted.holder)
        taken = _written(self._database, [wanted], free).returning(pending_objects.c.path)
        return connection.execute(taken).first() is not None


def settle(connection: Connection, claim: PendingObject) -> None:
    """Give a claim up in the transaction that vouches for its object. Raises LeaseLostError when it was taken over."""
    if connection.execute(delete(pending_objects).where(is_held(claim))).rowcount != 1:
        raise lost(claim)


def orphan(database: Database, connection: Connection, claim: PendingObject) -> None:
    """Make an object pending in the transaction that withdraws its catalogue row, whoever held it before."""
    connection.execute(_written(database, [claim]))


def write_all(
    database: Database, connection: Connection, claims: Sequence[PendingObject], replacing: ColumnElement[bool]
) -> Sequence[PendingObject]:
    """Write claims, in place of those there that are `replacing`, and return as they are kept those that were written."""
    if not claims:
        return []
    rows = connection.execute(_written(database, claims, replacing).returning(pending_objects))
    return [_read(row) for row in rows]


def forget(connection: Connection, claim: PendingObject) -> None:
    """Whoever holds it: the object is catalogued."""
    connection.execute(delete(pending_objects).where(_is(claim.provider, claim.bucket, claim.path)))


def require_unheld(database: Database, connection: Connection, provider: str, bucket: str, path: str) -> None:
    """Of an object catalogued in this transaction, its claim settled: raises UploadUnderWayError when somebody else holds it, who
    may be about to remove it. A claim that has run out is forgotten."""
    now = database.now(connection)
    row = select(pending_objects).where(_is(provider, bucket, path))
    # For update: who takes the object over at this moment is waited for, and then seen.
    other = connection.execute(row.with_for_update()).one_or_none()
    if other is not None and other.lease_until > now:
        raise _under_way(_read(other), now)
    if other is not None:
        forget(connection, _read(other))


def lost(claim: PendingObject) -> LeaseLostError:
    """The error of a claim that is ours no more."""
    return LeaseLostError(
        f"{claim.provider} object {claim.bucket}/{claim.path}: the claim of {claim.started_at:%Y-%m-%d %H:%M:%S} UTC was held"
        f" until {claim.lease_until:%H:%M:%S} and has been taken over since. Start anew."
    )


def is_vouched(provider: str, bucket: str, path: str) -> ColumnElement[bool]:
    """Whether a dataset has the object. Of one the application stored itself no copy is recorded, and no bucket: its path is
    made of the dataset's id, so the path alone tells."""
    copies, datasets = dataset_copies.c, training_datasets.c
    copied = exists().where(and_(copies.dataset_id == datasets.id, copies.provider == provider))
    return or_(
        exists().where(and_(copies.provider == provider, copies.bucket == bucket, copies.path == path)),
        exists().where(and_(datasets.storage_provider == provider, datasets.storage_path == path, ~copied)),
    )


def _is_to_be_taken_up(now: datetime) -> ColumnElement[bool]:
    """Whether it is what there is in S3 of a dataset that is to be copied there yet, left a short while ago."""
    table, copies, datasets = pending_objects.c, dataset_copies.c, training_datasets.c
    return and_(
        table.provider == "s3",
        table.lease_until > now - TAKEN_UP_WITHIN,
        exists().where(datasets.id == table.dataset_id),
        ~exists().where(and_(copies.dataset_id == table.dataset_id, copies.provider == "s3")),
    )


def _under_way(other: PendingObject, now: datetime) -> UploadUnderWayError:
    left = (other.lease_until - now).total_seconds()
    return UploadUnderWayError(
        f"Another run has been at {other.provider} object {other.bucket}/{other.path} since"
        f" {other.started_at:%Y-%m-%d %H:%M:%S} UTC; its claim runs out in {left:.0f} s unless renewed. Try again later."
    )


def _written(
    database: Database, claims: Sequence[PendingObject], replacing: ColumnElement[bool] | None = None
) -> postgresql.Insert | sqlite.Insert:
    """Their rows, in place of those that are there. Of those that are `replacing` an upload that was begun is kept."""
    insert = database.insert(pending_objects).values([asdict(claim) for claim in claims])
    key = list(pending_objects.primary_key)
    kept = {*pending_objects.primary_key.columns.keys(), *(UPLOAD if replacing is not None else ())}
    others = {column.name: insert.excluded[column.name] for column in pending_objects.c if column.name not in kept}
    return insert.on_conflict_do_update(index_elements=key, set_=others, where=replacing)


def _is(provider: str, bucket: str, path: str) -> ColumnElement[bool]:
    table = pending_objects.c
    return and_(table.provider == provider, table.bucket == bucket, table.path == path)


def is_held(claim: PendingObject) -> ColumnElement[bool]:
    """The row of a claim that is still ours."""
    return and_(_is(claim.provider, claim.bucket, claim.path), pending_objects.c.holder == claim.holder)


def _read(row: Row[Any]) -> PendingObject:
    return PendingObject(**row._mapping)
