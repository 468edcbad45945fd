"""Supabase's copies deleted, where readers have had S3 for long enough and the copy there was proven today.

The row goes first and the object after it, held as pending in between: whoever is killed leaves either everything as it was or
an object that no reader is sent to, which the sweep removes. Supabase has no delete that is conditional on a version, so the
object is looked at right before.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

from trainmaster.catalog.candidates import Candidate
from trainmaster.catalog.datasets import Copy
from trainmaster.errors import (
    LeaseLostError,
    NotConfiguredError,
    ObjectChangedError,
    ObjectMissingError,
    StorageUnavailableError,
)
from trainmaster.migration.advice import NOBODYS, PROMOTE_FIRST, RUN_AGAIN, SWEPT
from trainmaster.migration.findings import changed, damage_read, damage_seen, note_sound, replaced, standing
from trainmaster.migration.outcomes import Fate, PhaseResult
from trainmaster.migration.phases import carry_out, round_of
from trainmaster.migration.request import MigrateDatasetsRequest
from trainmaster.migration.rounds import Round, fate_of
from trainmaster.migration.standing import Standing
from trainmaster.storage.library import Library, new_holder
from trainmaster.storage.store import StorageProvider

PROVEN_WITHIN = timedelta(hours=24)
AHEAD = timedelta(minutes=5)
"""How far the clock of who verified a copy may be ahead of ours: what is further in the future proves nothing."""


def prune_datasets(
    library: Library, request: MigrateDatasetsRequest, *, by: str, stop: threading.Event | None = None
) -> PhaseResult:
    """Delete Supabase's object of every dataset promoted `grace_days` ago or longer; only say so unless `dry_run` is False.

    S3's copy is read whole unless it was verified within 24 hours, and Supabase's object has to be the one that was copied. Safe
    to repeat, to race and to be killed. Raises CatalogueUnavailableError.
    """
    pruning = _Pruning(round_of(library, request, by, stop), request.grace_days, datetime.now(UTC))
    return carry_out(request, pruning.round, pruning.rule, pruning.work)


class _Pruning:
    def __init__(self, round_: Round, grace_days: float, now: datetime) -> None:
        self.round, self._now, self._grace = round_, now, timedelta(days=grace_days)

    def rule(self, candidate: Candidate) -> Fate | None:
        """What can be told from the catalogue alone."""
        if candidate.storage_provider == StorageProvider.S3 and candidate.supabase is None:
            return fate_of(candidate, "found")
        kind, reason, advice = self._kept(candidate)
        return fate_of(candidate, "left", kind, reason, advice) if kind else None

    def _kept(self, candidate: Candidate) -> tuple[str, str, str]:
        """Why Supabase's copy is not to go: kind, reason and advice."""
        since, hindrance = candidate.promoted_at, candidate.hindrance
        if candidate.storage_provider != StorageProvider.S3:
            return "not_promoted", "Readers get it from Supabase.", PROMOTE_FIRST
        if candidate.s3 is None:
            return "not_copied", "Its row names S3, but no verified copy there is catalogued.", PROMOTE_FIRST
        if hindrance and hindrance.kind == "damaged":
            return "damaged", hindrance.reason, hindrance.advice
        if since is None:
            return (
                "not_promoted",
                "Readers got it from S3 without a promotion: no grace period has begun.",
                PROMOTE_FIRST,
            )
        if (ends := since + self._grace) > self._now:
            reason = f"Promoted {since:%Y-%m-%d %H:%M} UTC; its grace period ends {ends:%Y-%m-%d %H:%M} UTC."
            return "grace_period", reason, RUN_AGAIN
        return "", "", ""

    def work(self, group: Sequence[Candidate]) -> Iterator[Fate]:
        for _, fate in self.round.each(group, self._pruned):
            yield fate

    def _pruned(self, candidate: Candidate) -> Fate:
        ours, theirs = candidate.s3, candidate.supabase
        if ours is None or theirs is None:
            return changed(candidate)
        fate, read = self._proven(candidate, ours)
        if fate:
            return fate
        if standing(self.round, theirs) is Standing.REPLACED:
            return replaced(self.round, candidate)
        if self.round.rehearsed:
            return fate_of(candidate, "done", read=read)
        return self._deleted(candidate, read)

    def _proven(self, candidate: Candidate, copy: Copy) -> tuple[Fate | None, int]:
        """S3's copy, by a look where it was read within a day and not put again since; else by reading it.

        And the bytes that were read, in a rehearsal those that would be.
        """
        recent, began = self._now - PROVEN_WITHIN <= copy.verified_at <= self._now + AHEAD, datetime.now(UTC)
        fate, read = damage_seen(self.round, candidate, copy)
        if not (fate or read or recent):
            fate, read = damage_read(self.round, candidate, copy)
        if read and not (fate or self.round.rehearsed):
            note_sound(self.round, [candidate], began)
        return fate, read

    def _deleted(self, candidate: Candidate, read: int) -> Fate:
        library = self.round.library
        try:
            claim = library.catalogue.migrations.withdraw(
                candidate, holder=new_holder(), lease=library.lease, by=self.round.by
            )
        except ObjectMissingError:
            claim = None
        if claim is None:
            return changed(candidate, read=read)
        try:
            library.remove(claim)
        except (StorageUnavailableError, NotConfiguredError, LeaseLostError) as error:
            return fate_of(candidate, "done", "left_to_sweep", str(error), SWEPT, read=read)
        except ObjectChangedError as error:
            return fate_of(candidate, "left", "source_changed", str(error), NOBODYS, read=read)
        return fate_of(candidate, "done", read=read)
