"""What Supabase has now catalogued as a dataset's bytes, where somebody replaced them after they were copied."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, delete, insert, select, update

from trainmaster.catalog.candidates import Candidate
from trainmaster.catalog.database import Database
from trainmaster.catalog.datasets import REPORTED, Copy
from trainmaster.catalog.hindrances import clear
from trainmaster.catalog.moves import Move, note
from trainmaster.catalog.pending import PendingObject, orphan
from trainmaster.catalog.refusals import integrity_refused
from trainmaster.catalog.settling import copies_of, lock_as_seen
from trainmaster.catalog.tables import dataset_copies, training_datasets
from trainmaster.storage.store import StorageProvider


def retake(
    database: Database, candidate: Candidate, theirs: Copy, *, holder: str, lease: timedelta, by: str
) -> Sequence[PendingObject] | None:
    """Make `theirs`, found whole in Supabase, the only copy of a dataset and what readers get, all or nothing.

    Of the figures in its row those of the older bytes go: size and SHA-256 are the newer ones', the others are not known.
    The object in S3, if there is one, becomes pending, held by `holder`, who removes it; whatever a crash leaves is swept. None
    when the dataset is gone, or it or its copies are not what was looked at.
    """
    with integrity_refused(f"Dataset {candidate.id}"), database.writing() as connection:
        if candidate.id not in lock_as_seen(connection, [candidate]):
            return None
        copies = copies_of(connection, [candidate.id]).get(candidate.id, {})
        ours = copies.get(StorageProvider.S3)
        if ours != candidate.s3 or copies.get(StorageProvider.SUPABASE) != candidate.supabase:
            return None
        now = database.now(connection)
        connection.execute(delete(dataset_copies).where(dataset_copies.c.dataset_id == candidate.id))
        connection.execute(insert(dataset_copies).values(dataset_id=candidate.id, **asdict(theirs.verified_until(now))))
        connection.execute(
            update(training_datasets)
            .where(training_datasets.c.id == candidate.id)
            .values(
                storage_provider=theirs.provider,
                storage_path=theirs.path,
                file_size_bytes=theirs.size_bytes,
                total_examples=None,
                avg_input_length=None,
                avg_output_length=None,
                metadata=_without_figures(_metadata(connection, candidate.id), theirs),
                # A clock that stands still must not make two versions of the row look like one.
                updated_at=max(now, candidate.updated_at + timedelta(microseconds=1)),
            )
        )
        clear(connection, [candidate.id])
        note(connection, [Move(candidate.id, "rollback", now, by, f"{theirs.uri} as it is now")])
        if ours is None:
            return []
        place = (ours.provider, ours.bucket, ours.path)
        claim = PendingObject(*place, candidate.id, candidate.user_id, holder, now + lease, now)
        orphan(database, connection, claim)
        return [claim]


def _metadata(connection: Connection, dataset_id: UUID) -> Any:
    return connection.execute(
        select(training_datasets.c.metadata).where(training_datasets.c.id == dataset_id)
    ).scalar_one()


def _without_figures(metadata: Any, theirs: Copy) -> Any:
    """What else is in it stays; what is no object, anybody may have written, and stays as it is."""
    if not isinstance(metadata, dict | None):
        return metadata
    others = {name: value for name, value in (metadata or {}).items() if name not in (*REPORTED, "source")}
    return {**others, "normalised": {"sha256": theirs.sha256, "size": theirs.size_bytes}}
