"""Whether a copy still is what the catalogue says of it: by a look, or by reading all of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from trainmaster.catalog.datasets import Copy
from trainmaster.errors import CorruptedUploadError, DatasetRefusedError, ObjectMissingError, StorageUnavailableError
from trainmaster.storage.ends.protocols import Source, Version, same_tag
from trainmaster.storage.engine.bandwidth import Bandwidth
from trainmaster.storage.engine.wholeness import Wholeness

PIECE = 4 << 20
TRIES, LONGEST_PAUSE = 5, 20.0
"""Of one request, and seconds between two."""
T = TypeVar("T")

_LOOKED_EVERY = 0.2
"""Seconds, while bytes wait for their turn."""


class StoppedError(Exception):
    """Raised when reading ends because the run does: nothing is known of what was read."""


class Pace:
    """Bytes a second that threads together do not exceed, None for no cap; and the end of it all, once one of `stops` is set."""

    def __init__(self, bytes_per_second: float | None, *stops: threading.Event) -> None:
        self._bandwidth = Bandwidth(max(int(bytes_per_second), 1) if bytes_per_second else None)
        self._stops, self._lock = stops, threading.Lock()

    def take(self, size: int) -> None:
        """Wait until so many bytes more are within the cap. Raises StoppedError."""
        with self._lock:
            now = time.monotonic()
            until = now + self._bandwidth.reserve(size, now)
        while not any(stop.is_set() for stop in self._stops):
            wait = until - time.monotonic()
            if wait <= 0:
                return
            time.sleep(min(wait, _LOOKED_EVERY))
        raise StoppedError


@dataclass(frozen=True)
class Look:
    """What a look at a copy showed to be wrong, or nothing; and whether it is another object than was verified, as far as its
    version was noted. That may have the same bytes."""

    damage: str
    replaced: bool = False


@dataclass(frozen=True)
class Reading:
    """An object that was read to its end, and which version of it."""

    size: int
    sha256: str
    tag: str


@dataclass(frozen=True)
class Proof:
    """What reading a copy showed: what is wrong with it, or nothing; how many bytes were read for it; and which version."""

    damage: str
    read: int
    tag: str | None = None


def version_at(source: Source, path: str) -> Version | None:
    """What is there now, or None. Raises StorageUnavailableError and NotConfiguredError."""
    try:
        return persisting(lambda: source.look(path))
    except ObjectMissingError:
        return None


def read_whole(
    source: Source, path: str, pace: Pace, version: Version | None = None, *, must_be_gzip: bool = True
) -> Reading:
    """Hash and unpack an object of one version as it comes, a piece of 4 MiB at a time.

    Raises ObjectMissingError, ObjectChangedError (it is not that version, or was replaced meanwhile), DatasetRefusedError (no
    whole gzip, where it must be), StorageUnavailableError, NotConfiguredError and StoppedError.
    """
    whole = Wholeness(f"{source.name}/{path}", must_be_gzip=must_be_gzip)
    while version is None or whole.size < version.size:
        piece = persisting(partial(source.read, path, whole.size, PIECE, version))
        if version is not None and not piece.data:
            break
        version = piece.version
        pace.take(len(piece.data))
        whole.feed(piece.data)
    return Reading(whole.size, whole.finish(), version.tag)


def prove(source: Source, copy: Copy, pace: Pace) -> Proof:
    """Read a copy in full and hold it against its row. What differs is read once more: one bad reading is no damage.

    Raises StorageUnavailableError, NotConfiguredError, ObjectChangedError (replaced while it was read) and StoppedError, none of
    which says anything of the copy.
    """
    first = _read(source, copy, pace)
    if not first.damage:
        return first
    if seen := look(source, copy).damage:
        return replace(first, damage=seen)
    second = _read(source, copy, pace)
    return replace(second, read=first.read + second.read)


def look(source: Source, copy: Copy) -> Look:
    """By one cheap request. Raises StorageUnavailableError and NotConfiguredError."""
    there = version_at(source, copy.path)
    if there is None:
        return Look(f"nothing is at {copy.uri}")
    if there.size != copy.size_bytes:
        return Look(f"{copy.uri} has {there.size:,} bytes; {copy.size_bytes:,} were catalogued")
    return Look("", replaced=copy.version is not None and not same_tag(there.tag, copy.version))


def _read(source: Source, copy: Copy, pace: Pace) -> Proof:
    """Once. Of bytes that broke off it is said how many were to be read."""
    try:
        found = read_whole(source, copy.path, pace)
    except ObjectMissingError as error:
        return Proof(str(error), 0)
    except (CorruptedUploadError, DatasetRefusedError) as error:
        return Proof(str(error), copy.size_bytes)
    if found.size != copy.size_bytes:
        return Proof(f"{copy.uri} gave {found.size:,} bytes; {copy.size_bytes:,} were catalogued", found.size)
    if found.sha256 != copy.sha256:
        said = f"the {found.size:,} bytes of {copy.uri} have SHA-256 {found.sha256}; {copy.sha256} was catalogued"
        return Proof(said, found.size)
    return Proof("", found.size, found.tag)


def persisting(call: Callable[[], T]) -> T:
    """Its result, tried again while the store is out of reach or under pressure. Raises what the last of five tries does."""
    attempts = Retrying(
        stop=stop_after_attempt(TRIES),
        wait=wait_random_exponential(multiplier=0.5, max=LONGEST_PAUSE),
        retry=retry_if_exception_type(StorageUnavailableError),
        reraise=True,
    )
    return attempts(call)
