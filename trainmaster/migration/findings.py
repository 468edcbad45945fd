"""What a phase finds wrong with a dataset: looked at twice, kept in the catalogue, and said with what to do about it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from trainmaster.catalog.candidates import Candidate
from trainmaster.catalog.datasets import Copy
from trainmaster.catalog.hindrances import HindranceKind
from trainmaster.errors import DatasetRefusedError, NotConfiguredError, ObjectChangedError, StorageUnavailableError
from trainmaster.migration.advice import COPY_AGAIN, HEAL, HEALS_ITSELF, NO_OTHER, RUN_AGAIN, UPLOAD_ANEW
from trainmaster.migration.outcomes import Fate
from trainmaster.migration.proving import look, prove, read_whole, version_at
from trainmaster.migration.rounds import Round, fate_of
from trainmaster.migration.standing import Standing, standing_of
from trainmaster.storage.ends import Source
from trainmaster.storage.store import StorageProvider

SUPABASE, S3 = StorageProvider.SUPABASE, StorageProvider.S3


def damage_seen(round_: Round, candidate: Candidate, copy: Copy) -> tuple[Fate | None, int]:
    """The fate of a dataset whose object in S3 is gone or of another size; one that was put there since is read first.

    And the bytes that were read, in a rehearsal those that would be.
    """
    found = look(source_of(round_, copy), copy)
    if found.damage:
        return damaged(round_, candidate, copy, found.damage), 0
    return damage_read(round_, candidate, copy) if found.replaced else (None, 0)


def damage_read(round_: Round, candidate: Candidate, copy: Copy) -> tuple[Fate | None, int]:
    """The fate of a dataset whose copy in S3 is not what it was, having read all of it; and the bytes that were read.

    A rehearsal reads nothing and says how much it would be.
    """
    round_.begin_reading(copy.size_bytes)
    if round_.rehearsed:
        return None, copy.size_bytes
    proof = prove(source_of(round_, copy), copy, round_.pace)
    if proof.damage:
        return damaged(round_, candidate, copy, proof.damage, read=proof.read), proof.read
    return None, proof.read


def note_sound(round_: Round, candidates: Sequence[Candidate], since: datetime) -> None:
    """Catalogue that copies in S3 were read whole, which was begun at that moment, and found to be what they were."""
    found = [(candidate.id, S3.value, since, round_.by) for candidate in candidates]
    round_.library.catalogue.migrations.verified(found)


def damaged(round_: Round, candidate: Candidate, copy: Copy, damage: str, *, read: int = 0) -> Fate:
    """Note that a copy in S3 is damaged, unless it was replaced, or its dataset deleted, while it was looked at."""
    row = round_.library.catalogue.datasets.get(candidate.id, candidate.user_id)
    there = row.copy_at(S3) if row else None
    if there is None or (there.path, there.sha256, there.version) != (copy.path, copy.sha256, copy.version):
        return changed(candidate, read=read)
    reason, good = f"The copy in S3 is damaged: {damage}.", _supabase_is_good(round_, candidate)
    named = candidate.storage_provider == S3
    if not (good or named):  # the catalogue would let S3's go, which may be all there is
        return hindered(round_, candidate, "damaged", reason, NO_OTHER, read=read)
    advice = (HEAL if named else HEALS_ITSELF) if good else NO_OTHER
    if not round_.rehearsed:
        round_.library.catalogue.migrations.damaged(candidate.id, S3, reason, advice, by=round_.by)
    return fate_of(candidate, "failed", "damaged", reason, advice, read=read)


def hindered(
    round_: Round, candidate: Candidate, kind: HindranceKind, reason: str, advice: str, *, read: int = 0
) -> Fate:
    """Keep what is wrong with a dataset, in a rehearsal only say it."""
    if not round_.rehearsed:
        found = (candidate.id, kind, reason, advice, candidate.updated_at)
        round_.library.catalogue.migrations.hindered([found])
    return fate_of(candidate, "failed", kind, reason, advice, read=read)


def changed(candidate: Candidate, *, read: int = 0) -> Fate:
    """Of one that somebody else was at."""
    reason = "It was changed or deleted meanwhile."
    return fate_of(candidate, "left", "changed_meanwhile", reason, RUN_AGAIN, read=read)


def replaced(round_: Round, candidate: Candidate) -> Fate:
    """Of one whose bytes in Supabase are not those that were copied."""
    reason = "Supabase's object was replaced since it was copied: S3 has the bytes from before."
    return hindered(round_, candidate, "source_changed", reason, COPY_AGAIN)


def record_source(round_: Round, candidate: Candidate, copy: Copy) -> tuple[Fate | None, int]:
    """Catalogue what is in Supabase, which nobody did when it was copied, having read all of it; a fate if it is not what S3 has.

    And the bytes that were read, in a rehearsal those that would be. Nothing is there: nothing is catalogued.
    """
    library, path = round_.library, candidate.storage_path
    if not candidate.names_its_own:  # people can write rows, and we can read everything
        reason = "Its row names no object of its user, though it was copied from one."
        return hindered(round_, candidate, "conflict", reason, UPLOAD_ANEW), 0
    bucket = library.stores.home(SUPABASE, candidate.user_id).bucket
    source = library.stores.source(SUPABASE, bucket)
    before = version_at(source, path)
    if before is None:
        return None, 0
    round_.begin_reading(before.size)
    if round_.rehearsed:
        return None, before.size
    found = read_whole(source, path, round_.pace, before)
    if version_at(source, path) != before:
        return changed(candidate, read=found.size), found.size
    if (found.size, found.sha256) != (copy.size_bytes, copy.sha256):
        return replaced(round_, candidate), found.size
    theirs = Copy(SUPABASE.value, bucket, path, found.size, found.sha256, datetime.now(UTC), round_.by, before.tag)
    library.catalogue.datasets.add_copy(candidate.id, candidate.user_id, theirs)
    return None, found.size


def standing(round_: Round, copy: Copy) -> Standing:
    """How the object that was copied stands today to what was recorded; where no look can tell it is read, but for a rehearsal."""
    stands = standing_of(source_of(round_, copy), copy)
    if stands is Standing.UNSURE and not round_.rehearsed:
        return Standing.UNCHANGED if _same_bytes(round_, copy) else Standing.REPLACED
    return stands


def source_of(round_: Round, copy: Copy) -> Source:
    """Where a copy is read."""
    return round_.library.stores.source(StorageProvider(copy.provider), copy.bucket)


def _same_bytes(round_: Round, copy: Copy) -> bool:
    """Whether an object still has the bytes that were catalogued, by reading all of it."""
    round_.begin_reading(copy.size_bytes)
    try:
        found = read_whole(source_of(round_, copy), copy.path, round_.pace)
    except (ObjectChangedError, DatasetRefusedError):
        return False
    return (found.size, found.sha256) == (copy.size_bytes, copy.sha256)


def _supabase_is_good(round_: Round, candidate: Candidate) -> bool:
    """As far as can be told now: an outage of Supabase leaves things as they are."""
    copy = candidate.supabase
    try:
        return copy is not None and standing(round_, copy) is Standing.UNCHANGED
    except (StorageUnavailableError, NotConfiguredError):
        return False
