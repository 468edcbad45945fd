"""Copies that are not what is catalogued, put again from a file that is: found by a look, proven by reading, replaced under a claim.

The row stays while it is done. Whoever dies half-way leaves a dataset whose copy is missing instead of wrong, which the next
upload mends; a sweep leaves alone what is catalogued.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from trainmaster.catalog.datasets import Copy
from trainmaster.catalog.pending import PendingObject
from trainmaster.datasets.report import Written
from trainmaster.errors import CorruptedUploadError, ObjectChangedError, ObjectMissingError, UploadUnderWayError
from trainmaster.migration.proving import Pace, look, read_whole, version_at
from trainmaster.migration.standing import Standing, standing_of
from trainmaster.storage.bodies import hashed
from trainmaster.storage.ends.protocols import Source
from trainmaster.storage.library import Library
from trainmaster.storage.store import ObjectStore, StorageProvider

CONTENT_TYPE = "application/gzip"


@dataclass(frozen=True)
class File:
    """A file that is known to be right, and the path it belongs at."""

    path: str
    file: Path
    written: Written

    def put(self, store: ObjectStore) -> bool:
        """Raises as `ObjectStore.put`."""
        with self.file.open("rb") as body:
            return store.put(
                self.path, body, size=self.written.size, sha256=self.written.sha256, content_type=CONTENT_TYPE
            )


@dataclass(frozen=True)
class Mended:
    """A copy that is sound now, since when (by the catalogue's clock), and what was wrong with it, or nothing."""

    copy: Copy
    since: datetime
    wrong: str


def is_as_verified(library: Library, copy: Copy) -> bool:
    """Whether one look tells that what is there is what was verified. Raises as `ObjectStore.stat`."""
    source = library.stores.source(StorageProvider(copy.provider), copy.bucket)
    return standing_of(source, copy).standing is Standing.UNCHANGED


def mend(library: Library, store: ObjectStore, copy: Copy, files: Sequence[File], claim: PendingObject) -> Mended:
    """Read a copy whole, twice if it differs, and put it again if it does, under a claim on it.

    The last of `files` is the copy's, before it come those beside it. What was there goes only while the claim is ours and it is
    the version that was read. Raises LeaseLostError, and UploadUnderWayError when somebody else replaces it meanwhile.
    """
    source, migrations = library.stores.source(store.provider, copy.bucket), library.catalogue.migrations
    since, before = migrations.now(), version_at(source, copy.path)
    try:
        wrong = _difference(source, copy)
    except ObjectChangedError as error:
        raise _being_replaced(copy) from error
    if version_at(source, copy.path) != before:
        raise _being_replaced(copy)
    if wrong:
        *beside, _ = files
        for file in files:
            if file in beside and _is_there(store, file):
                continue
            # At the last moment: who slept through his lease must not remove what another has put there since.
            library.catalogue.pending.renew(claim, library.lease)
            store.delete(file.path)
            file.put(store)
        since, before = migrations.now(), version_at(source, copy.path)
    renewed = replace(copy, verified_at=datetime.now(UTC), version=before.tag if before else None)
    return Mended(renewed, since, wrong)


def _being_replaced(copy: Copy) -> UploadUnderWayError:
    return UploadUnderWayError(f"{copy.uri} was replaced by somebody else while it was read. Try again later.")


def _difference(source: Source, copy: Copy) -> str:
    """Between what is there and what is catalogued; nothing if there is none. One bad reading is no difference."""
    if seen := look(source, copy).damage:
        return seen
    return _read_difference(source, copy) and _read_difference(source, copy)


def _read_difference(source: Source, copy: Copy) -> str:
    try:
        found = read_whole(source, copy.path, Pace(None), must_be_gzip=False)
    except (ObjectMissingError, CorruptedUploadError) as error:
        return str(error).rstrip(".")
    if (found.size, found.sha256) == (copy.size_bytes, copy.sha256):
        return ""
    return f"{copy.uri} had {found.size:,} bytes with SHA-256 {found.sha256}; {copy.sha256} was catalogued"


def _is_there(store: ObjectStore, file: File) -> bool:
    try:
        with store.get(file.path) as chunks:
            return hashed(chunks) == (file.written.sha256, file.written.size)
    except ObjectMissingError:
        return False
