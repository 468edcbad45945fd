"""Work on a library in a process that kills itself, as an out-of-memory killer would, at the step it is told.

A step is what is done to store or catalogue: each counts when it is about to begin and when it is done, and the sending of bytes
half-way too. Nothing in the product knows of it: the process wraps what the product is given.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any
from uuid import UUID

from library_shelves import Shelves

from trainmaster.migration.copying import copy_now
from trainmaster.storage.removing import delete_dataset, sweep
from trainmaster.storage.store import StorageProvider
from trainmaster.storage.uploading import NewDataset, upload

STEPS = {"claim", "release", "insert", "add_copy", "delete", "put", "read", "copied"}


class Death:
    """Comes at the step of that number, of those counted from 1."""

    def __init__(self, at: int) -> None:
        self._left = at

    def step(self) -> None:
        self._left -= 1
        if not self._left:
            os.kill(os.getpid(), signal.SIGKILL)


class Mortal:
    """Something of the product whose steps are counted."""

    def __init__(self, inner: Any, death: Death) -> None:
        self._inner, self._death = inner, death

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._inner, name)
        if name in {"at", "home", "source", "destination"}:
            return lambda *args: Mortal(real(*args), self._death)
        return self._counted(real) if name in STEPS else real

    def _counted(self, real: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            self._death.step()
            if real.__name__ == "put" and hasattr(args[1], "read"):
                args = (args[0], HalfWay(args[1], self._death), *args[2:])
            answer = real(*args, **kwargs)
            self._death.step()
            return answer

        return call


class HalfWay:
    """A file read in two pieces; when the second has been read, and is about to be sent, is a step."""

    def __init__(self, file: IO[bytes], death: Death) -> None:
        self._file, self._death = file, death
        self._half = os.fstat(file.fileno()).st_size // 2 + 1

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def read(self, size: int = -1) -> bytes:
        begins = self._file.tell() == 0
        piece = self._file.read(min(size, self._half) if size > 0 else size)
        if piece and not begins:
            self._death.step()
        return piece


@dataclass(frozen=True)
class Work:
    """`what` is to upload, delete, sweep or migrate; done to the end when it has fewer steps than `dies_at`."""

    what: str
    environment: Mapping[str, str]
    folder: Path
    user_id: UUID
    new: NewDataset
    storage: Sequence[StorageProvider]
    dies_at: int


def do(work: Work) -> None:
    shelves, death = Shelves(work.environment, work.folder, work.user_id), Death(work.dies_at)
    catalogue = shelves.catalogue
    parts: Any = {name: Mortal(getattr(catalogue, name), death) for name in ("datasets", "pending", "migrations")}
    mortal = replace(catalogue, **parts)
    stores: Any = Mortal(shelves.library.stores, death)
    library = replace(shelves.library, catalogue=mortal, stores=stores)
    match work.what:
        case "upload":
            upload(library, work.new, work.storage)
        case "delete":
            delete_dataset(library, work.new.id, work.user_id)
        case "sweep":
            sweep(library)
        case "migrate":
            dataset = catalogue.datasets.get(work.new.id, work.user_id)
            assert dataset
            copy_now(library, [dataset])
