"""From which datasets examples were dropped when they were uploaded, as their metadata says."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import select

from trainmaster.catalog.database import Database
from trainmaster.catalog.tables import training_datasets


def with_dropped(database: Database, dataset_ids: Sequence[UUID]) -> set[UUID]:
    """Those of which some were. Anybody may write metadata: what is no such report says nothing."""
    column = training_datasets.c
    examples = column.metadata[("dropped", "examples")].as_string()
    with database.reading() as connection:
        rows = connection.execute(select(column.id, examples).where(column.id.in_(dataset_ids)))
        # SQLite gives a number where it is one.
        return {id_ for id_, count in rows if str(count).isdecimal() and int(count)}
