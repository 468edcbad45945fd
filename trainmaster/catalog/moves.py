"""Who did what with which dataset when. Written in the transaction that does it, never changed, and kept when the dataset goes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

from sqlalchemy import Connection, case, insert, select
from sqlalchemy.sql import ColumnElement

from trainmaster.catalog.columns import keepable
from trainmaster.catalog.tables import dataset_moves, training_datasets

Phase = Literal["copy", "promote", "prune", "rollback"]
"""Of a migration: what may be done with datasets."""
Deed = Literal["copy", "promote", "prune", "rollback", "verify-failed"]


@dataclass(frozen=True)
class Move:
    """Something that was done with a dataset, or found of it."""

    dataset_id: UUID
    phase: Deed
    at: datetime
    by: str
    detail: str | None = None


def note(connection: Connection, moves: Sequence[Move]) -> None:
    """Add moves to what is known."""
    rows = [
        {
            "dataset_id": move.dataset_id,
            "phase": move.phase,
            "at": move.at,
            "by": keepable(move.by),
            "detail": keepable(move.detail),
        }
        for move in moves
    ]
    if rows:
        connection.execute(insert(dataset_moves), rows)


def moves_of(connection: Connection, dataset_id: UUID) -> Sequence[Move]:
    """All of one dataset, the oldest first."""
    column = dataset_moves.c
    query = select(column.dataset_id, column.phase, column.at, column.by, column.detail)
    rows = connection.execute(query.where(column.dataset_id == dataset_id).order_by(column.position))
    return [Move(*row) for row in rows]


def promoted_at() -> ColumnElement[datetime | None]:
    """Since when readers of a row of `training_datasets` get S3, as far as that was noted of this row and not of one before it."""
    move, dataset = dataset_moves.c, training_datasets.c
    last = (
        select(case((move.phase == "promote", move.at)))
        .where(move.dataset_id == dataset.id, move.phase.in_(["promote", "rollback"]), move.at >= dataset.created_at)
        .order_by(move.position.desc())
        .limit(1)
        .correlate(training_datasets)
        .scalar_subquery()
    )
    return case((dataset.storage_provider == "s3", last))
