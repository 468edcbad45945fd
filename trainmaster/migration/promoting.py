"""Readers of datasets sent to S3, where the bytes were proven and still lie; Supabase's copy stays, to fall back on."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence

from trainmaster.catalog.candidates import Candidate
from trainmaster.catalog.settling import Outcome
from trainmaster.migration.advice import COPY_FIRST
from trainmaster.migration.findings import changed, damage_seen, record_source, replaced, standing
from trainmaster.migration.outcomes import Fate, PhaseResult
from trainmaster.migration.phases import carry_out, round_of
from trainmaster.migration.request import MigrateDatasetsRequest
from trainmaster.migration.rounds import Round, fate_of
from trainmaster.migration.standing import Standing
from trainmaster.storage.library import Library
from trainmaster.storage.store import StorageProvider


def promote_datasets(
    library: Library, request: MigrateDatasetsRequest, *, by: str, stop: threading.Event | None = None
) -> PhaseResult:
    """Make S3 what readers get of every dataset whose copy there is as it was verified, and whose source is not newer.

    A rehearsal asks the stores the same and changes nothing. Safe to repeat, to race and to be killed: each dataset is flipped
    or not. Raises CatalogueUnavailableError.
    """
    promotion = _Promotion(round_of(library, request, by, stop))
    return carry_out(request, promotion.round, _rule, promotion.work)


def _rule(candidate: Candidate) -> Fate | None:
    if candidate.storage_provider == StorageProvider.S3:
        return fate_of(candidate, "found")
    if candidate.s3 is None:
        if known := candidate.hindrance:  # copying it again would fail again
            reason = f"It has no copy in S3, for it could not be copied: {known.reason}"
            return fate_of(candidate, "left", "not_copied", reason, known.advice)
        return fate_of(candidate, "left", "not_copied", "It has no copy in S3.", COPY_FIRST)
    if candidate.hindrance and candidate.hindrance.kind == "damaged":
        return fate_of(candidate, "left", "damaged", candidate.hindrance.reason, candidate.hindrance.advice)
    return None


class _Promotion:
    def __init__(self, round_: Round) -> None:
        self.round = round_

    def work(self, group: Sequence[Candidate]) -> Iterator[Fate]:
        """What becomes of some; those that are fit are flipped together."""
        fit: list[tuple[Candidate, Fate]] = []
        for candidate, fate in self.round.each(group, self._looked_at):
            if fate.verdict == "done" and not self.round.rehearsed:
                fit.append((candidate, fate))
            else:
                yield fate
        outcomes = self.round.library.catalogue.migrations.promote([each for each, _ in fit], by=self.round.by)
        for (candidate, fate), outcome in zip(fit, outcomes, strict=True):
            yield fate if outcome is Outcome.MOVED else changed(candidate)

    def _looked_at(self, candidate: Candidate) -> Fate:
        copy = candidate.s3
        if copy is None:
            return changed(candidate)
        examined = damage_seen(self.round, candidate, copy)
        if examined.fate:
            return examined.fate
        if candidate.supabase is None:
            fate, recorded = record_source(self.round, candidate, copy)
            return fate or fate_of(candidate, "done", read=examined.read + recorded)
        if standing(self.round, candidate.supabase).standing is Standing.REPLACED:
            return replaced(self.round, candidate)
        return fate_of(candidate, "done", read=examined.read)
