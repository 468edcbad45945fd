"""Whether a copy still is what the catalogue says of it: by a look, or by reading all of it."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

from trainmaster.catalog.datasets import Copy
from trainmaster.errors import CorruptedUploadError, DatasetRefusedError, ObjectMissingError, StorageUnavailableError
from trainmaster.storage.bandwidth import Bandwidth
from trainmaster.storage.store import ObjectStore
from trainmaster.storage.wholeness import Wholeness

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
    """An object that was read to its end, and is whole gzip."""

    size: int
    sha256: str


@dataclass(frozen=True)
class Proof:
    """What reading a copy showed: what is wrong with it, or nothing; and how many bytes were read for it."""

    damage: str
    read: int


def read_whole(store: ObjectStore, path: str, pace: Pace) -> Reading:
    """Hash and unpack an object as it streams by; holds a few MiB. Raises as `ObjectStore.get`, DatasetRefusedError and StoppedError."""
    whole = Wholeness(f"{store.provider}://{store.bucket}/{path}", must_be_gzip=True)
    with store.get(path) as chunks:
        for chunk in chunks:
            pace.take(len(chunk))
            whole.feed(memoryview(chunk))
    return Reading(whole.size, whole.finish())


def prove(store: ObjectStore, copy: Copy, pace: Pace) -> Proof:
    """Read a copy in full and hold it against its row. What differs is read once more: one bad reading is no damage.

    Raises StorageUnavailableError, NotConfiguredError, ObjectChangedError (replaced while it was read) and StoppedError, none of
    which says anything of the copy.
    """
    damage, read = "", 0
    for _ in range(2):
        if seen := look(store, copy).damage:
            return Proof(seen, read)
        read += copy.size_bytes
        if not (damage := _damage_read(store, copy, pace)):
            break
    return Proof(damage, read)


def look(store: ObjectStore, copy: Copy) -> Look:
    """By one cheap request. Raises StorageUnavailableError and NotConfiguredError."""
    there = store.stat(copy.path)
    if there is None:
        return Look(f"nothing is at {_at(copy)}")
    if there.size != copy.size_bytes:
        return Look(f"{_at(copy)} has {there.size:,} bytes; {copy.size_bytes:,} were catalogued")
    return Look("", replaced=bool(copy.version) and there.etag.strip('"') != (copy.version or "").strip('"'))


def _damage_read(store: ObjectStore, copy: Copy, pace: Pace) -> str:
    try:
        found = read_whole(store, copy.path, pace)
    except (ObjectMissingError, CorruptedUploadError, DatasetRefusedError) as error:
        return str(error)
    if found.size != copy.size_bytes:
        if seen := look(store, copy).damage:  # it was replaced since the look before
            return seen
        raise StorageUnavailableError(
            f"{_at(copy)} gave {found.size:,} of its {copy.size_bytes:,} bytes. Try again later."
        )
    if found.sha256 != copy.sha256:
        return f"the {found.size:,} bytes of {_at(copy)} have SHA-256 {found.sha256}; {copy.sha256} was catalogued"
    return ""


def _at(copy: Copy) -> str:
    return f"{copy.provider}://{copy.bucket}/{copy.path}"
