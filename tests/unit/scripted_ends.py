"""Two ends of a copy in memory, whose calls are written down, and may go as a test wants them to."""

from __future__ import annotations

import gzip
import hashlib
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from trainmaster.errors import LeaseLostError, ObjectChangedError, ObjectMissingError
from trainmaster.storage.ends.protocols import (
    AlreadyThereError,
    Checks,
    Destination,
    Held,
    Part,
    Piece,
    Source,
    UploadGoneError,
    Version,
)
from trainmaster.storage.engine.transfers import BegunUpload, Transfer

Fate = Callable[["Call"], None]
"""What befalls a call before it is carried out; it may raise, wait, or change the ends."""


def packed(size: int, seed: object = 0) -> bytes:
    """Whole gzip of at least so many bytes."""
    return gzip.compress(random.Random(f"{seed}").randbytes(size), 0, mtime=0)  # noqa: S311 - repeatable


@dataclass(frozen=True)
class Call:
    """What was asked: `read`, `put_part` …, of which object, and from which byte or which part."""

    name: str
    path: str
    position: int = 0


class _End:
    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.calls: list[Call] = []
        self.fates: list[tuple[str, Fate, int]] = []

    def befall(self, name: str, fate: Fate | Exception, times: int = 1_000_000) -> None:
        """The next so many calls of that name; an exception is raised."""

        def raised(_: Call) -> None:
            assert isinstance(fate, Exception)
            raise fate

        self.fates.append((name, raised if isinstance(fate, Exception) else fate, times))

    def count(self, name: str, path: str | None = None) -> int:
        return sum(call.name == name and path in (None, call.path) for call in self.calls)

    def called(self, name: str, path: str, position: int = 0) -> None:
        call = Call(name, path, position)
        with self.lock:
            self.calls.append(call)
            due = [n for n, (wanted, _, times) in enumerate(self.fates) if wanted == name and times > 0][:1]
            fates = [self.fates[n][1] for n in due]
            for n in due:
                wanted, fate, times = self.fates[n]
                self.fates[n] = (wanted, fate, times - 1)
        for fate in fates:
            fate(call)


class Shelf(_End, Source):
    """A source. Putting an object anew makes another version of it."""

    name = "memory:shelf"

    def __init__(self, *, lists: bool = False, **objects: bytes) -> None:
        super().__init__()
        self.lists = lists
        self.objects: dict[str, tuple[bytes, str]] = {}
        self._versions = 0
        for path, data in objects.items():
            self.keep(path, data)

    def keep(self, path: str, data: bytes) -> None:
        self._versions += 1
        self.objects[path] = (data, f"version {self._versions}")

    def look(self, path: str) -> Version:
        self.called("look", path)
        return self._version(path)

    def read(self, path: str, start: int, length: int, version: Version | None = None) -> Piece:
        self.called("read", path, start)
        found = self._version(path)
        if version not in (None, found):
            raise ObjectChangedError(f"{path} was replaced.")
        return Piece(memoryview(self.objects[path][0])[start : start + length], found)

    def listing(self, paths: Sequence[str]) -> dict[str, Version]:
        self.called("listing", paths[0])
        return {path: self._version(path) for path in paths if path in self.objects}

    def _version(self, path: str) -> Version:
        if path not in self.objects:
            raise ObjectMissingError(f"{path} is not there.")
        data, tag = self.objects[path]
        return Version(len(data), tag)


@dataclass
class Upload:
    """A multipart upload under way."""

    key: str
    source_version: str
    sha256: str | None
    parts: dict[int, bytes] = field(default_factory=dict)


class Bin(_End, Destination):
    """A destination."""

    name = "memory://bin"

    def __init__(self, *, checks: bool = True, lists: bool = False) -> None:
        super().__init__()
        self.lists = lists
        self.objects: dict[str, bytes] = {}
        self.about: dict[str, tuple[str | None, str]] = {}
        self.under_way: dict[str, Upload] = {}
        self._checks, self._uploads = Checks(checks, checks), 0
        self.is_beside = False

    def checks(self) -> Checks:
        self.called("checks", "")
        return self._checks

    def look(self, key: str) -> Held | None:
        self.called("look", key)
        with self.lock:
            if key not in self.objects:
                return None
            return Held(len(self.objects[key]), tag_of(self.objects[key]), *self.about[key])

    def read(self, key: str, start: int, length: int, version: Version | None = None) -> Piece:
        self.called("read", key, start)
        data = self.objects[key]
        found = Version(len(data), tag_of(data))
        if version not in (None, found):
            raise ObjectChangedError(f"{key} was replaced.")
        return Piece(memoryview(data)[start : start + length], found)

    def listing(self, paths: Sequence[str]) -> dict[str, Version]:
        self.called("listing", paths[0])
        with self.lock:
            there = {path: self.objects[path] for path in paths if path in self.objects}
        return {path: Version(len(data), tag_of(data)) for path, data in there.items()}

    def put(self, key: str, body: memoryview, *, sha256: str, source_version: str) -> str:
        self.called("put", key)
        return self._create(key, bytes(body), sha256, source_version)

    def delete(self, key: str) -> None:
        self.called("delete", key)
        self.objects.pop(key, None)

    def begin(self, key: str, *, source_version: str, sha256: str | None = None) -> str:
        self.called("begin", key)
        with self.lock:
            self._uploads += 1
            self.under_way[f"upload {self._uploads}"] = Upload(key, source_version, sha256)
            return f"upload {self._uploads}"

    def put_part(self, key: str, upload_id: str, number: int, body: memoryview) -> Part:
        self.called("put_part", key, number)
        with self.lock:
            self._upload(upload_id).parts[number] = bytes(body)
            return Part(number, tag_of(body), len(body))

    def parts(self, key: str, upload_id: str) -> Sequence[Part]:
        self.called("parts", key)
        there = self._upload(upload_id).parts
        return [Part(number, tag_of(there[number]), len(there[number])) for number in sorted(there)]

    def complete(self, key: str, upload_id: str, parts: Sequence[Part]) -> str:
        self.called("complete", key)
        upload = self._upload(upload_id)
        assert [part.number for part in parts] == sorted(upload.parts)
        data = b"".join(upload.parts[part.number] for part in parts)
        tag = self._create(key, data, upload.sha256, upload.source_version)
        del self.under_way[upload_id]
        return tag

    def abort(self, key: str, upload_id: str) -> None:
        self.called("abort", key)
        self.under_way.pop(upload_id, None)

    def uploads(self, key: str) -> Sequence[str]:
        self.called("uploads", key)
        return [upload_id for upload_id, upload in self.under_way.items() if upload.key == key]

    def can_copy_from(self, source: Source) -> bool:
        return self.is_beside and isinstance(source, Shelf)

    def copy_from(self, source: Source, path: str, version: Version, key: str, *, sha256: str | None = None) -> str:
        self.called("copy_from", key)
        assert isinstance(source, Shelf)
        data, tag = source.objects[path]
        if tag != version.tag:
            raise ObjectChangedError(f"{path} was replaced.")
        return self._create(key, data, sha256, tag)

    def _create(self, key: str, data: bytes, sha256: str | None, source_version: str) -> str:
        with self.lock:
            if key in self.objects:
                raise AlreadyThereError(f"{key} is there.")
            self.objects[key], self.about[key] = data, (sha256, source_version)
            return tag_of(data)

    def _upload(self, upload_id: str) -> Upload:
        if upload_id not in self.under_way:
            raise UploadGoneError(f"{upload_id} is not known.")
        return self.under_way[upload_id]


class Notes:
    """A journal in memory; `lost` are the keys of transfers whose claim somebody else has."""

    def __init__(self) -> None:
        self.uploads: dict[Any, BegunUpload] = {}
        self.lost: set[Any] = set()

    def begun(self, transfer: Transfer, upload: BegunUpload) -> None:
        self.require_ours(transfer)
        self.uploads[transfer.key] = upload

    def require_ours(self, transfer: Transfer) -> None:
        if transfer.key in self.lost:
            raise LeaseLostError(f"{transfer.key} is somebody else's now.")


def tag_of(data: bytes | memoryview) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def transfers(shelf: Shelf, **about: Any) -> Iterator[Transfer]:
    """Of every object there, to the same name."""
    for path, (data, _) in shelf.objects.items():
        yield Transfer(**{"key": path, "source": path, "destination": path, "size": len(data), **about})
