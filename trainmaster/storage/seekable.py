"""A stored object as a stream that can be read twice, without a file in between."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from typing import IO, TYPE_CHECKING

from trainmaster.storage.bodies import CHUNK
from trainmaster.storage.store import ObjectStore

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


def stream_of(store: ObjectStore, key: str, passing: Callable[[int], None]) -> IO[bytes]:
    """An object of a store, two chunks of 1 MiB of it in memory; opened again where somebody seeks to what is not next.

    Two readings may be of two versions of the object: who puts it elsewhere announces its checksum. `passing` is told how many
    bytes are about to be handed on. Raises as `ObjectStore.get`.
    """
    return io.BufferedReader(_Stored(store, key, passing), CHUNK)


class _Stored(io.RawIOBase):
    def __init__(self, store: ObjectStore, key: str, passing: Callable[[int], None]) -> None:
        super().__init__()
        self._store, self._key, self._passing = store, key, passing
        self._open, self._chunks = ExitStack(), iter(list[bytes]())
        self._wanted, self._next, self._rest = 0, -1, memoryview(b"")

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._wanted

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence != io.SEEK_SET:
            raise io.UnsupportedOperation("only from the beginning")
        self._wanted = offset
        return offset

    def readinto(self, buffer: WriteableBuffer) -> int:
        into = memoryview(buffer).cast("B")
        if self._wanted != self._next:
            self._reopen()
        if not self._rest:
            self._rest = memoryview(next(self._chunks, b""))
        piece = self._rest[: len(into)]
        self._passing(len(piece))
        into[: len(piece)] = piece
        self._rest = self._rest[len(piece) :]
        self._next = self._wanted = self._wanted + len(piece)
        return len(piece)

    def close(self) -> None:
        self._open.close()
        super().close()

    def _reopen(self) -> None:
        self._open.close()
        opened: AbstractContextManager[Iterator[bytes]] = self._store.get(self._key, start=self._wanted)
        self._chunks, self._rest, self._next = self._open.enter_context(opened), memoryview(b""), self._wanted
