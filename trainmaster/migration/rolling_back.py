"""Readers of datasets sent to Supabase again; what was pruned there is copied back from S3 first."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence

from trainmaster.catalog.candidates import Candidate
from trainmaster.catalog.settling import Outcome
from trainmaster.migration.advice import NEVER_THERE, UPLOAD_ANEW
from trainmaster.migration.beside import taken_along
from trainmaster.migration.findings import changed, replaced, standing
from trainmaster.migration.outcomes import Fate, PhaseResult
from trainmaster.migration.phases import carry_out, round_of
from trainmaster.migration.request import MigrateDatasetsRequest
from trainmaster.migration.returning import bring_back, is_spoilt, put_right, take_as_it_is
from trainmaster.migration.rounds import Round, fate_of
from trainmaster.migration.standing import Standing
from trainmaster.storage.library import Library
from trainmaster.storage.store import StorageProvider

RETAKEN = "retaken"


def roll_back_datasets(
    library: Library, request: MigrateDatasetsRequest, *, by: str, stop: threading.Event | None = None
) -> PhaseResult:
    """Make Supabase what readers get of every dataset that was promoted, its bytes being there as they were copied, or put back.

    A copy in S3 that is known to be damaged goes with that, so that the next run copies anew. Where Supabase's object was replaced
    since it was copied, its bytes become the dataset's only if the request names the dataset and says `take_newer`: S3's are then
    let go. What is no whole gzip is nobody's newer dataset: of one that is named S3's bytes are put in its place. Safe to repeat, to race and to be killed. Raises CatalogueUnavailableError.
    """
    rollback = _Rollback(round_of(library, request, by, stop), bool(request.dataset_ids), request.take_newer)
    return carry_out(request, rollback.round, rollback.rule, rollback.work)


class _Rollback:
    """`named` is whether somebody chose these very datasets, `take_newer` whether he said that Supabase's newer bytes count."""

    def __init__(self, round_: Round, named: bool, take_newer: bool) -> None:
        self.round, self._named, self._take_newer = round_, named, take_newer

    def rule(self, candidate: Candidate) -> Fate | None:
        """What can be told from the catalogue alone."""
        if candidate.storage_provider == StorageProvider.SUPABASE:
            return None if self._named and candidate.supabase else fate_of(candidate, "found")
        if candidate.promoted_at is None and not self._named:
            reason = "Readers get it from S3, but never were sent there by a promotion."
            return fate_of(candidate, "left", "not_promoted", reason, NEVER_THERE)
        if candidate.s3 is None and candidate.supabase is None:
            reason = "No copy of it was ever verified, in Supabase or in S3."
            return fate_of(candidate, "left", "not_copied", reason, UPLOAD_ANEW)
        return None

    def work(self, group: Sequence[Candidate]) -> Iterator[Fate]:
        """What becomes of some; those whose bytes are in Supabase are flipped together."""
        ready: list[tuple[Candidate, Fate]] = []
        for candidate, fate in self.round.each(group, self._made_ready):
            if fate.verdict == "done" and fate.kind != RETAKEN and not self.round.rehearsed:
                ready.append((candidate, fate))
            else:
                yield fate
        outcomes = self.round.library.catalogue.migrations.roll_back([each for each, _ in ready], by=self.round.by)
        for (candidate, fate), outcome in zip(ready, outcomes, strict=True):
            yield fate if outcome is Outcome.MOVED else changed(candidate, read=fate.read)

    def _made_ready(self, candidate: Candidate) -> Fate:
        theirs = candidate.supabase
        stands = standing(self.round, theirs).standing if theirs else Standing.GONE
        if fate := self._not_as_copied(candidate, stands):
            return fate
        if candidate.storage_provider == StorageProvider.SUPABASE:
            return fate_of(candidate, "found")
        if stands is Standing.GONE and candidate.s3:
            return bring_back(self.round, candidate, candidate.s3)
        if candidate.s3 and theirs and candidate.hindrance and candidate.hindrance.kind == "damaged":
            taken_along(self.round, candidate, candidate.s3, theirs)  # what lies there goes with that copy
        return fate_of(candidate, "done")

    def _not_as_copied(self, candidate: Candidate, stands: Standing) -> Fate | None:
        """What becomes of one whose catalogued object in Supabase is another, or is gone though readers are sent there."""
        ours, theirs = candidate.s3, candidate.supabase
        if stands is Standing.REPLACED:
            if self._take_newer:
                return take_as_it_is(self.round, candidate)
            if self._named and theirs and ours and is_spoilt(self.round, theirs):
                return put_right(self.round, candidate, ours, theirs)
            return replaced(self.round, candidate)
        is_missed = stands is Standing.GONE and candidate.storage_provider == StorageProvider.SUPABASE
        if is_missed and self._named and theirs and ours:
            return put_right(self.round, candidate, ours, theirs)
        return None
