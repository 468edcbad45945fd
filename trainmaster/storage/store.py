"""What every place that keeps objects can do, whoever runs it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import IO, Protocol


class StorageProvider(StrEnum):
    """Where a dataset's bytes live; the value is the catalogue's `storage_provider`."""

    SUPABASE = "supabase"
    S3 = "s3"


@dataclass(frozen=True)
class StoredObject:
    """One object as its store describes it. `sha256` is what we recorded when we put it, hexadecimal, if we did.

    A listing may leave `sha256` and `metadata` out; `stat` never does.
    """

    key: str
    size: int
    etag: str
    modified: datetime
    sha256: str | None = None
    metadata: Mapping[str, str] | None = None


class ObjectStore(Protocol):
    """One bucket of one provider. Every call has a timeout and bounded, jittered retries, and is safe to repeat.

    Errors: NotConfiguredError (no such bucket, no permission), StorageUnavailableError (still failing after the retries;
    trying later may help), ObjectMissingError (nothing there, or a row without bytes), CorruptedUploadError.
    """

    provider: StorageProvider
    bucket: str

    def put(self, key: str, body: IO[bytes], *, size: int, sha256: str, content_type: str) -> bool:
        """Create an object from a seekable stream of `size` bytes, and verify it there; False when it was there already.

        Raises NameConflictError when other bytes are there, CorruptedUploadError when what arrived is not what was sent
        (it is then removed). No more than a few MiB are held; what is cut off leaves no object and, where it can, no parts.
        """

    def get(self, key: str, *, start: int = 0) -> AbstractContextManager[Iterator[bytes]]:
        """The bytes as they are stored (never decompressed), in chunks of at most 1 MiB. Raises ObjectMissingError."""

    def stat(self, key: str) -> StoredObject | None:
        """What is there, or None."""

    def sign(self, key: str, expires_in: timedelta, *, download_as: str = "") -> str:
        """A URL anybody can GET for that long, at most seven days; `download_as` names the file a browser saves.

        Raises ObjectMissingError.
        """

    def list(self, prefix: str) -> Iterator[StoredObject]:
        """All objects below a prefix that ends with a slash, however many, in the order of their keys."""

    def delete(self, key: str) -> bool:
        """True when it was there and is gone, False when nothing was there."""
