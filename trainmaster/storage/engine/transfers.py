"""What is to be copied, what came of it, and how far a copy may go."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from trainmaster.errors import TrainmasterError

End = Literal["source", "destination"]


@dataclass(frozen=True)
class BegunUpload:
    """A multipart upload that an earlier try left: parts of `part_size` bytes of that version of the source."""

    upload_id: str
    part_size: int
    source_version: str


@dataclass(frozen=True)
class Transfer:
    """One object to be copied. The key at the destination is the caller's to write: other bytes found there are replaced.

    `key` is the caller's and handed back. `tried_before` says that an earlier try may have left the object at the destination:
    then that is looked at before the source is read. `size` is in bytes, as far as known; it may be wrong, and None is asked for. `sha256`
    is what somebody vouches for, hexadecimal. Where nobody does, `must_be_gzip` has the bytes proven to be whole gzip.
    """

    key: Any
    source: str
    destination: str
    size: int | None = None
    sha256: str | None = None
    must_be_gzip: bool = True
    tried_before: bool = False
    upload: BegunUpload | None = None


@dataclass(frozen=True)
class Copied:
    """An object that is at the destination as it is at the source, proven.

    `version` is the destination's, `sent` False where it was there before, `bytes_read` what was read from the source for it.
    """

    transfer: Transfer
    size: int
    sha256: str
    source_version: str
    version: str
    sent: bool
    bytes_read: int


@dataclass(frozen=True)
class NotCopied:
    """An object that could not be copied, and why; nothing of it that is known to be wrong is left at the destination.

    `error` is an ObjectMissingError or RefusedError (nothing there, or nothing that can be asked for), ObjectChangedError,
    DatasetRefusedError (no whole gzip), CorruptedUploadError (other bytes than vouched for, or than arrived),
    NameConflictError (somebody else writes that key), StorageUnavailableError (after all tries), WaitTimedOutError, or what
    the journal raised, as a LeaseLostError. `end` is the end that failed, or whose bytes are wrong, where one did.
    """

    transfer: Transfer
    error: TrainmasterError
    bytes_read: int
    end: End | None = None


@dataclass(frozen=True)
class CopyLimits:
    """How far a copy may go.

    `in_flight_bytes` bounds the bytes held at once. `first_at_once` is how many objects or parts are moved at once to begin
    with; that adapts to throttling up to `most_at_once`. Objects above `part_bytes` are large: they go in parts of that size, of
    `large_at_once` of them at a time. A request is tried `tries` times, `pause_seconds` after the first failure and twice as
    long after each further one, with jitter. `failures_in_a_row` objects that an end failed, with no success in between, are taken for its end.
    """

    in_flight_bytes: int = 256 << 20
    most_at_once: int = 64
    large_at_once: int = 4
    first_at_once: int = 8
    part_bytes: int = 16 << 20
    bytes_per_second: int | None = None
    object_seconds: float = 4 * 3600
    tries: int = 6
    pause_seconds: float = 0.25
    failures_in_a_row: int = 10


class Journal(Protocol):
    """Where the caller writes down what a later try needs. Called from threads of the engine, several at once."""

    def begun(self, transfer: Transfer, upload: BegunUpload) -> None:
        """Called before the first part of a multipart upload is sent. What it raises ends the transfer."""

    def require_ours(self, transfer: Transfer) -> None:
        """Called before anything is removed at the destination. Raises LeaseLostError when somebody else may have put it."""


class Tally:
    """Figures of one or more copies while they run, for progress. May be read at any time.

    `at_once` objects or parts are being moved now, for which `in_flight` bytes may be held; `most_` of either is the peak.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.bytes_read = self.objects = self.failed = self.throttled = 0
        self.at_once = self.most_at_once = 0
        self.in_flight = self.most_in_flight = 0

    def began(self, size: int) -> None:
        with self._lock:
            self.at_once += 1
            self.in_flight += size
            self.most_at_once = max(self.most_at_once, self.at_once)
            self.most_in_flight = max(self.most_in_flight, self.in_flight)

    def ended(self, size: int) -> None:
        with self._lock:
            self.at_once -= 1
            self.in_flight -= size

    def let_go(self, size: int) -> None:
        with self._lock:
            self.in_flight -= size

    def read(self, size: int) -> None:
        with self._lock:
            self.bytes_read += size

    def complained(self) -> None:
        with self._lock:
            self.throttled += 1

    def came_of(self, outcome: Copied | NotCopied) -> None:
        with self._lock:
            if isinstance(outcome, Copied):
                self.objects += 1
            else:
                self.failed += 1
