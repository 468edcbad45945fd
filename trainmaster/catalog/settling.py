"""Copies of a whole batch catalogued: each with its claim settled and its hindrance cleared, or none of that.

What cannot be catalogued is said for each dataset; it keeps no other from being so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import Connection, bindparam, delete, select, tuple_, update

from trainmaster.catalog.candidates import COPY_COLUMNS, Candidate
from trainmaster.catalog.claiming import Place, drop, hold, place_of
from trainmaster.catalog.database import Database
from trainmaster.catalog.datasets import Copy
from trainmaster.catalog.hindrances import clear
from trainmaster.catalog.moves import Move, note
from trainmaster.catalog.pending import PendingObject
from trainmaster.catalog.tables import dataset_copies, training_datasets


class Outcome(StrEnum):
    """What became of one dataset of many."""

    COPIED = "copied"
    MOVED = "moved"
    """Readers get the other copy from now on."""
    LOST = "lost"
    """The claim was taken over: what lies there is somebody else's to see to."""
    CHANGED = "changed"
    """The dataset was deleted or changed since it was looked at. The claim holds still: remove the object."""
    CONFLICT = "conflict"
    """The object is another dataset's, or this one has other bytes catalogued. The claim holds still: remove the object."""
    MISSING = "missing"
    """There is no sound copy for readers to be sent to."""


@dataclass(frozen=True)
class Settled:
    """A dataset that was copied: the claim on its new object, the copies that were found sound, and the dataset as it was then."""

    claim: PendingObject
    copies: Sequence[Copy]
    seen: Candidate


def lock_as_seen(connection: Connection, candidates: Sequence[Candidate]) -> set[UUID]:
    """Those whose rows are what they were; nobody changes or deletes them, or adds copies, until the transaction ends."""
    column = training_datasets.c
    seen = {one.id: (one.updated_at, one.storage_provider, one.storage_path) for one in candidates}
    rows = select(column.id, column.updated_at, column.storage_provider, column.storage_path)
    rows = rows.where(column.id.in_(list(seen))).order_by(column.id).with_for_update(key_share=True)
    return {id_ for id_, *now in connection.execute(rows) if seen[id_] == tuple(now)}


def settle_all(database: Database, connection: Connection, settled: Sequence[Settled], by: str) -> Sequence[Outcome]:
    """Catalogue what can be; the outcomes come in the order given."""
    found = _Found.look(database, connection, settled)
    outcomes = {one.seen.id: found.outcome(one) for one in settled}
    good = [one for one in settled if outcomes[one.seen.id] is Outcome.COPIED]
    outcomes |= dict.fromkeys(_write(database, connection, good, found), Outcome.CONFLICT)
    done = [one for one in good if outcomes[one.seen.id] is Outcome.COPIED]
    drop(connection, {place for one in done for place in _places(one)})
    clear(connection, [one.seen.id for one in done])
    note(connection, [Move(one.seen.id, "copy", found.now, by, one.claim.uri) for one in done])
    return [outcomes[one.seen.id] for one in settled]


@dataclass(frozen=True)
class _Found:
    """What the catalogue says of a batch, locked: datasets first, then claims, each by its key."""

    as_seen: set[UUID]
    pending: Mapping[Place, PendingObject]
    known: Mapping[UUID, Mapping[str, Copy]]
    owners: Mapping[Place, UUID]
    now: datetime

    @classmethod
    def look(cls, database: Database, connection: Connection, settled: Sequence[Settled]) -> _Found:
        as_seen = lock_as_seen(connection, [one.seen for one in settled])
        places = {place for one in settled for place in _places(one)}
        pending = {place_of(claim): claim for claim in hold(connection, places)}
        return cls(
            as_seen, pending, copies_of(connection, as_seen), _owners(connection, places), database.now(connection)
        )

    def outcome(self, one: Settled) -> Outcome:
        claimed = place_of(one.claim)
        if claimed not in self.pending or self.pending[claimed].holder != one.claim.holder:
            return Outcome.LOST
        if one.seen.id not in self.as_seen or any(map(self._is_held, _places(one) - {claimed})):
            return Outcome.CHANGED
        if any(self.owners.get(place, one.seen.id) != one.seen.id for place in _places(one)):
            return Outcome.CONFLICT
        return Outcome.COPIED if _agree(one.copies, self.known.get(one.seen.id, {})) else Outcome.CONFLICT

    def _is_held(self, place: Place) -> bool:
        """By somebody who may be about to remove it."""
        return place in self.pending and self.pending[place].lease_until > self.now


def copies_of(connection: Connection, dataset_ids: Iterable[UUID]) -> Mapping[UUID, Mapping[str, Copy]]:
    """The copies of each dataset, by provider."""
    column = dataset_copies.c
    query = select(column.dataset_id, *(column[name] for name in COPY_COLUMNS))
    found: dict[UUID, dict[str, Copy]] = {}
    for dataset_id, *values in connection.execute(query.where(column.dataset_id.in_(list(dataset_ids)))):
        copy = Copy(*values)
        found.setdefault(dataset_id, {})[copy.provider] = copy
    return found


def _owners(connection: Connection, places: Iterable[Place]) -> Mapping[Place, UUID]:
    copy = dataset_copies.c
    query = select(copy.provider, copy.bucket, copy.path, copy.dataset_id)
    query = query.where(tuple_(copy.provider, copy.bucket, copy.path).in_(list(places)))
    return {(provider, bucket, path): id_ for provider, bucket, path, id_ in connection.execute(query)}


def _agree(copies: Sequence[Copy], known: Mapping[str, Copy]) -> bool:
    """Whether all have the same bytes, and none is at another place than one that is known at its provider."""
    where = all(_object(copy) == _object(known.get(str(copy.provider), copy)) for copy in copies)
    return where and len({(copy.sha256, copy.size_bytes) for copy in (*copies, *known.values())}) == 1


def _write(database: Database, connection: Connection, good: Sequence[Settled], found: _Found) -> set[UUID]:
    """Returns the datasets of which an object was another's at this very moment; nothing of those is written."""
    rows = [
        asdict(copy.verified_until(found.now)) | {"dataset_id": one.seen.id, "provider": str(copy.provider)}
        for one in sorted(good, key=lambda one: one.seen.id)
        for copy in one.copies
    ]
    again = [row for row in rows if row["provider"] in found.known.get(row["dataset_id"], {})]
    new = [row for row in rows if row not in again]
    if again:
        column = dataset_copies.c
        verified = update(dataset_copies).where(
            column.dataset_id == bindparam("of"), column.provider == bindparam("at_provider")
        )
        values = [{**_verification(row), "of": row["dataset_id"], "at_provider": row["provider"]} for row in again]
        connection.execute(verified, values)
    if not new:
        return set()
    written = database.insert(dataset_copies).values(new).on_conflict_do_nothing()
    kept = connection.execute(written.returning(dataset_copies.c.dataset_id, dataset_copies.c.provider)).all()
    wanted = {(row["dataset_id"], row["provider"]) for row in new}
    refused = {dataset_id for dataset_id, _ in wanted - {(row.dataset_id, row.provider) for row in kept}}
    taken_back = [tuple(row) for row in kept if row.dataset_id in refused]
    connection.execute(
        delete(dataset_copies).where(tuple_(dataset_copies.c.dataset_id, dataset_copies.c.provider).in_(taken_back))
    )
    return refused


def _verification(row: Mapping[str, object]) -> dict[str, object]:
    return {name: row[name] for name in ("verified_at", "verified_by", "version")}


def _places(one: Settled) -> set[Place]:
    return {place_of(one.claim), *map(_object, one.copies)}


def _object(copy: Copy) -> Place:
    return str(copy.provider), copy.bucket, copy.path
