"""What migrations ask of the catalogue, and write into it: a batch at a time, by compare-and-set, in the order they may be killed in.

An object is claimed before its first byte is sent and catalogued in the transaction that settles the claim. Methods take any
number of datasets and work in transactions of up to 200; results come in the order of what was given. See Database for what they
raise besides.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TypeVar
from uuid import UUID

from sqlalchemy import update

from trainmaster.catalog import candidates
from trainmaster.catalog.candidates import Candidate, Selection
from trainmaster.catalog.claiming import Claims, Wanted, claim_all, release_all, renew_all
from trainmaster.catalog.database import Database
from trainmaster.catalog.datasets import Copy
from trainmaster.catalog.hindrances import Found, HindranceKind, hinder, kinds_of, remedied
from trainmaster.catalog.moves import Deed, Move, Phase, moves_of
from trainmaster.catalog.pending import PendingObject, is_held, lost
from trainmaster.catalog.promotions import Verified, note_damage, send_readers, verify_all, withdraw
from trainmaster.catalog.settling import Outcome, Settled, settle_all
from trainmaster.catalog.tables import pending_objects
from trainmaster.storage.store import StorageProvider

MOST_AT_ONCE = 200
"""Datasets in one transaction: locks are held for a fraction of a second, and a statement binds a few thousand values."""
PAGE = 2_000

T = TypeVar("T")


class Migrations:
    """Datasets of all users on their way between providers."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def candidates(
        self, selection: Selection, *, after: UUID | None = None, limit: int = PAGE, only: Phase | None = None
    ) -> Sequence[Candidate]:
        """The next datasets by id after `after`; with `only`, those that phase has something to do for. Empty when there are no more.

        Following the ids shows every dataset that is there all the while exactly once, whatever is inserted or deleted.
        """
        with self._database.reading() as connection:
            return candidates.page(connection, selection, after=after, limit=limit, only=only)

    def to_verify(
        self,
        selection: Selection,
        *,
        verified_before: datetime | None = None,
        after: Candidate | None = None,
        limit: int = PAGE,
    ) -> Sequence[Candidate]:
        """The next datasets with a copy in S3, those first whose copy was not verified for longest; `after` ended the last page."""
        with self._database.reading() as connection:
            return candidates.page_to_verify(
                self._database, connection, selection, verified_before=verified_before, after=after, limit=limit
            )

    def claim(self, wanted: Sequence[Wanted], *, holder: str, lease: timedelta) -> Claims:
        """Hold the objects that are to be written, before a byte is. `holder` names one attempt, as nobody else does.

        Of many at once one gets each. A claim that ran out is taken over with the upload that was begun under it.
        """
        claims = Claims()
        for some in _batches(wanted):
            with self._database.writing() as connection:
                claims.add(claim_all(self._database, connection, some, holder, lease))
        return claims

    def renew(self, holder: str, lease: timedelta) -> int:
        """Hold all of one holder's claims for longer, from now; how many there are."""
        with self._database.writing() as connection:
            return renew_all(self._database, connection, holder, lease)

    def begun(self, claim: PendingObject, *, upload_id: str, part_size: int, source_version: str) -> None:
        """Write down a multipart upload before its first part, for who may have to go on with it. Raises LeaseLostError."""
        upload = {"upload_id": upload_id, "part_size": part_size, "source_version": source_version}
        with self._database.writing() as connection:
            if connection.execute(update(pending_objects).where(is_held(claim)).values(upload)).rowcount != 1:
                raise lost(claim)

    def copied(self, settled: Sequence[Settled], *, by: str) -> Sequence[Outcome]:
        """Catalogue copies and settle the claims on them: COPIED, LOST, CHANGED or CONFLICT for each."""
        outcomes: list[Outcome] = []
        for some in _batches(settled):
            with self._database.writing() as connection:
                outcomes += settle_all(self._database, connection, some, by)
        return outcomes

    def hindered(self, found: Sequence[Found]) -> None:
        """Keep why datasets could not be moved; of those that are gone, nothing."""
        for some in _batches(found):
            with self._database.writing() as connection:
                hinder(self._database, connection, some)

    def hindrances(self, dataset_ids: Sequence[UUID]) -> Mapping[UUID, HindranceKind]:
        """What was found wrong the last time with those of these that something is wrong with."""
        with self._database.reading() as connection:
            return kinds_of(connection, dataset_ids)

    def remedied(self, dataset_id: UUID, provider: StorageProvider, by: datetime) -> None:
        """Forget what was found wrong, until then, with the copy at a provider: it was sound at that moment."""
        with self._database.writing() as connection:
            remedied(connection, dataset_id, provider, by)

    def release(self, claims: Sequence[PendingObject]) -> None:
        """Give claims up whose objects are gone, or never came; those that somebody else holds by now are his."""
        for some in _batches(claims):
            with self._database.writing() as connection:
                release_all(connection, some)

    def promote(self, chosen: Sequence[Candidate], *, by: str) -> Sequence[Outcome]:
        """Send readers to the copies in S3: MOVED, CHANGED, or MISSING where there is none that is sound."""
        return self._send_readers(chosen, StorageProvider.S3, by)

    def roll_back(self, chosen: Sequence[Candidate], *, by: str) -> Sequence[Outcome]:
        """Send readers to the copies in Supabase: MOVED, CHANGED, or MISSING where there is none. What is damaged in S3 goes."""
        return self._send_readers(chosen, StorageProvider.SUPABASE, by)

    def withdraw(
        self,
        candidate: Candidate,
        *,
        holder: str,
        lease: timedelta,
        by: str,
        version: str | None = None,
        deed: Deed = "prune",
    ) -> PendingObject | None:
        """Take Supabase's copy of a dataset out of the catalogue; its object becomes pending, held by `holder`, who removes it, if
        it is the version that is catalogued, or else this one.

        Whatever a crash leaves is swept when the lease has run out. None when the dataset is gone or changed, or its copy is
        not the one that was looked at. Raises ObjectMissingError when Supabase's would be missed, and NameConflictError when
        another dataset names the same object.
        """
        with self._database.writing() as connection:
            return withdraw(
                self._database, connection, candidate, holder=holder, lease=lease, by=by, version=version, deed=deed
            )

    def now(self) -> datetime:
        """The time that all who use this catalogue agree on."""
        with self._database.reading() as connection:
            return self._database.now(connection)

    def verified(self, found: Sequence[Verified]) -> None:
        """Note copies that were read again and found to be what they were."""
        for some in _batches(found):
            with self._database.writing() as connection:
                verify_all(self._database, connection, some)

    def damaged(self, dataset_id: UUID, copy: Copy, reason: str, advice: str, *, by: str, let_go: bool = True) -> bool:
        """Keep that a copy is not what was catalogued, any more or at all; False when by now another one is catalogued, or none.

        One in S3 that readers are not sent to, of a dataset that is in Supabase too, is taken out of the catalogue, so that
        nobody trains on it; its object is free to be swept, and the next migration copies the dataset again. Not so one that is
        not to be `let_go`.
        """
        with self._database.writing() as connection:
            said = (reason, advice)
            return note_damage(self._database, connection, dataset_id, copy, said=said, by=by, let_go=let_go)

    def moves(self, dataset_id: UUID) -> Sequence[Move]:
        """What was done with a dataset, the oldest first; also when it is gone."""
        with self._database.reading() as connection:
            return moves_of(connection, dataset_id)

    def _send_readers(self, chosen: Sequence[Candidate], to: StorageProvider, by: str) -> Sequence[Outcome]:
        outcomes: list[Outcome] = []
        for some in _batches(chosen):
            with self._database.writing() as connection:
                outcomes += send_readers(self._database, connection, some, to, by)
        return outcomes


def _batches(items: Sequence[T]) -> Iterator[Sequence[T]]:
    return (items[start : start + MOST_AT_ONCE] for start in range(0, len(items), MOST_AT_ONCE))
