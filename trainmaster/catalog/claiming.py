"""Claims on the objects of a whole batch: one transaction, rows locked in one order, so that runs that race never wait in a circle."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

from sqlalchemy import Connection, and_, delete, exists, or_, select, tuple_, update

from trainmaster.catalog.candidates import Candidate
from trainmaster.catalog.database import Database
from trainmaster.catalog.pending import PendingObject, write_all
from trainmaster.catalog.tables import dataset_copies, pending_objects, training_datasets

Place = tuple[str, str, str]
"""An object: provider, bucket, path."""
Wanted = tuple[Candidate, str, str, str]
"""A dataset, and the object that is to hold its bytes: provider, bucket, path."""

_KEY = tuple_(pending_objects.c.provider, pending_objects.c.bucket, pending_objects.c.path)


@dataclass
class Claims:
    """What became of the objects one wanted; of each dataset that is not in `held`, nothing is to be written."""

    held: list[PendingObject] = field(default_factory=list)
    under_way: list[UUID] = field(default_factory=list)
    """Somebody else holds the object."""
    done: list[UUID] = field(default_factory=list)
    """The dataset has its copy there."""
    changed: list[UUID] = field(default_factory=list)
    """The row was deleted, or changed since it was looked at."""
    conflicts: list[UUID] = field(default_factory=list)
    """The object is another dataset's."""
    tried_before: set[UUID] = field(default_factory=set)
    """Of those held: an earlier try claimed the object, and may have left it, whole or in part."""

    def add(self, others: Claims) -> None:
        """Take in what became of others."""
        self.held += others.held
        self.under_way += others.under_way
        self.done += others.done
        self.changed += others.changed
        self.conflicts += others.conflicts
        self.tried_before |= others.tried_before


def claim_all(
    database: Database, connection: Connection, wanted: Sequence[Wanted], holder: str, lease: timedelta
) -> Claims:
    """Hold what is free, or whose lease has run out, or is held by `holder` already."""
    claims = Claims()
    open_to_us = _open_to_us(connection, wanted, claims)
    now = database.now(connection)
    rows = [
        PendingObject(*place, candidate.id, candidate.user_id, holder, now + lease, now)
        for place, candidate in sorted(open_to_us.items(), key=lambda item: item[0])
    ]
    free = or_(pending_objects.c.lease_until <= now, pending_objects.c.holder == holder)
    known = {place_of(claim) for claim in _pending(connection, open_to_us)}
    taken = {place_of(claim): claim for claim in write_all(database, connection, rows, free)}
    # Looked at only now: whoever catalogued one in the meantime had to settle his claim, and ours waited for that.
    vouched = _vouched(connection, list(taken))
    drop(connection, vouched)
    for place, candidate in open_to_us.items():
        if place not in taken:
            claims.under_way.append(candidate.id)
        elif place in vouched:
            (claims.done if vouched[place] == candidate.id else claims.conflicts).append(candidate.id)
        else:
            claims.held.append(taken[place])
            claims.tried_before |= {candidate.id} if place in known else set()
    return claims


def renew_all(database: Database, connection: Connection, holder: str, lease: timedelta) -> int:
    """How many claims of one holder hold for longer, from now."""
    mine = pending_objects.c.holder == holder
    connection.execute(
        select(pending_objects.c.path).where(mine).order_by(*pending_objects.primary_key).with_for_update()
    )
    until = database.now(connection) + lease
    return connection.execute(update(pending_objects).where(mine).values(lease_until=until)).rowcount


def hold(connection: Connection, places: Iterable[Place]) -> Sequence[PendingObject]:
    """The claims on these objects, which nobody takes over, renews or gives up until the transaction ends."""
    return _pending(connection, places, locked=True)


def _pending(connection: Connection, places: Iterable[Place], *, locked: bool = False) -> Sequence[PendingObject]:
    rows = select(pending_objects).where(_KEY.in_(list(places))).order_by(*pending_objects.primary_key)
    return [PendingObject(**row._mapping) for row in connection.execute(rows.with_for_update() if locked else rows)]


def release_all(connection: Connection, claims: Sequence[PendingObject]) -> None:
    """Forget objects that are gone, or never came; not those that somebody else holds by now."""
    holders = {place_of(claim): claim.holder for claim in claims}
    drop(connection, [place for held in hold(connection, holders) if holders[place := place_of(held)] == held.holder])


def drop(connection: Connection, places: Iterable[Place]) -> None:
    """Forget pending objects, whoever holds them."""
    if sorted_places := sorted(places):
        connection.execute(delete(pending_objects).where(_KEY.in_(sorted_places)))


def place_of(claim: PendingObject) -> Place:
    """The object a claim is on."""
    return str(claim.provider), claim.bucket, claim.path


def _open_to_us(connection: Connection, wanted: Sequence[Wanted], claims: Claims) -> dict[Place, Candidate]:
    """Objects nothing speaks against claiming; what does is added to `claims`."""
    found: dict[Place, Candidate] = {}
    as_seen, have_it = _as_seen(connection, [one[0] for one in wanted]), _copied(connection, wanted)
    for candidate, provider, bucket, path in wanted:
        place = (str(provider), bucket, path)
        if candidate.id not in as_seen:
            claims.changed.append(candidate.id)
        elif (candidate.id, place[0]) in have_it:
            claims.done.append(candidate.id)
        elif place in found:
            claims.conflicts.append(candidate.id)
        else:
            found[place] = candidate
    return found


def _as_seen(connection: Connection, candidates: Sequence[Candidate]) -> set[UUID]:
    column = training_datasets.c
    seen = {one.id: (one.updated_at, one.storage_provider, one.storage_path) for one in candidates}
    rows = select(column.id, column.updated_at, column.storage_provider, column.storage_path)
    found = connection.execute(rows.where(column.id.in_(list(seen))))
    return {id_ for id_, *now in found if seen[id_] == tuple(now)}


def _copied(connection: Connection, wanted: Sequence[Wanted]) -> set[tuple[UUID, str]]:
    copy = dataset_copies.c
    query = select(copy.dataset_id, copy.provider).where(copy.dataset_id.in_([one[0].id for one in wanted]))
    return {(id_, provider) for id_, provider in connection.execute(query)}


def _vouched(connection: Connection, places: Sequence[Place]) -> dict[Place, UUID]:
    """Whose objects these are; see pending.py of those the application stored itself."""
    copy, dataset = dataset_copies.c, training_datasets.c
    found: dict[Place, UUID] = {}
    named = {(provider, path): (provider, bucket, path) for provider, bucket, path in places}
    unrecorded = ~exists().where(and_(copy.dataset_id == dataset.id, copy.provider == dataset.storage_provider))
    query = select(dataset.storage_provider, dataset.storage_path, dataset.id)
    query = query.where(dataset.storage_path.in_([path for _, path in named]), unrecorded)
    for provider, path, id_ in connection.execute(query):
        if place := named.get((provider, path)):
            found[place] = id_
    query = select(copy.provider, copy.bucket, copy.path, copy.dataset_id)
    query = query.where(tuple_(copy.provider, copy.bucket, copy.path).in_(list(places)))
    found |= {(provider, bucket, path): id_ for provider, bucket, path, id_ in connection.execute(query)}
    return found
