"""Datasets that Supabase has lost while S3 holds what an earlier try sent, or this one: where that is proven, it is their copy."""

from __future__ import annotations

from functools import partial

from trainmaster.errors import DatasetRefusedError, ObjectMissingError
from trainmaster.migration.errands import Errand
from trainmaster.migration.proving import Pace, persisting, read_whole
from trainmaster.storage.copy import Copied
from trainmaster.storage.ends.protocols import Version
from trainmaster.storage.library import Library
from trainmaster.storage.store import StorageProvider


def adopted(library: Library, errand: Errand, pace: Pace) -> Copied | None:
    """What S3 has, read whole there, if it is proven to be the dataset; None if it is not. The source is not asked again.

    Proof is the SHA-256 that is catalogued of Supabase's copy. Where none is, that the object was made from a version of the
    source, is whole gzip, and has the SHA-256 that was recorded beside it, if one was.
    Raises ObjectMissingError when S3 has nothing either; NotConfiguredError, StorageUnavailableError, ObjectChangedError and
    StoppedError, which say nothing of the object.
    """
    claim, known = errand.claim, errand.candidate.supabase
    held = persisting(partial(library.stores.destination(errand.candidate.user_id).look, claim.path))
    if held is None:
        raise ObjectMissingError(f"{claim.uri} is not there.")
    try:
        source = library.stores.source(StorageProvider.S3, claim.bucket)
        found = read_whole(source, claim.path, pace, Version(held.size, held.tag))
    except DatasetRefusedError:
        return None
    recorded = known.sha256 if known else held.sha256
    if (known is None and held.source_version is None) or recorded not in (None, found.sha256):
        return None
    return Copied(
        transfer=errand.transfer(),
        size=found.size,
        sha256=found.sha256,
        source_version="",
        version=held.tag,
        sent=False,
        bytes_read=0,
    )
