"""What every place that keeps objects can do, whoever runs it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import IO, Protocol
from urllib.parse import quote

LONGEST_LIFETIME = timedelta(days=7)


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
    trying later may help), ObjectMissingError (nothing there, or a row without bytes), ObjectChangedError (replaced while it
    was read), CorruptedUploadError.
    """

    provider: StorageProvider
    bucket: str

    def put(self, key: str, body: IO[bytes], *, size: int, sha256: str, content_type: str) -> bool:
        """Create an object from a seekable stream of `size` bytes, and verify it there; False when it was there already.

        Raises NameConflictError when other bytes are there, CorruptedUploadError when what arrived is not what was sent
        (it is then removed). No more than three parts (48 MiB) are held; what is cut off leaves no object and, where it can, no
        parts; those of a process that was killed go when next the same key is stored or deleted.
        """

    def get(self, key: str, *, start: int = 0) -> AbstractContextManager[Iterator[bytes]]:
        """The bytes as they are stored (never decompressed), in chunks of at most 1 MiB. Raises ObjectMissingError."""

    def stat(self, key: str) -> StoredObject | None:
        """What is there, or None."""

    def sign(self, key: str, expires_in: timedelta, *, download_as: str = "") -> str:
        """A URL anybody can GET for that long, at most seven days; `download_as` names the file a browser saves.

        Raises ObjectMissingError; ValueError for another lifetime.
        """

    def list(self, prefix: str) -> Iterator[StoredObject]:
        """All objects below a prefix that ends with a slash, however many, in the order of their keys."""

    def delete(self, key: str) -> bool:
        """True when it was there and is gone, False when nothing was there."""


def require_lifetime(expires_in: timedelta) -> int:
    """Seconds; raises ValueError for less than one or more than seven days, which is the most S3 signs for."""
    if not timedelta(seconds=1) <= expires_in <= LONGEST_LIFETIME:
        raise ValueError(f"A link can be valid for 1 second to 7 days, not {expires_in}.")
    return int(expires_in.total_seconds())


def require_folder(prefix: str) -> str:
    """The prefix; raises ValueError for one that does not end with a slash, which would also list its namesakes."""
    if not prefix.endswith("/"):
        raise ValueError(f"{prefix!r} does not end with a slash.")
    return prefix


def attachment(name: str) -> str:
    """The Content-Disposition that makes a browser save as `name`, whatever characters it has (RFC 6266)."""
    plain = "".join(each if each.isascii() and each.isprintable() and each not in '"\\%' else "_" for each in name)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"
