"""Bytes on their way into a store and out of it: hashed as they pass, refused when they are not what was announced."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import IO

from trainmaster.errors import CorruptedUploadError

CHUNK = 1 << 20
"""Bytes handed on at a time."""


def measured(body: IO[bytes]) -> tuple[str, int]:
    """The SHA-256 and size of a seekable stream, from its beginning."""
    body.seek(0)
    return hashed(iter(lambda: body.read(CHUNK), b""))


def hashed(chunks: Iterable[bytes]) -> tuple[str, int]:
    """The SHA-256, hexadecimal, and the size of all chunks together."""
    digest, size = hashlib.sha256(), 0
    for chunk in chunks:
        digest.update(chunk)
        size += len(chunk)
    return digest.hexdigest(), size


class AnnouncedBody:
    """A seekable stream whose size and SHA-256 were announced: its last piece is handed out only if the whole is that.

    So what is sent in pieces and turns out to be something else is never completed. Pieces may be read again, which is how an
    upload goes on after a cut; one that starts again at the beginning is hashed again.
    """

    def __init__(self, body: IO[bytes], *, size: int, sha256: str) -> None:
        self.stream, self.size, self.sha256 = body, size, sha256
        self._digest, self._hashed = hashlib.sha256(), 0
        if size == 0:
            self._require_whole()

    def piece(self, offset: int, length: int) -> bytes:
        """Up to `length` bytes from `offset`, fewer only at the end. Offsets may go back, never ahead of what was read.

        Raises CorruptedUploadError when the stream is shorter, longer or other than announced.
        """
        if offset == 0:
            self._digest, self._hashed = hashlib.sha256(), 0
        self.stream.seek(offset)
        wanted = min(length, self.size - offset)
        piece = self._read(wanted)
        self._digest.update(memoryview(piece)[max(self._hashed - offset, 0) :])
        self._hashed = max(self._hashed, offset + len(piece))
        if self._hashed == self.size:
            self._require_whole()
        return piece

    def pieces(self, length: int) -> Iterator[bytes]:
        """All of it in pieces of `length` bytes; the last may be shorter."""
        for offset in range(0, self.size, length):
            yield self.piece(offset, length)

    def checked(self) -> IO[bytes]:
        """The stream, at its beginning, once all of it is known to be as announced."""
        for _ in self.pieces(CHUNK):
            pass
        self.stream.seek(0)
        return self.stream

    def _read(self, wanted: int) -> bytes:
        parts, missing = [], wanted
        while missing and (part := self.stream.read(missing)):
            parts.append(part)
            missing -= len(part)
        if missing:
            raise CorruptedUploadError(
                f"The upload ended {missing} bytes before the {self.size} announced; it changed."
            )
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _require_whole(self) -> None:
        if self._digest.hexdigest() != self.sha256:
            raise CorruptedUploadError(
                f"The upload has SHA-256 {self._digest.hexdigest()}, announced was {self.sha256}; it changed in between."
            )
        self.stream.seek(self.size)
        if self.stream.read(1):
            raise CorruptedUploadError(f"The upload is longer than the {self.size} bytes announced; it changed.")
