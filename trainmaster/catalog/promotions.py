"""Which copy readers get, and when the one they do not get may go: compare-and-set on rows that stay locked until it is done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import Connection, String, bindparam, delete, func, or_, select, update

from trainmaster.catalog.candidates import Candidate
from trainmaster.catalog.database import Database
from trainmaster.catalog.datasets import Copy
from trainmaster.catalog.hindrances import clear, damage_noted, damaged_among, hinder
from trainmaster.catalog.moves import Deed, Move, note
from trainmaster.catalog.pending import PendingObject, is_vouched, orphan
from trainmaster.catalog.settling import Outcome, copies_of, lock_as_seen
from trainmaster.catalog.tables import dataset_copies, training_datasets
from trainmaster.errors import NameConflictError, ObjectMissingError
from trainmaster.storage.store import StorageProvider


@dataclass(frozen=True)
class Verified:
    """A copy that was read and found whole: whose, at which provider, when the reading began (by the database's clock), by whom.

    `version` is the one that was read, if it is known.
    """

    dataset_id: UUID
    provider: str
    at: datetime
    by: str
    version: str | None = None


Said = tuple[str, str]
"""Why, and what to do about it."""

_DEEDS: Mapping[StorageProvider, Deed] = {StorageProvider.S3: "promote", StorageProvider.SUPABASE: "rollback"}


def send_readers(
    database: Database, connection: Connection, chosen: Sequence[Candidate], to: StorageProvider, by: str
) -> Sequence[Outcome]:
    """Make the copy at a provider the one each row names: MOVED, CHANGED, or MISSING where there is no sound one."""
    as_seen = lock_as_seen(connection, chosen)
    copies, damaged = copies_of(connection, as_seen), damaged_among(connection, as_seen)
    now, outcomes, moved = database.now(connection), list[Outcome](), list[tuple[Candidate, Copy]]()
    for one in chosen:
        copy = copies.get(one.id, {}).get(to)
        if one.id not in as_seen:
            outcomes.append(Outcome.CHANGED)
        elif copy is None or (to is StorageProvider.S3 and one.id in damaged):
            outcomes.append(Outcome.MISSING)
        else:
            outcomes.append(Outcome.MOVED)
            if (one.storage_provider, one.storage_path) != (to, copy.path):
                moved.append((one, copy))
    if not moved:
        return outcomes
    row = training_datasets.c
    named = update(training_datasets).where(row.id == bindparam("of"))
    values = [
        {
            "of": one.id,
            "storage_provider": copy.provider,
            "storage_path": copy.path,
            # A clock that stands still must not make two versions of the row look like one.
            "updated_at": max(now, one.updated_at + timedelta(microseconds=1)),
        }
        for one, copy in moved
    ]
    connection.execute(named, values)
    note(connection, [Move(one.id, _DEEDS[to], now, by, copy.uri) for one, copy in moved])
    if to is StorageProvider.SUPABASE:
        for one, _ in moved:
            if one.id in damaged:
                _drop_damaged(database, connection, one.id, one.user_id)
    return outcomes


def withdraw(
    database: Database,
    connection: Connection,
    candidate: Candidate,
    *,
    holder: str,
    lease: timedelta,
    by: str,
    version: str | None = None,
    deed: Deed = "prune",
) -> PendingObject | None:
    """Take Supabase's copy of a dataset out of the catalogue; its object becomes pending, held by `holder`, who removes it.

    Of one that is pruned it is written down which version is to go, the one that was seen if none is catalogued; empty where
    none was. For a rollback the object is gone already: `holder` puts it anew.

    None when the dataset is gone or changed, or its copy is not the one that was looked at. Raises ObjectMissingError when
    Supabase's would be missed, and NameConflictError when another dataset names the same object.
    """
    if candidate.id not in lock_as_seen(connection, [candidate]):
        return None
    copies = copies_of(connection, [candidate.id]).get(candidate.id, {})
    there, kept = copies.get(StorageProvider.SUPABASE), copies.get(StorageProvider.S3)
    if there is None or there != candidate.supabase:
        return None
    _require_spare(connection, candidate, there, kept)
    copy = dataset_copies.c
    connection.execute(
        delete(dataset_copies).where(copy.dataset_id == candidate.id, copy.provider == StorageProvider.SUPABASE)
    )
    if connection.execute(select(is_vouched(there.provider, there.bucket, there.path))).scalar_one():
        raise NameConflictError(
            f"Dataset {candidate.id}: another dataset names the same object, {there.uri}. It is kept until that dataset is copied."
        )
    now = database.now(connection)
    claim = PendingObject(
        there.provider,
        there.bucket,
        there.path,
        candidate.id,
        candidate.user_id,
        holder,
        now + lease,
        now,
        source_version=(there.version or version) if deed == "prune" else None,
    )
    orphan(database, connection, claim)
    if deed == "prune":
        note(connection, [Move(candidate.id, "prune", now, by, there.uri)])
    return claim


def note_damage(
    database: Database,
    connection: Connection,
    dataset_id: UUID,
    copy: Copy,
    *,
    said: Said,
    by: str,
    let_go: bool,
) -> bool:
    """Keep that a copy is not what was catalogued; False when it is not the one that is. One in S3 that no reader needs goes, to
    be made anew, if it may be `let_go`."""
    column = training_datasets.c
    row = select(column.user_id, column.storage_provider, column.updated_at).where(column.id == dataset_id)
    dataset = connection.execute(row.with_for_update(key_share=True)).one_or_none()
    known = copies_of(connection, [dataset_id]).get(dataset_id, {})
    if dataset is None or not _same_object(copy, known.get(copy.provider)):
        return False
    in_s3 = copy.provider == StorageProvider.S3
    hinder(database, connection, [(dataset_id, "damaged" if in_s3 else "source_unsound", *said, dataset.updated_at)])
    note(connection, [Move(dataset_id, "verify-failed", database.now(connection), by, f"{copy.provider}: {said[0]}")])
    if in_s3 and let_go and dataset.storage_provider == StorageProvider.SUPABASE:
        _drop_damaged(database, connection, dataset_id, dataset.user_id)
    return True


def verify_all(database: Database, connection: Connection, found: Sequence[Verified]) -> None:
    """Note who found which copies whole, and when; one in S3 is not damaged any more, unless that was noted after the reading began."""
    row = training_datasets.c.id
    locked = select(row).where(row.in_([one.dataset_id for one in found])).order_by(row)
    connection.execute(locked.with_for_update(key_share=True))
    noted = damage_noted(connection, [one.dataset_id for one in found])
    in_s3 = [one for one in found if one.provider == StorageProvider.S3]
    outdated = [one for one in in_s3 if one.dataset_id in noted and noted[one.dataset_id] > one.at]
    sound = sorted((one for one in found if one not in outdated), key=lambda one: one.dataset_id)
    if not sound:
        return
    copy, now = dataset_copies.c, database.now(connection)
    newer = (
        update(dataset_copies)
        .where(
            copy.dataset_id == bindparam("of"),
            copy.provider == bindparam("at"),
            or_(copy.verified_at <= bindparam("found_at"), copy.verified_at > now),
        )
        .values(
            verified_at=bindparam("noted_at"),
            verified_by=bindparam("found_by"),
            version=func.coalesce(bindparam("read_version", type_=String), copy.version),
        )
    )
    values = [
        {
            "of": one.dataset_id,
            "at": str(one.provider),
            "found_at": one.at,
            "noted_at": min(one.at, now),
            "found_by": one.by,
            "read_version": one.version,
        }
        for one in sound
    ]
    connection.execute(newer, values)
    clear(connection, [one.dataset_id for one in sound if one.provider == StorageProvider.S3], "damaged")


def _same_object(one: Copy, other: Copy | None) -> bool:
    """Whether both are of the same bytes at the same place, as far as was noted, whenever they were verified."""
    return other is not None and replace(one, verified_at=other.verified_at, verified_by=other.verified_by) == other


def _require_spare(connection: Connection, candidate: Candidate, there: Copy, kept: Copy | None) -> None:
    """Raises ObjectMissingError unless readers get the same bytes from S3."""
    if candidate.storage_provider != StorageProvider.S3 or kept is None or candidate.storage_path != kept.path:
        why = "readers do not get a verified copy in S3 yet. Copy and promote it first."
    elif (kept.sha256, kept.size_bytes) != (there.sha256, there.size_bytes):
        why = f"{kept.uri} has other bytes. Roll the dataset back, and copy it anew."
    elif damaged_among(connection, [candidate.id]):
        why = f"{kept.uri} is damaged. Roll the dataset back, and copy it anew."
    else:
        return
    raise ObjectMissingError(f"Dataset {candidate.id}: {there.uri} is kept, because {why}")


def _drop_damaged(database: Database, connection: Connection, dataset_id: UUID, user_id: UUID) -> None:
    """Where Supabase has the dataset: nobody is to train on the one in S3, and the next migration copies it again."""
    copies = copies_of(connection, [dataset_id]).get(dataset_id, {})
    damaged = copies.get(StorageProvider.S3)
    if damaged is None or StorageProvider.SUPABASE not in copies:
        return
    copy, now = dataset_copies.c, database.now(connection)
    connection.execute(delete(dataset_copies).where(copy.dataset_id == dataset_id, copy.provider == StorageProvider.S3))
    free = PendingObject(damaged.provider, damaged.bucket, damaged.path, dataset_id, user_id, "nobody", now, now)
    orphan(database, connection, free)
