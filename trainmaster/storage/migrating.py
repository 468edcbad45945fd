"""A dataset from Supabase to S3: copied through a folder on disk, verified at every step, and catalogued beside the copy it has.

The object is claimed, the source is read whole and found sound, then put, verified and catalogued in the transaction that settles
the claim. Readers are sent where they were sent before. Whoever dies in between leaves a claim that runs out, and what is
swept with it.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from trainmaster.catalog.datasets import Copy, Dataset
from trainmaster.catalog.pending import PendingObject
from trainmaster.datasets.unpacking import UnpackingError, gunzipped
from trainmaster.errors import (
    CorruptedUploadError,
    DatasetMissingError,
    DatasetRefusedError,
    ObjectChangedError,
    ObjectMissingError,
    StorageUnavailableError,
    TrainmasterError,
)
from trainmaster.storage.library import Library, dataset_path, dropped_path, new_holder
from trainmaster.storage.store import ObjectStore, StorageProvider, StoredObject
from trainmaster.storage.uploading import CONTENT_TYPE
from trainmaster.storage.working_folder import working_folder

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _File:
    """An object's bytes on disk, found to be whole."""

    path: Path
    size: int
    sha256: str


def migrate_dataset(library: Library, dataset: Dataset, below: Path) -> Dataset:
    """The dataset with a verified copy in S3; at once when it has one. Needs as much room below the folder as it is large, and
    a few MiB of memory.

    Safe to repeat and to race. Raises DatasetMissingError, UploadUnderWayError (somebody else is copying it), LeaseLostError,
    ObjectMissingError, ObjectChangedError, DatasetRefusedError (no whole gzip), NotConfiguredError, StorageUnavailableError.
    """
    user_id, to = dataset.user_id, library.stores.home(StorageProvider.S3, dataset.user_id)
    path = dataset_path(StorageProvider.S3, user_id, dataset.id)
    claim = library.catalogue.pending.claim(
        provider=to.provider,
        bucket=to.bucket,
        path=path,
        dataset_id=dataset.id,
        user_id=user_id,
        holder=new_holder(),
        lease=library.lease,
    )
    current = library.catalogue.datasets.get(dataset.id, user_id)
    if claim is None and current:
        return current
    try:
        if current is None or claim is None:
            raise DatasetMissingError(f"There is no dataset {dataset.id} of user {user_id}.")
        return _copied(library, current, claim, to, below)
    except BaseException:
        _take_back(library, claim)
        raise


def _copied(library: Library, dataset: Dataset, claim: PendingObject, to: ObjectStore, below: Path) -> Dataset:
    source, source_path = _source(library, dataset)
    with library.renewing(claim), working_folder(below) as folder:
        beside = dropped_path(source_path)
        if source.stat(beside):  # first, as when it is uploaded: a dataset never lacks it
            _put(to, dropped_path(claim.path), _fetched(source, beside, folder / "dropped"))
        file = _fetched(source, source_path, folder / "dataset")
        _require_as_recorded(dataset, file)
        _put(to, claim.path, file)
    copy = Copy(
        provider=to.provider,
        bucket=to.bucket,
        path=claim.path,
        size_bytes=file.size,
        sha256=file.sha256,
        verified_at=datetime.now(UTC),
        verified_by=f"trainmaster migrate {claim.holder}",
    )
    return library.catalogue.datasets.add_copy(dataset.id, dataset.user_id, copy, claim=claim)


def _source(library: Library, dataset: Dataset) -> tuple[ObjectStore, str]:
    provider = StorageProvider(dataset.storage_provider)
    if copy := dataset.copy_at(provider):
        return library.stores.at(provider, copy.bucket), copy.path
    if not dataset.names_its_own:
        raise DatasetRefusedError(f"Dataset {dataset.id} ({dataset.name!r}) names no object of its user.")
    return library.stores.home(provider, dataset.user_id), dataset.storage_path


def _fetched(source: ObjectStore, path: str, to: Path) -> _File:
    """The object on disk, whole gzip, and the same before and after it was read."""
    before = source.stat(path)
    if before is None:
        raise ObjectMissingError(f"{source.provider} object {source.bucket}/{path} is not there.")
    digest, size = hashlib.sha256(), 0
    try:
        _require_room(to.parent, before.size)
        with source.get(path) as chunks, to.open("wb") as file:
            for chunk in chunks:
                file.write(chunk)
                digest.update(chunk)
                size += len(chunk)
    except OSError as error:
        raise StorageUnavailableError(
            f"The worker cannot work on {path} in {to.parent}: {error.strerror or error}. Make room there, or set"
            " TRAINMASTER_STATE_DIR to where there is some; then try again."
        ) from error
    if _version(source.stat(path)) != _version(before) or size != before.size:
        raise ObjectChangedError(f"{source.provider} object {source.bucket}/{path} was replaced while it was read.")
    _require_gzip(to, path)
    return _File(to, size, digest.hexdigest())


def _require_room(folder: Path, size: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < size:
        raise OSError(f"{size:,} bytes are wanted, {free:,} are free")


def _require_gzip(file: Path, path: str) -> None:
    with file.open("rb") as packed:
        head = packed.read(2)
        if head != b"\x1f\x8b":
            raise DatasetRefusedError(f"{path} is not gzip, which a dataset in S3 has to be. Upload it anew.")
        packed.seek(0)
        try:
            for _ in gunzipped(packed, packed.read(1 << 19)):
                pass
        except UnpackingError as error:
            raise DatasetRefusedError(f"{path}: {error.problem.found}. Upload the dataset anew.") from error


def _require_as_recorded(dataset: Dataset, file: _File) -> None:
    for copy in dataset.copies:
        if (copy.sha256, copy.size_bytes) != (file.sha256, file.size):
            raise CorruptedUploadError(
                f"Dataset {dataset.id}: {copy.provider} gave {file.size:,} bytes with SHA-256 {file.sha256}, catalogued are"
                f" {copy.size_bytes:,} with {copy.sha256}. Nothing was copied."
            )


def _put(to: ObjectStore, path: str, file: _File) -> None:
    there = to.stat(path)
    if there and there.sha256 != file.sha256:
        to.delete(
            path
        )  # of a try that died before the source was replaced: nobody vouches for it, and the claim is ours
    with file.path.open("rb") as body:
        to.put(path, body, size=file.size, sha256=file.sha256, content_type=CONTENT_TYPE)


def _take_back(library: Library, claim: PendingObject | None) -> None:
    """Remove what was put, unless somebody else has it by now; what cannot be removed is left to the sweep."""
    try:
        if claim:
            library.remove(claim)
    except TrainmasterError as error:
        _log.warning("What a migration left in S3 is removed when its claim has run out: %s", error)


def _version(found: StoredObject | None) -> tuple[object, ...]:
    return (found.size, found.etag, found.modified) if found else ()
