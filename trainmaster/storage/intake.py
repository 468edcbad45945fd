"""From what a user asked for to a dataset ready to be stored: whose it is, where it goes, the file, and what is in it."""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

from trainmaster.datasets.checking import check_dataset
from trainmaster.datasets.formats import Format
from trainmaster.datasets.report import DatasetReport
from trainmaster.datasets.request import UploadDatasetRequest
from trainmaster.datasets.showing.terminal import Page, as_text
from trainmaster.datasets.tokens import named_tokenizer
from trainmaster.errors import DatasetRefusedError, NoRoomError, StorageUnavailableError
from trainmaster.settings import Settings
from trainmaster.storage import sources
from trainmaster.storage.library import Library
from trainmaster.storage.sources import Source
from trainmaster.storage.store import ObjectStore, StorageProvider
from trainmaster.storage.uploading import NewDataset
from trainmaster.storage.web import WebLimits

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
"""What the system says when a disk, or what somebody may have of it, is full."""


def owner_of(user_id: str, settings: Settings) -> UUID:
    """Whose dataset it is: as asked, else TRAINMASTER_USER_ID. Raises NotConfiguredError."""
    return UUID(user_id or settings.required("user_id"))


def providers_of(request: UploadDatasetRequest) -> Sequence[StorageProvider]:
    """Where it goes; readers get the first."""
    return list(StorageProvider) if request.storage == "both" else [StorageProvider(request.storage)]


def require_stores(library: Library, request: UploadDatasetRequest, settings: Settings) -> Sequence[ObjectStore]:
    """The stores that were chosen. Raises NotConfiguredError, saying what to set, before anything was fetched or read."""
    user_id = owner_of(request.user_id, settings)
    return [library.stores.home(provider, user_id) for provider in providers_of(request)]


def fetch_source(request: UploadDatasetRequest, folder: Path, settings: Settings, s3: Callable[[], S3Client]) -> Source:
    """The file, where it can be read. Raises DatasetRefusedError, NotConfiguredError, StorageUnavailableError."""
    limits = WebLimits(settings.largest_fetch_bytes, settings.allow_private_addresses)
    user_id = str(owner_of(request.user_id, settings))
    try:
        return sources.fetch(
            request.file, folder, user_id=user_id, limits=limits, s3=s3, only_below=settings.source_folder
        )
    except OSError as error:
        raise _no_room(folder, error) from error


def check_source(
    request: UploadDatasetRequest, source: Source, folder: Path, progress: Callable[[int], None] | None = None
) -> DatasetReport:
    """What is in the file; what is to be stored of it is then in the folder. Raises NotConfiguredError for a tokenizer there is not."""
    try:
        return check_dataset(
            source.path,
            name=source.name,
            demanded=None if request.format == "auto" else Format(request.format),
            max_bad_fraction=request.max_bad_fraction,
            normalised=_normalised(folder),
            dropped=_dropped(folder),
            tokenizer=named_tokenizer(request.tokenizer) if request.tokenizer else None,
            progress=progress,
        )
    except OSError as error:
        raise _no_room(folder, error) from error


def accepted(
    request: UploadDatasetRequest, source: Source, report: DatasetReport, folder: Path, settings: Settings
) -> NewDataset:
    """What is to be stored. Raises DatasetRefusedError, which says all that is wrong, unless the file was found sound."""
    if not report.ok:
        raise DatasetRefusedError(as_text(report, Page()))
    return NewDataset(
        user_id=owner_of(request.user_id, settings),
        name=request.name,
        description=request.description,
        source_uri=source.uri,
        report=report,
        normalised=_normalised(folder),
        dropped=_dropped(folder) if report.dropped else None,
    )


def _normalised(folder: Path) -> Path:
    return folder / "normalised.jsonl.gz"


def _dropped(folder: Path) -> Path:
    return folder / "dropped.jsonl.gz"


def _no_room(folder: Path, error: OSError) -> StorageUnavailableError:
    kind = NoRoomError if error.errno in NO_ROOM else StorageUnavailableError
    return kind(
        f"The worker cannot work on the file in {folder.parent}: {error.strerror or error}. Make room there, or set"
        " TRAINMASTER_STATE_DIR to where there is some; then try again."
    )
