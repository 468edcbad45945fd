"""A dataset's bytes from S3 back into Supabase, and catalogued there again; or Supabase's own, where they are newer.

As in an upload, the object is claimed, then put and read back, then catalogued in the transaction that settles the claim.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime

from trainmaster.catalog.candidates import Candidate
from trainmaster.catalog.datasets import Copy
from trainmaster.catalog.pending import PendingObject
from trainmaster.catalog.retaking import retake
from trainmaster.errors import (
    CorruptedUploadError,
    DatasetRefusedError,
    NameConflictError,
    ObjectChangedError,
    ObjectMissingError,
    TrainmasterError,
)
from trainmaster.migration.advice import LOOK_AT_IT
from trainmaster.migration.findings import (
    S3,
    SUPABASE,
    changed,
    damage_read,
    damage_seen,
    hindered,
    source_of,
)
from trainmaster.migration.outcomes import Fate
from trainmaster.migration.proving import read_whole, version_at
from trainmaster.migration.rounds import Round, fate_of
from trainmaster.migration.taking_back import take_back
from trainmaster.storage.bodies import hashed
from trainmaster.storage.library import dataset_path, dropped_path, new_holder
from trainmaster.storage.seekable import stream_of
from trainmaster.storage.store import ObjectStore
from trainmaster.storage.uploading import CONTENT_TYPE

_NEWER = (
    "Supabase's object is newer than the copy in S3, which is taken away: the next run with phase copy makes it anew."
)

_log = logging.getLogger(__name__)


def bring_back(round_: Round, candidate: Candidate, ours: Copy) -> Fate:
    """Copy a dataset from S3 to where it was, or belongs, in Supabase; nothing is sent that is there already."""
    if fate := damage_seen(round_, candidate, ours).fate:
        return fate
    home = round_.library.stores.home(SUPABASE, candidate.user_id)
    path = candidate.supabase.path if candidate.supabase else dataset_path(SUPABASE, candidate.user_id, candidate.id)
    round_.begin_reading(ours.size_bytes)
    if round_.rehearsed:
        return fate_of(candidate, "done", read=ours.size_bytes)
    if fate := _other_bytes(round_, candidate, ours, home, path):
        return fate
    claim = _claimed(round_, candidate, home, path)
    if claim is None:
        return changed(candidate)
    try:
        with round_.library.renewing(claim):
            _put(round_, ours, home, path)
            version = version_at(round_.library.stores.source(SUPABASE, home.bucket), path)
        now = datetime.now(UTC)
        tag = version.tag if version else None
        copy = Copy(SUPABASE.value, home.bucket, path, ours.size_bytes, ours.sha256, now, round_.by, tag)
        round_.library.catalogue.datasets.add_copy(candidate.id, candidate.user_id, copy, claim=claim)
    except NameConflictError:
        round_.library.catalogue.pending.release(claim)  # what lies there is not ours to remove
        raise
    except CorruptedUploadError:
        round_.library.remove(claim)
        if fate := damage_read(round_, candidate, ours).fate:  # whose fault was it?
            return fate
        raise
    except BaseException:
        _take_back(round_, claim)
        raise
    return fate_of(candidate, "done", read=ours.size_bytes)


def take_as_it_is(round_: Round, candidate: Candidate) -> Fate:
    """Make what Supabase has now, read to its end and found whole, the dataset's bytes; S3's older ones go.

    The next run that copies finds a dataset that never was in S3.
    """
    theirs = candidate.supabase
    if theirs is None:
        return changed(candidate)
    source = source_of(round_, theirs)
    before = version_at(source, theirs.path)
    if before is None:
        return changed(candidate)
    round_.begin_reading(before.size)
    if round_.rehearsed:
        return fate_of(candidate, "done", "retaken", _NEWER, read=before.size)
    found = read_whole(source, theirs.path, round_.pace, before)
    if version_at(source, theirs.path) != before:
        return changed(candidate, read=found.size)
    now = datetime.now(UTC)
    taken = Copy(SUPABASE.value, theirs.bucket, theirs.path, found.size, found.sha256, now, round_.by, before.tag)
    library = round_.library
    claims = retake(
        library.catalogue.database, candidate, taken, holder=new_holder(), lease=library.lease, by=round_.by
    )
    if claims is None:
        return changed(candidate, read=found.size)
    for claim in claims:
        _take_back(round_, claim)
    return fate_of(candidate, "done", "retaken", _NEWER, read=found.size)


def is_spoilt(round_: Round, theirs: Copy) -> bool:
    """Whether what is in Supabase, which is not what was catalogued, is no whole gzip: nobody's newer dataset."""
    source = source_of(round_, theirs)
    try:
        read_whole(source, theirs.path, round_.pace)
    except DatasetRefusedError:
        return True
    except (ObjectMissingError, ObjectChangedError):
        return False
    return False


def put_right(round_: Round, candidate: Candidate, ours: Copy, theirs: Copy) -> Fate:
    """Put S3's bytes, proven before, in the place of what `is_spoilt` in Supabase, or is gone, while it stays catalogued.

    What is spoilt goes only while the claim is ours. Whoever dies half-way leaves a copy that is gone, which the next run puts right.
    """
    examined = damage_read(round_, candidate, ours)
    if examined.fate or round_.rehearsed:
        return examined.fate or fate_of(candidate, "done", read=examined.read)
    library = round_.library
    home = library.stores.at(SUPABASE, theirs.bucket)
    claim = library.catalogue.pending.hold(
        provider=SUPABASE,
        bucket=theirs.bucket,
        path=theirs.path,
        dataset_id=candidate.id,
        user_id=candidate.user_id,
        holder=new_holder(),
        lease=library.lease,
    )
    try:
        with library.renewing(claim):
            dataset = library.catalogue.datasets.get(candidate.id, candidate.user_id)
            spoilt = version_at(source_of(round_, theirs), theirs.path)
            as_seen = dataset is not None and dataset.copy_at(SUPABASE) == theirs
            if not as_seen or (spoilt and not is_spoilt(round_, theirs)):
                take_back(library, [claim])
                return changed(candidate, read=examined.read)
            _put_dropped(round_, ours, home, theirs.path)
            # At the last moment: who slept through his lease must not remove what another has put there since.
            library.catalogue.pending.renew(claim, library.lease)
            if version_at(source_of(round_, theirs), theirs.path) != spoilt:
                take_back(library, [claim])
                return changed(candidate, read=examined.read)
            home.delete(theirs.path)
            _put_itself(round_, ours, home, theirs.path)
            since = library.catalogue.migrations.now()
            version = version_at(source_of(round_, theirs), theirs.path)
        copy = Copy(
            SUPABASE.value,
            theirs.bucket,
            theirs.path,
            ours.size_bytes,
            ours.sha256,
            datetime.now(UTC),
            round_.by,
            version.tag if version else None,
        )
        library.catalogue.datasets.add_copy(candidate.id, candidate.user_id, copy, claim=claim)
    except BaseException:
        take_back(library, [claim])  # catalogued as it is, nothing of it is removed
        raise
    library.catalogue.migrations.remedied(candidate.id, SUPABASE, since)
    return fate_of(candidate, "done", read=examined.read)


def _other_bytes(round_: Round, candidate: Candidate, ours: Copy, home: ObjectStore, path: str) -> Fate | None:
    """The fate of a dataset where Supabase has something else by that name: it must never be claimed, or a sweep removed it."""
    there = version_at(round_.library.stores.source(SUPABASE, home.bucket), path)
    if there is None or (there.size, there.sha256) == (ours.size_bytes, ours.sha256):
        return None
    where = f"supabase://{home.bucket}/{path}"
    if there.size == ours.size_bytes:
        with home.get(path) as chunks:
            if hashed(chunks) == (ours.sha256, ours.size_bytes):
                return None
    reason = f"{where} has other bytes than {ours.uri}, and nobody catalogued them."
    return hindered(round_, candidate, "conflict", reason, LOOK_AT_IT)


def _claimed(round_: Round, candidate: Candidate, home: ObjectStore, path: str) -> PendingObject | None:
    """The right to put the object; None when somebody else was at it since. Raises UploadUnderWayError."""
    library, holder = round_.library, new_holder()
    if candidate.supabase:  # catalogued, but gone: nobody holds what the catalogue vouches for
        return library.catalogue.migrations.withdraw(
            candidate, holder=holder, lease=library.lease, by=round_.by, deed="rollback"
        )
    return library.catalogue.pending.claim(
        provider=SUPABASE,
        bucket=home.bucket,
        path=path,
        dataset_id=candidate.id,
        user_id=candidate.user_id,
        holder=holder,
        lease=library.lease,
    )


def _put(round_: Round, ours: Copy, home: ObjectStore, path: str) -> None:
    """What was dropped first, as in an upload: a dataset never lacks it."""
    _put_dropped(round_, ours, home, path)
    _put_itself(round_, ours, home, path)


def _put_dropped(round_: Round, ours: Copy, home: ObjectStore, path: str) -> None:
    store, dropped = round_.library.stores.at(S3, ours.bucket), dropped_path(ours.path)
    if there := store.stat(dropped):
        sha256 = there.sha256 or _hashed(store, dropped)
        with stream_of(store, dropped, round_.pace.take) as body:
            home.put(dropped_path(path), body, size=there.size, sha256=sha256, content_type=CONTENT_TYPE)


def _put_itself(round_: Round, ours: Copy, home: ObjectStore, path: str) -> None:
    store = round_.library.stores.at(S3, ours.bucket)
    with stream_of(store, ours.path, round_.pace.take) as body:
        home.put(path, body, size=ours.size_bytes, sha256=ours.sha256, content_type=CONTENT_TYPE)


def _hashed(store: ObjectStore, path: str) -> str:
    with store.get(path) as chunks:
        return hashed(chunks)[0]


def _take_back(round_: Round, claim: PendingObject) -> None:
    """Remove a claimed object, unless somebody else has it by now; what cannot be removed is left to the sweep."""
    try:
        round_.library.remove(claim)
    except TrainmasterError as error:
        _log.warning("%s is left for a later sweep: %s", claim.uri, error)
