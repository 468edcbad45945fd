"""One try to copy some datasets: claimed together, moved by the engine, catalogued as they arrive, and nothing left unsaid.

An object is claimed before its first byte is sent, and settled in the transaction that catalogues it. Who dies in between leaves
claims that run out, under which the next try finds what there is: whole objects, and parts of large ones.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from itertools import groupby
from operator import attrgetter
from typing import Literal
from uuid import UUID

from trainmaster.catalog.candidates import Candidate, Selection
from trainmaster.catalog.claiming import Claims, Wanted
from trainmaster.catalog.dropped import with_dropped
from trainmaster.catalog.hindrances import HindranceKind
from trainmaster.catalog.pending import PendingObject
from trainmaster.catalog.settling import Outcome
from trainmaster.errors import (
    CatalogueUnavailableError,
    CredentialsMissingError,
    DatasetRefusedError,
    DestinationFailedError,
    LeaseLostError,
    NameConflictError,
    NotConfiguredError,
    ObjectChangedError,
    ObjectMissingError,
    SourceFailedError,
    StorageUnavailableError,
    TrainmasterError,
)
from trainmaster.migration.adopting import adopted
from trainmaster.migration.deadline import Halt
from trainmaster.migration.errands import ClaimsOfErrands, Errand, renewing
from trainmaster.migration.hindering import ENDS_ALL, NOT_OURS, TO_BE_TAKEN_UP, failure_of, kind_of
from trainmaster.migration.plan import Prospect, foreign, prospect_of
from trainmaster.migration.planning import Homes
from trainmaster.migration.proving import Pace, StoppedError
from trainmaster.migration.result import Failure
from trainmaster.migration.shares import LEAST_IN_FLIGHT, shared
from trainmaster.migration.taking_back import take_back
from trainmaster.storage.copy import Copied, CopyLimits, NotCopied, Tally, Transfer, copy_objects
from trainmaster.storage.ends.protocols import Destination, NoBucketError
from trainmaster.storage.library import Library, dataset_path, new_holder
from trainmaster.storage.store import StorageProvider
from trainmaster.storage.stores import SUPABASE_BUCKET

SETTLED_AT_ONCE, SETTLED_AFTER_SECONDS = 25, 1.0
"""Copies are catalogued when there are so many, or the first has waited so long."""
BUCKETS_AT_ONCE, READ_BACK_AT_ONCE = 8, 8
_OF_AN_END = (SourceFailedError, DestinationFailedError, NotConfiguredError, StorageUnavailableError)
_MOMENT = 0.2
"""Seconds in which news are waited for."""

_log = logging.getLogger(__name__)

Became = Literal["copied", "adopted", "found", "under_way", "gone", "changed", "failed"]


@dataclass(frozen=True)
class Upshot:
    """What became of one dataset. `size` is in S3 now; `failure` and `error` say why one failed, `kind` is to be kept of it."""

    became: Became
    size: int = 0
    failure: Failure | None = None
    error: TrainmasterError | None = None
    kind: HindranceKind | None = None


@dataclass(frozen=True)
class _Ended:
    """The engine has nothing more to say of some errands; and why, when an end of theirs failed altogether."""

    errands: Sequence[Errand]
    failure: BaseException | None


_News = Copied | NotCopied | _Ended


class Attempt:
    """A try under a name nobody else has. When `copy` returns or raises, no thread of it is left, and nothing held.

    `upshots` are what became of the datasets; one that is not among them was not begun, or not ended: the next try goes on.
    `ended_early` is the error for which going on with others would be of no use.
    """

    def __init__(
        self,
        library: Library,
        limits: CopyLimits,
        *,
        by: str,
        stop: threading.Event | None = None,
        tally: Tally | None = None,
    ) -> None:
        self._library, self._limits, self._by = library, limits, by
        self._stop, self._tally = stop or threading.Event(), tally or Tally()
        self._halt = Halt(self._stop)
        self._holder, self._migrations = new_holder(), library.catalogue.migrations
        self._errands: dict[UUID, Errand] = {}
        self._arrived: list[Copied] = []
        self._arrived_at = 0.0
        self._spoilt, self._unused = list[PendingObject](), list[PendingObject]()
        self._lost: list[NotCopied] = []
        self._seen: dict[UUID, Candidate] = {}
        self.upshots: dict[UUID, Upshot] = {}
        self.bytes_read = 0
        self.ended_early: TrainmasterError | None = None

    def copy(self, dataset_ids: Sequence[UUID]) -> None:
        """Copy these, whoever's they are. Raises CatalogueUnavailableError."""
        if not dataset_ids or self._stop.is_set():
            return
        try:
            with renewing(self._library, self._holder):
                self._claim(self._look(dataset_ids))
                self._move()
                self._adopt()
                self._account_for_changed()
                self._hinder()
                self._take_back()
        finally:
            self._let_go()

    def _look(self, dataset_ids: Sequence[UUID]) -> list[Candidate]:
        """Those that are to be copied; of the others it is known what becomes of them."""
        found = self._migrations.candidates(Selection(dataset_ids=dataset_ids), limit=len(dataset_ids))
        self._seen = {candidate.id: candidate for candidate in found}
        self.upshots |= {id_: Upshot("gone") for id_ in dataset_ids if id_ not in self._seen}
        homeless = self._homeless(found)
        return [] if self.ended_early else [one for one in found if self._is_to_be_copied(one, homeless)]

    def _homeless(self, candidates: Sequence[Candidate]) -> dict[UUID, str]:
        users = {one.user_id for one in candidates if prospect_of(one, {}, retry_given_up=True) is Prospect.COPY}
        try:
            return dict(Homes(self._library.stores).missing(users))
        except (NotConfiguredError, StorageUnavailableError) as error:
            self.ended_early = error
            return {}

    def _is_to_be_copied(self, candidate: Candidate, homeless: dict[UUID, str]) -> bool:
        match prospect_of(candidate, homeless, retry_given_up=True):
            case Prospect.COPIED:
                self.upshots[candidate.id] = Upshot("found")
            case Prospect.FOREIGN:
                reason, advice = foreign(candidate)
                failure = Failure(candidate.id, candidate.name, "foreign", reason, advice)
                error = DatasetRefusedError(f"{reason}. {advice}")
                self.upshots[candidate.id] = Upshot("failed", failure=failure, error=error)
            case Prospect.NOT_SET_UP:
                self._fail(candidate, "not_set_up", NotConfiguredError(homeless[candidate.user_id]))
            case _:
                return True
        return False

    def _claim(self, candidates: Sequence[Candidate]) -> None:
        s3, home = StorageProvider.S3, self._library.stores.home
        wanted: list[Wanted] = [
            (one, s3, home(s3, one.user_id).bucket, dataset_path(s3, one.user_id, one.id)) for one in candidates
        ]
        claims = self._migrations.claim(wanted, holder=self._holder, lease=self._library.lease)
        self._note_unclaimed(claims)
        dropped = with_dropped(self._library.catalogue.database, [claim.dataset_id for claim in claims.held])
        for claim in claims.held:
            id_ = claim.dataset_id
            # Anybody may rewrite metadata: of what is catalogued in Supabase, as what was uploaded here is, it is looked for anyhow.
            may_lack = id_ in dropped or self._seen[id_].supabase is not None
            self._errands[id_] = Errand(self._seen[id_], claim, may_lack, id_ in claims.tried_before)

    def _note_unclaimed(self, claims: Claims) -> None:
        self.upshots |= {id_: Upshot("found") for id_ in claims.done}
        self.upshots |= {id_: Upshot("under_way") for id_ in claims.under_way}
        self.upshots |= {id_: Upshot("changed") for id_ in claims.changed}
        for id_ in claims.conflicts:
            said = f"The object that dataset {id_} would have in S3 is catalogued as another dataset's."
            self._fail(self._seen[id_], "conflict", NameConflictError(said))

    def _move(self) -> None:
        """Copy all that is claimed: objects of several buckets at once, as each goes from one end to one other."""
        inbox: queue.SimpleQueue[_News] = queue.SimpleQueue()
        by_ends = attrgetter("ends")
        groups = [list(group) for _, group in groupby(sorted(self._errands.values(), key=by_ends), by_ends)]
        if not groups:
            return
        at_once = min(len(groups), BUCKETS_AT_ONCE, max(self._limits.in_flight_bytes // LEAST_IN_FLIGHT, 1))
        limits, left = shared(self._limits, at_once), len(groups)
        with ThreadPoolExecutor(at_once, thread_name_prefix="copy-bucket") as threads:
            try:
                for group in groups:
                    threads.submit(self._copy_group, group, limits, inbox)
                while left:
                    left -= self._take_in(inbox)
                    self._settle(at_least=SETTLED_AT_ONCE)
            except BaseException:
                self._halt.set()
                raise
        self._settle(at_least=1)

    def _copy_group(self, errands: Sequence[Errand], limits: CopyLimits, inbox: queue.SimpleQueue[_News]) -> None:
        """All of one pair of buckets. What was dropped goes first, as when it is uploaded: no dataset lacks it."""
        failure: BaseException | None = None
        try:
            lacking = set[UUID]()
            for outcome in self._engine(errands, [one.transfer_of_dropped() for one in errands if one.dropped], limits):
                if isinstance(outcome, NotCopied) and not _needless(outcome):
                    lacking.add(outcome.transfer.key.candidate.id)
                inbox.put(outcome)
            whole = [one.transfer() for one in errands if one.candidate.id not in lacking]
            for outcome in self._engine(errands, whole, limits):
                inbox.put(outcome)
        except BaseException as error:  # noqa: BLE001 - raised where the inbox is read
            failure = error
        inbox.put(_Ended(errands, failure))

    def _engine(
        self, errands: Sequence[Errand], transfers: Sequence[Transfer], limits: CopyLimits
    ) -> Iterator[Copied | NotCopied]:
        if not transfers or self._halt.is_set():
            return iter(())
        stores = self._library.stores
        return copy_objects(
            stores.source(StorageProvider.SUPABASE, errands[0].ends[0]),
            stores.destination(errands[0].candidate.user_id),
            transfers,
            limits=limits,
            journal=ClaimsOfErrands(self._library),
            stop=self._halt,
            tally=self._tally,
        )

    def _take_in(self, inbox: queue.SimpleQueue[_News]) -> int:
        """Note what is new, waiting a moment for it; how many groups came to their end."""
        try:
            news = inbox.get(timeout=_MOMENT)
        except queue.Empty:
            return 0
        if isinstance(news, _Ended):
            if news.failure:
                self._end_failed(news.errands, news.failure)
            return 1
        self.bytes_read += news.bytes_read
        errand: Errand = news.transfer.key
        if isinstance(news, NotCopied):
            if not _needless(news):
                self._not_copied(errand, news)
        elif news.transfer.destination == errand.claim.path:
            self._arrived_at = self._arrived_at if self._arrived else time.monotonic()
            self._arrived.append(news)
        return 0

    def _settle(self, *, at_least: int) -> None:
        """Catalogue what has arrived, when it is so many or has waited long enough."""
        waited = time.monotonic() - self._arrived_at >= SETTLED_AFTER_SECONDS
        if not self._arrived or (len(self._arrived) < at_least and not waited):
            return
        arrived, self._arrived = self._arrived, []
        settled = [copied.transfer.key.settled(copied, self._by) for copied in arrived]
        for copied, outcome in zip(arrived, self._migrations.copied(settled, by=self._by), strict=True):
            self._note_settled(copied, outcome)

    def _note_settled(self, copied: Copied, outcome: Outcome) -> None:
        errand: Errand = copied.transfer.key
        id_ = errand.candidate.id
        match outcome:
            case Outcome.COPIED:
                self.upshots[id_] = Upshot("copied" if copied.sent else "adopted", size=copied.size)
            case Outcome.LOST:
                self.upshots[id_] = Upshot("under_way")
            case Outcome.CHANGED:
                if copied.source_version:  # else there may be no other copy
                    self._spoilt.append(errand.claim)
                self.upshots[id_] = Upshot("changed")
            case _:
                self._spoilt.append(errand.claim)
                said = f"Dataset {id_} has other bytes catalogued, or its object is catalogued as another dataset's as well."
                self._fail(errand.candidate, "conflict", NameConflictError(said))

    def _not_copied(self, errand: Errand, outcome: NotCopied) -> None:
        if isinstance(outcome.error, LeaseLostError):
            self.upshots[errand.candidate.id] = Upshot("under_way")
        elif not isinstance(outcome.error, ENDS_ALL):  # of those it is known what they come to when the engine ends
            kind = kind_of(outcome.error, outcome.end)
            if kind == "source_missing" and (outcome.bytes_read or errand.tried_before or errand.dropped):
                self._lost.append(outcome)
                return
            if kind in TO_BE_TAKEN_UP and self._stop.is_set():
                return  # it was not tried as often as it would have been
            if kind in NOT_OURS:
                self._unused.append(errand.claim)
            elif kind not in TO_BE_TAKEN_UP:
                self._spoilt.append(errand.claim)
            self._fail(errand.candidate, kind, outcome.error)

    def _adopt(self) -> None:
        """What Supabase lost may be in S3, put there by an earlier try or a moment ago; it is never removed while there is its row."""
        if self.ended_early or not self._lost:
            return
        pace = Pace(self._limits.bytes_per_second, self._stop)
        with ThreadPoolExecutor(READ_BACK_AT_ONCE, thread_name_prefix="adopt") as threads:
            found = threads.map(partial(self._left_of, pace), self._lost)
            self._arrived = [copied for copied in found if copied]
        self._settle(at_least=1)

    def _left_of(self, pace: Pace, lost: NotCopied) -> Copied | None:
        """The copy that S3 has; else it is noted why there is none."""
        errand: Errand = lost.transfer.key
        try:
            if copied := adopted(self._library, errand, pace):
                return copied
        except StoppedError:
            return None  # the next run goes on
        except (NotConfiguredError, StorageUnavailableError, ObjectChangedError) as error:
            self._fail(errand.candidate, "destination", error)
            return None
        except ObjectMissingError:
            self._spoilt.append(errand.claim)  # what is left are parts, or what was dropped
        self._fail(errand.candidate, "source_missing", lost.error)
        return None

    def _end_failed(self, errands: Sequence[Errand], failure: BaseException) -> None:
        """A bucket of one user alone is his trouble, as is one that Supabase once had; any other end is everybody's."""
        if not isinstance(failure, _OF_AN_END):
            raise failure
        if isinstance(failure, DestinationFailedError):
            self._arrived = self._still_there(errands)
        why = failure.__cause__
        if isinstance(why, NotConfiguredError) and self._is_theirs_alone(errands, failure, why):
            for errand in errands:
                if errand.candidate.id not in self.upshots:
                    self._fail(errand.candidate, "not_set_up", why)
            return
        self.ended_early = self.ended_early or failure
        self._halt.set()

    def _is_theirs_alone(self, errands: Sequence[Errand], failure: TrainmasterError, why: NotConfiguredError) -> bool:
        if isinstance(failure, SourceFailedError):
            return isinstance(why, NoBucketError) and errands[0].ends[0] != SUPABASE_BUCKET
        return not (self._library.stores.is_shared or isinstance(why, CredentialsMissingError))

    def _still_there(self, errands: Sequence[Errand]) -> list[Copied]:
        """What arrived, without what may have gone with the end of these errands; what is there yet, the next try adopts."""
        theirs = {errand.candidate.id for errand in errands}
        others = [copied for copied in self._arrived if copied.transfer.key.candidate.id not in theirs]
        try:
            destination = self._library.stores.destination(errands[0].candidate.user_id)
            return others + [one for one in self._arrived if one not in others and _holds(destination, one)]
        except TrainmasterError:
            return others

    def _fail(self, candidate: Candidate, kind: HindranceKind, error: TrainmasterError) -> None:
        failure = failure_of(candidate, kind, error)
        self.upshots[candidate.id] = Upshot("failed", failure=failure, error=error, kind=kind)

    def _account_for_changed(self) -> None:
        """Datasets that were deleted meanwhile are gone, whatever else was found; of a row that was changed nothing is catalogued."""
        doubtful = [id_ for id_, upshot in self.upshots.items() if upshot.became in ("changed", "failed")]
        if not doubtful:
            return
        now = self._migrations.candidates(Selection(dataset_ids=doubtful), limit=len(doubtful))
        there = {candidate.id: candidate for candidate in now}
        for id_ in doubtful:
            if id_ not in there:
                self.upshots[id_] = Upshot("gone")
            elif self.upshots[id_].became == "changed":
                self._seen[id_] = there[id_]
                error = ObjectChangedError(
                    f"Dataset {id_} was changed while it was copied; nothing of it was catalogued."
                )
                failure = failure_of(there[id_], "source_changed", error)
                self.upshots[id_] = Upshot("changed", failure=failure, error=error, kind="source_changed")

    def _hinder(self) -> None:
        """Keep why datasets failed, so that people see it and nobody tries for ever."""
        self._migrations.hindered(
            [
                (id_, upshot.kind, upshot.failure.reason, upshot.failure.advice, self._seen[id_].updated_at)
                for id_, upshot in self.upshots.items()
                if upshot.kind and upshot.failure
            ]
        )

    def _take_back(self) -> None:
        """Remove what nobody vouches for nor has a use for; what cannot be removed is left to the sweep."""
        self._migrations.release(self._unused)
        errands: list[Errand] = [lost.transfer.key for lost in self._lost]
        of_deleted = [one.claim for one in errands if self.upshots.get(one.candidate.id) == Upshot("gone")]
        take_back(self._library, {*self._spoilt, *of_deleted})

    def _let_go(self) -> None:
        """Others may take over at once what is held still: under its claims, run out, they find what was begun."""
        try:
            self._migrations.renew(self._holder, timedelta(0))
        except CatalogueUnavailableError as error:
            _log.warning("The claims of a batch run out by themselves: %s", error)


def _holds(destination: Destination, copied: Copied) -> bool:
    held = destination.look(copied.transfer.destination)
    return held is not None and held.tag == copied.version


def _needless(outcome: NotCopied) -> bool:
    """Whether it is of dropped examples that are not there any more, whatever the metadata says: the dataset is whole without."""
    errand: Errand = outcome.transfer.key
    return outcome.transfer.destination != errand.claim.path and isinstance(outcome.error, ObjectMissingError)
