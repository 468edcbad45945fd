"""Supabase's copies deleted, where readers have had S3 for long enough and the copy there was proven today.

The row goes first and the object after it, held as pending in between: whoever is killed leaves either everything as it was or
an object that no reader is sent to, which the sweep removes. Supabase has no delete that is conditional on a version, so the
object is looked at right before. Of times only the database's count.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from trainmaster.catalog.candidates import Candidate
from trainmaster.catalog.datasets import Copy
from trainmaster.errors import (
    LeaseLostError,
    NotConfiguredError,
    ObjectChangedError,
    ObjectMissingError,
    StorageUnavailableError,
)
from trainmaster.migration.advice import DROPPED_DIFFER, NOBODYS, PROMOTE_FIRST, RUN_AGAIN, SWEPT
from trainmaster.migration.beside import taken_along
from trainmaster.migration.findings import (
    Examined,
    changed,
    damage_read,
    damage_seen,
    note_sound,
    replaced,
    standing,
)
from trainmaster.migration.outcomes import Fate, PhaseResult
from trainmaster.migration.phases import carry_out, round_of
from trainmaster.migration.request import MigrateDatasetsRequest
from trainmaster.migration.rounds import Round, fate_of
from trainmaster.migration.standing import Standing
from trainmaster.storage.library import Library, new_holder
from trainmaster.storage.store import StorageProvider

PROVEN_WITHIN = timedelta(hours=24)


def prune_datasets(
    library: Library, request: MigrateDatasetsRequest, *, by: str, stop: threading.Event | None = None
) -> PhaseResult:
    """Delete Supabase's object of every dataset promoted `grace_days` ago or longer; only say so unless `dry_run` is False.

    S3's copy is read whole unless that very version was verified within 24 hours, and Supabase's object has to be the one that was
    copied. What was dropped goes too, where S3 has the same, or is given it now. Safe to repeat, to race and to be killed. Raises
    CatalogueUnavailableError.
    """
    pruning = _Pruning(round_of(library, request, by, stop), request.grace_days, library.catalogue.migrations.now())
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
        examined = self._proven(candidate, ours)
        if examined.fate:
            return examined.fate
        seen = standing(self.round, theirs)
        if seen.standing is Standing.REPLACED:
            return replaced(self.round, candidate)
        fate, read = self._dropped_kept(candidate, ours, theirs)
        read += examined.read
        if fate:
            return replace(fate, read=read)
        return (
            fate_of(candidate, "done", read=read) if self.round.rehearsed else self._deleted(candidate, seen.tag, read)
        )

    def _dropped_kept(self, candidate: Candidate, ours: Copy, theirs: Copy) -> tuple[Fate | None, int]:
        try:
            beside = taken_along(self.round, candidate, theirs, ours)
        except ObjectMissingError:  # another pruning is at it
            return changed(candidate), 0
        if beside.wrong:
            reason = f"{beside.wrong[:1].upper()}{beside.wrong[1:]}."
            return fate_of(candidate, "left", "dropped_differ", reason, DROPPED_DIFFER), beside.read
        return None, beside.read

    def _proven(self, candidate: Candidate, copy: Copy) -> Examined:
        """S3's copy, by a look where this version was read within a day; else by reading it."""
        recent = copy.version is not None and self._now - PROVEN_WITHIN <= copy.verified_at <= self._now
        began = self.round.library.catalogue.migrations.now()
        examined = damage_seen(self.round, candidate, copy)
        if not (examined.fate or examined.read or recent):
            examined = damage_read(self.round, candidate, copy)
        if examined.read and not (examined.fate or self.round.rehearsed):
            note_sound(self.round, [(candidate, examined.tag)], began)
        return examined

    def _deleted(self, candidate: Candidate, tag: str, read: int) -> Fate:
        library = self.round.library
        try:
            claim = library.catalogue.migrations.withdraw(
                candidate, holder=new_holder(), lease=library.lease, by=self.round.by, version=tag
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
