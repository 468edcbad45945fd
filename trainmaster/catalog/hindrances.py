"""Why datasets could not be moved: kept from run to run, so that people see it and nobody tries for ever."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

from sqlalchemy import Connection, and_, case, delete, exists, or_, select

from trainmaster.catalog.columns import keepable
from trainmaster.catalog.database import Database
from trainmaster.catalog.tables import dataset_copies, dataset_hindrances, training_datasets
from trainmaster.storage.store import StorageProvider

HindranceKind = Literal[
    "source_missing", "source_unsound", "source_changed", "source_unavailable", "destination", "not_set_up", "conflict",
    "damaged", "unexpected",
]  # fmt: skip
"""`source_unsound` is no whole gzip, or other bytes than were catalogued; `damaged` is a copy in S3 that is not what it was."""
HOPELESS: frozenset[HindranceKind] = frozenset({"source_missing", "source_unsound"})
WRONG_AT: Mapping[StorageProvider, frozenset[HindranceKind]] = {
    StorageProvider.SUPABASE: HOPELESS,
    StorageProvider.S3: frozenset({"damaged"}),
}
"""What says of the copy at a provider that it is not what was catalogued."""
MOST_FAILURES = 3
"""So often a hopeless one is tried; then not again until its row changes."""
LONGEST = 2_000


@dataclass(frozen=True)
class Hindrance:
    """Why a dataset could not be moved the last time, what to do about it, and how often it has been so, since when."""

    kind: HindranceKind
    reason: str
    advice: str
    failures: int
    first_at: datetime
    last_at: datetime
    row_updated_at: datetime

    def gives_up(self, updated_at: datetime) -> bool:
        """Whether a row that was last changed then is not worth another try."""
        return self.kind in HOPELESS and self.failures >= MOST_FAILURES and self.row_updated_at == updated_at


Found = tuple[UUID, HindranceKind, str, str, datetime]
"""A dataset, what kept it from being moved, why, what to do, and the `updated_at` its row had."""


def hinder(database: Database, connection: Connection, found: Sequence[Found]) -> None:
    """Note what was found, except of datasets that are gone. Whose copy in S3 is damaged is known as that until it is replaced."""
    there = _still_there(connection, [one[0] for one in found])
    now = database.now(connection)
    rows = [
        {
            "dataset_id": dataset_id,
            "kind": kind,
            "reason": keepable(reason)[:LONGEST],
            "advice": keepable(advice)[:LONGEST],
            "failures": 1,
            "first_at": now,
            "last_at": now,
            "row_updated_at": updated_at,
        }
        for dataset_id, kind, reason, advice, updated_at in sorted(found, key=lambda one: one[0])
        if dataset_id in there
    ]
    if not rows:
        return
    kept = dataset_hindrances.c
    statement = database.insert(dataset_hindrances)
    new = statement.excluded
    again = and_(kept.kind == new.kind, kept.row_updated_at == new.row_updated_at)
    written = {
        "kind": new.kind,
        "reason": new.reason,
        "advice": new.advice,
        "failures": case((again, kept.failures + 1), else_=1),
        "first_at": case((again, kept.first_at), else_=new.first_at),
        "last_at": new.last_at,
        "row_updated_at": new.row_updated_at,
    }
    copy = exists().where(
        dataset_copies.c.dataset_id == kept.dataset_id, dataset_copies.c.provider == StorageProvider.S3
    )
    replaceable = or_(kept.kind != "damaged", new.kind == "damaged", ~copy)
    connection.execute(
        statement.on_conflict_do_update(index_elements=["dataset_id"], set_=written, where=replaceable), rows
    )


def clear(connection: Connection, dataset_ids: Sequence[UUID], kind: HindranceKind | None = None) -> None:
    """Nothing hinders these any more; or not what was of one kind."""
    hindered = dataset_hindrances.c
    of_kind = [hindered.kind == kind] if kind else []
    connection.execute(delete(dataset_hindrances).where(hindered.dataset_id.in_(dataset_ids), *of_kind))


def kinds_of(connection: Connection, dataset_ids: Iterable[UUID]) -> Mapping[UUID, HindranceKind]:
    """What kept which of them from being moved, or was found of them, the last time."""
    hindered = dataset_hindrances.c
    rows = select(hindered.dataset_id, hindered.kind).where(hindered.dataset_id.in_(list(dataset_ids)))
    return {found.dataset_id: found.kind for found in connection.execute(rows)}


def remedied(connection: Connection, dataset_id: UUID, provider: StorageProvider, by: datetime) -> None:
    """The copy at a provider was sound at that moment: what was found wrong with it until then no longer hinders."""
    hindered = dataset_hindrances.c
    kinds = WRONG_AT[provider] | ({"source_changed"} if provider is StorageProvider.SUPABASE else set())
    connection.execute(
        delete(dataset_hindrances).where(
            hindered.dataset_id == dataset_id, hindered.kind.in_(sorted(kinds)), hindered.last_at <= by
        )
    )


def damaged_among(connection: Connection, dataset_ids: Iterable[UUID]) -> set[UUID]:
    """Those whose copy in S3 is known to be damaged."""
    return set(damage_noted(connection, dataset_ids))


def damage_noted(connection: Connection, dataset_ids: Iterable[UUID]) -> Mapping[UUID, datetime]:
    """When it was last found of which of them that their copy in S3 is damaged."""
    hindered = dataset_hindrances.c
    damaged = select(hindered.dataset_id, hindered.last_at).where(
        hindered.dataset_id.in_(list(dataset_ids)), hindered.kind == "damaged"
    )
    return {found.dataset_id: found.last_at for found in connection.execute(damaged)}


def _still_there(connection: Connection, dataset_ids: Sequence[UUID]) -> set[UUID]:
    """Locked, so that none of them goes before its hindrance is written; its other columns may change meanwhile."""
    column = training_datasets.c
    rows = select(column.id).where(column.id.in_(dataset_ids)).order_by(column.id)
    return set(connection.execute(rows.with_for_update(read=True, key_share=True)).scalars())
