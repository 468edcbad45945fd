"""What a phase finds wrong with a dataset: looked at twice, kept in the catalogue, and said with what to do about it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from trainmaster.catalog.candidates import Candidate
from trainmaster.catalog.datasets import Copy
from trainmaster.catalog.hindrances import HindranceKind
from trainmaster.catalog.promotions import Verified
from trainmaster.errors import (
    DatasetRefusedError,
    NotConfiguredError,
    ObjectChangedError,
    ObjectMissingError,
    StorageUnavailableError,
)
from trainmaster.migration.advice import COPY_AGAIN, HEAL, HEALS_ITSELF, NO_OTHER, RUN_AGAIN, UPLOAD_ANEW
from trainmaster.migration.hindering import reason_of
from trainmaster.migration.outcomes import Fate
from trainmaster.migration.proving import look, prove, read_whole, version_at
from trainmaster.migration.rounds import Round, fate_of
from trainmaster.migration.standing import Seen, Standing, standing_of
from trainmaster.storage.ends.protocols import Source
from trainmaster.storage.library import dropped_path
from trainmaster.storage.store import StorageProvider

SUPABASE, S3 = StorageProvider.SUPABASE, StorageProvider.S3


@dataclass(frozen=True)
class Examined:
    """What a copy in S3 was found to be: the fate of its dataset if it is damaged; how many bytes were read for that, in a
    rehearsal would be; and which version of the object was found whole, if it was read."""

    fate: Fate | None = None
    read: int = 0
    tag: str | None = None


def damage_seen(round_: Round, candidate: Candidate, copy: Copy) -> Examined:
    """By a look: an object that is gone or of another size is damaged; one that was put there since is read."""
    found = look(source_of(round_, copy), copy)
    if found.damage:
        return Examined(damaged(round_, candidate, copy, found.damage))
    return damage_read(round_, candidate, copy, suspected=True) if found.replaced else Examined()


def damage_read(round_: Round, candidate: Candidate, copy: Copy, *, suspected: bool = False) -> Examined:
    """By reading all of it. A rehearsal says how much that would be, and reads only what is `suspected`: what was put there since it
    was proven, of which it would promise what the run does not keep."""
    round_.begin_reading(copy.size_bytes)
    if round_.rehearsed and not suspected:
        return Examined(read=copy.size_bytes)
    proof = prove(source_of(round_, copy), copy, round_.pace)
    if proof.damage:
        return Examined(damaged(round_, candidate, copy, proof.damage, read=proof.read), proof.read)
    return Examined(read=proof.read, tag=proof.tag)


def note_sound(round_: Round, sound: Iterable[tuple[Candidate, str | None]], since: datetime) -> None:
    """Catalogue that copies in S3 were read whole, which was begun at that moment, in which version, and are what they were."""
    found = [Verified(candidate.id, S3.value, since, round_.by, tag) for candidate, tag in sound]
    round_.library.catalogue.migrations.verified(found)


def damaged(round_: Round, candidate: Candidate, copy: Copy, damage: str, *, read: int = 0) -> Fate:
    """Note that a copy in S3 is damaged, unless it was replaced, or its dataset deleted, while it was looked at."""
    reason, good = f"The copy in S3 is damaged: {reason_of(damage)}.", _supabase_is_good(round_, candidate, copy)
    advice = (HEAL if candidate.storage_provider == S3 else HEALS_ITSELF) if good else NO_OTHER
    if not round_.rehearsed and not round_.library.catalogue.migrations.damaged(
        candidate.id, copy, reason, advice, by=round_.by, let_go=good
    ):
        return changed(candidate, read=read)
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


def standing(round_: Round, copy: Copy) -> Seen:
    """How the object that was copied stands today to what was recorded; where no look can tell it is read, but for a rehearsal."""
    seen = standing_of(source_of(round_, copy), copy)
    return seen if round_.rehearsed or seen.standing is not Standing.UNSURE else _read_to_tell(round_, copy)


def source_of(round_: Round, copy: Copy) -> Source:
    """Where a copy is read."""
    return round_.library.stores.source(StorageProvider(copy.provider), copy.bucket)


def _read_to_tell(round_: Round, copy: Copy) -> Seen:
    round_.begin_reading(copy.size_bytes)
    try:
        found = read_whole(source_of(round_, copy), copy.path, round_.pace)
    except ObjectMissingError:
        return Seen(Standing.GONE)
    except (ObjectChangedError, DatasetRefusedError):
        return Seen(Standing.REPLACED)
    same = (found.size, found.sha256) == (copy.size_bytes, copy.sha256)
    return Seen(Standing.UNCHANGED if same else Standing.REPLACED, found.tag)


def _supabase_is_good(round_: Round, candidate: Candidate, ours: Copy) -> bool:
    """Whether all that S3 was to have is there, as far as can be told now: an outage of Supabase leaves things as they are."""
    theirs = candidate.supabase
    try:
        return (
            theirs is not None
            and standing(round_, theirs).standing in (Standing.UNCHANGED, Standing.UNSURE)
            and (_lies_beside(round_, theirs) or not _lies_beside(round_, ours))
        )
    except (StorageUnavailableError, NotConfiguredError):
        return False


def _lies_beside(round_: Round, copy: Copy) -> bool:
    return version_at(source_of(round_, copy), dropped_path(copy.path)) is not None
