"""Gzip files that appear whole or not at all, and whose bytes depend on their text alone."""

from __future__ import annotations

import hashlib
import os
import queue
import threading
from pathlib import Path
from secrets import token_hex
from types import TracebackType
from typing import Self

from isal import isal_zlib

from trainmaster.datasets.limits import MIB
from trainmaster.datasets.report import Written

TEMPORARY = ".partial"
"""What the names of unfinished files end with."""
_LEVEL = 2
_HEADER_AND_TRAILER = 31  # of gzip; isal writes neither a name nor a time into them
_PIECE = MIB
_AHEAD = 3


class GzipFile:
    """Text written to a gzip file by a thread of its own. Nothing is at `path` before `keep`; without it nothing ever is.

    The compressor is always fed pieces of one size, so that the bytes are the same however the text came in. They are those of igzip
    level 2, whose choices may differ between processor architectures; the text never does.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._temporary = path.with_name(f".{path.name}.{token_hex(4)}{TEMPORARY}")
        self._file = self._temporary.open("xb")
        self._digest = hashlib.sha256()
        self._compressor = isal_zlib.compressobj(_LEVEL, isal_zlib.DEFLATED, _HEADER_AND_TRAILER)
        self._size = self._text_size = self._examples = 0
        self._texts: queue.Queue[bytes | None] = queue.Queue(_AHEAD)
        self._error: BaseException | None = None
        self._rest = list[bytes]()
        self._thread = threading.Thread(target=self._run, name="pack", daemon=True)
        self._thread.start()

    def write(self, text: bytes, examples: int) -> None:
        """Append whole lines. Raises OSError when an earlier text could not be written."""
        if self._error:
            raise self._error
        self._texts.put(text)
        self._examples += examples

    def keep(self) -> Written:
        """Finish the file and give it its name, on the disk for good."""
        self._end()
        if self._error:
            raise self._error
        self._pack(b"".join(self._rest))
        self._put(self._compressor.flush())
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._temporary.rename(self.path)
        _sync_folder(self.path.parent)
        return Written(self._examples, self._size, self._text_size, self._digest.hexdigest())

    def discard(self) -> None:
        """Leave nothing behind; after `keep` it does nothing."""
        self._end()
        self._file.close()
        self._temporary.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.discard()

    def _end(self) -> None:
        if self._thread.is_alive():
            self._texts.put(None)
            self._thread.join()

    def _run(self) -> None:
        """Takes texts to the end whatever happens: whoever writes must never wait for a thread that is gone."""
        try:
            self._pack_all()
        except BaseException as error:  # noqa: BLE001 - handed to the writer, who raises it
            self._error = error
            while self._texts.get() is not None:
                pass

    def _pack_all(self) -> None:
        held, size = list[bytes](), 0
        while (text := self._texts.get()) is not None:
            held.append(text)
            size += len(text)
            if size >= _PIECE:
                held = [self._pack_pieces(b"".join(held))]
                size = len(held[0])
        self._rest = held

    def _pack_pieces(self, text: bytes) -> bytes:
        """Pack as many whole pieces as there are; gives back the rest."""
        whole = len(text) - len(text) % _PIECE
        for at in range(0, whole, _PIECE):
            self._pack(memoryview(text)[at : at + _PIECE])
        return text[whole:]

    def _pack(self, piece: bytes | memoryview) -> None:
        self._text_size += len(piece)
        self._put(self._compressor.compress(piece))

    def _put(self, packed: bytes) -> None:
        self._size += len(packed)
        self._digest.update(packed)
        self._file.write(packed)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
