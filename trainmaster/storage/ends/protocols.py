"""The two ends of a copy: what objects are read from and what they are put into, one request per call.

Nothing here tries again: how often, when, and how many at once is for who copies, who has to see each failure for what it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from trainmaster.errors import NotConfiguredError, StorageUnavailableError, TrainmasterError

FEWEST_LISTED = 20
"""Objects of one folder for which a listing is asked: a page of it, which is of 1,000, costs a server as much as some looks."""


@dataclass(frozen=True)
class Version:
    """Which bytes lay under a path. `tag` changes with every replacement; `size` is that of the whole object, in bytes.

    Two are equal where these two are. `sha256` is what somebody recorded beside it, where the source knows that without reading.
    """

    size: int
    tag: str
    sha256: str | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Piece:
    """Some bytes of an object, and which version of it they are of."""

    data: memoryview
    version: Version


@dataclass(frozen=True)
class Held:
    """An object at a destination. `sha256` and `source_version` are what was recorded beside it when it was put."""

    size: int
    tag: str
    sha256: str | None = None
    source_version: str | None = None


@dataclass(frozen=True)
class Part:
    """A part of a multipart upload as the destination has it; `checksum` is base64, what it checked on arrival if it does."""

    number: int
    tag: str
    size: int
    checksum: str | None = None


@dataclass(frozen=True)
class Checks:
    """Whether a destination refuses what arrives other than it was sent: whole objects, and parts of multipart uploads."""

    objects: bool
    parts: bool


class ThrottledError(StorageUnavailableError):
    """Raised when a store asks for fewer requests; `retry_after` is in seconds, where it said."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class NoBucketError(NotConfiguredError):
    """Raised when a bucket is not there: none of its objects is, while those of other buckets may be."""


class NoRoomError(StorageUnavailableError):
    """Raised when a store is full: nothing else will fit either until somebody makes room."""


class AlreadyThereError(TrainmasterError):
    """Raised when an object was to be created and there is one by that key."""


class UploadGoneError(TrainmasterError):
    """Raised when a multipart upload is not known: never begun, completed or aborted."""


class Source(Protocol):
    """Where objects are read from. May be shared between threads.

    Errors of every call: ObjectMissingError (nothing there, or a row without bytes), NotConfiguredError (NoBucketError, no
    permission: the next object will do no better), ThrottledError and StorageUnavailableError (the same call may work later),
    RefusedError (a path that cannot be asked for as it is).
    """

    name: str
    """For messages: `supabase:training-datasets`."""
    lists: bool
    """Whether `listing` is worth asking for."""

    def look(self, path: str) -> Version:
        """What is there now, by one cheap request that no cache answers."""

    def read(self, path: str, start: int, length: int, version: Version | None = None) -> Piece:
        """`length` bytes from `start`, fewer only where the object ends, none if it ends before; by one request.

        Without a version it starts at the beginning; who may have been given a stale one asks again with that of `look`. Raises
        ObjectChangedError when it is not `version`, StorageUnavailableError when the body was cut short or long.
        """

    def listing(self, paths: Sequence[str]) -> Mapping[str, Version]:
        """Those of these objects, all of one folder, that a listing shows as they are now, by a few requests at most.

        One that it does not show may be there all the same. RefusedError: it cannot be listed.
        """


class Destination(Protocol):
    """Where objects are put, in one bucket. May be shared between threads.

    Errors of every call: NotConfiguredError (NoBucketError, no permission: the next object will do no better), NoRoomError,
    ThrottledError and StorageUnavailableError (the same call may work later; it may have worked this time, unheard).
    """

    name: str
    """For messages: `s3://bucket`."""
    lists: bool
    """As of a source."""

    def checks(self) -> Checks:
        """What it verifies by itself, found out by sending it something wrong once."""

    def look(self, key: str) -> Held | None:
        """What is there, or None."""

    def read(self, key: str, start: int, length: int, version: Version | None = None) -> Piece:
        """As of a source: to read back what was put."""

    def listing(self, paths: Sequence[str]) -> Mapping[str, Version]:
        """As of a source."""

    def put(self, key: str, body: memoryview, *, sha256: str, source_version: str) -> str:
        """Create an object, its tag. Raises AlreadyThereError, CorruptedUploadError (other bytes arrived; none are kept)."""

    def delete(self, key: str) -> None:
        """Nothing is there afterwards."""

    def begin(self, key: str, *, source_version: str, sha256: str | None = None) -> str:
        """Begin a multipart upload, its id. `sha256` is recorded beside the object, where it is known before it is read."""

    def put_part(self, key: str, upload_id: str, number: int, body: memoryview) -> Part:
        """Send part `number`, from 1; one sent before is replaced. Raises UploadGoneError, CorruptedUploadError."""

    def parts(self, key: str, upload_id: str) -> Sequence[Part]:
        """What arrived, by number. Raises UploadGoneError."""

    def complete(self, key: str, upload_id: str, parts: Sequence[Part]) -> str:
        """Create the object of all parts, its tag. Raises AlreadyThereError, UploadGoneError (completed before, perhaps)."""

    def abort(self, key: str, upload_id: str) -> None:
        """The upload and its parts are gone afterwards; an unknown one is gone already."""

    def uploads(self, key: str) -> Sequence[str]:
        """Ids of the multipart uploads of exactly this key that are neither completed nor aborted."""

    def can_copy_from(self, source: Source) -> bool:
        """Whether bytes can go from there to here without passing through this process."""

    def copy_from(self, source: Source, path: str, version: Version, key: str, *, sha256: str | None = None) -> str:
        """Create an object from one of `source`, at the servers, its tag; only where `can_copy_from`.

        Raises ObjectChangedError when it is not `version` any more, ObjectMissingError, AlreadyThereError.
        """


def folder_of(path: str) -> str:
    """Of an object, without a slash at its end; empty at the top."""
    return path.rpartition("/")[0]


def same_tag(one: str, other: str) -> bool:
    """Whether two ETags are of the same object, whoever wrote them down: boto3 keeps their quotes, Supabase has none."""
    return one.strip('"') == other.strip('"')
