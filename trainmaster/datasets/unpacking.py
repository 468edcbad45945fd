"""A file's text, whatever it is packed with: told from its first bytes, unpacked beside the reader, bounded at every step."""

from __future__ import annotations

import contextlib
import hashlib
import queue
import threading
from collections.abc import Iterator
from typing import IO, Protocol

import zstandard
from isal import igzip_lib

from trainmaster.datasets.kinds import ProblemKind
from trainmaster.datasets.limits import MIB, Limits
from trainmaster.datasets.problems import Problem

CHUNK = MIB
_PACKED_CHUNK = MIB // 2
_AHEAD = 3
_LONGEST_WAIT = 5.0  # seconds
_GZIP = b"\x1f\x8b"
_ZSTD = b"\x28\xb5\x2f\xfd"
_ZSTD_SKIPPABLE = b"\x2a\x4d\x18"  # after a first byte of 0x50 to 0x5f
_ZSTD_LONGEST_HEADER = 18
_RLE, _RESERVED = 1, 3


class UnpackingError(Exception):
    """Raised when no more of a file can be unpacked; what came before is sound. `problem` says why."""

    def __init__(self, kind: ProblemKind, found: str, wanted: str) -> None:
        super().__init__(found)
        self.problem = Problem(kind, found, wanted)


class Unpacked(Iterator[bytes]):
    """The text of a binary stream, in chunks of about two megabytes, made by a thread of its own a few chunks ahead.

    It ends early when the source is damaged or asks too much: `fatal` then says why. Sizes and the SHA-256 of the source are those of all
    of it once `finish` has returned. Raises OSError as the source does.
    """

    def __init__(self, source: IO[bytes], limits: Limits) -> None:
        self._source = _Counted(source)
        self._limits = limits
        self._chunks: queue.Queue[bytes | None] = queue.Queue(_AHEAD)
        self._left_early, self._abandoned = threading.Event(), threading.Event()
        self._error: BaseException | None = None
        self.compression = "none"
        self.fatal: Problem | None = None
        self.text_size = 0
        self._thread = threading.Thread(target=self._run, name="unpack", daemon=True)
        self._thread.start()

    @property
    def source_size(self) -> int:
        return self._source.size

    @property
    def source_sha256(self) -> str:
        return self._source.digest.hexdigest()

    def __next__(self) -> bytes:
        chunk = self._chunks.get()
        if chunk is None:
            self._chunks.put(None)  # asked again, it has still ended
            if self._error:
                raise self._error
            raise StopIteration
        self.text_size += len(chunk)
        return chunk

    def finish(self) -> None:
        """Read what is left of the source, for its size and hash, without unpacking it."""
        self._left_early.set()
        for _ in self:
            pass
        self._thread.join()

    def abandon(self) -> None:
        """Stop reading, at the latest after the read that is under way; one that waits for others is not waited for."""
        self._abandoned.set()
        self._left_early.set()
        with contextlib.suppress(queue.Empty):
            while True:
                self._chunks.get_nowait()
        self._thread.join(_LONGEST_WAIT)

    def _run(self) -> None:
        try:
            for chunk in self._unpack():
                if self._left_early.is_set():
                    break
                self._chunks.put(chunk)
            while not self._abandoned.is_set() and self._source.read(_PACKED_CHUNK):
                pass
        except BaseException as error:  # noqa: BLE001 - handed to the reader, who raises it
            self._error = error
        self._chunks.put(None)

    def _unpack(self) -> Iterator[bytes]:
        source = self._source
        head = source.read(_PACKED_CHUNK)
        pieces: Iterator[bytes]
        if head.startswith(_GZIP):
            self.compression, pieces = "gzip", gunzipped(source, head)
        elif head.startswith(_ZSTD) or (head[1:4] == _ZSTD_SKIPPABLE and head[0] >> 4 == 5):
            self.compression, pieces = "zstd", unzstd(source, head, self._limits.window)
        else:
            yield from _plain(source, head)
            return
        try:
            yield from self._bounded(pieces)
        except UnpackingError as error:
            self.fatal = error.problem

    def _bounded(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        limits, unpacked = self._limits, 0
        gathered: list[bytes] = []
        size = 0
        try:
            for piece in pieces:
                gathered.append(piece)
                size += len(piece)
                if size < CHUNK:
                    continue
                unpacked += size
                yield b"".join(gathered)
                gathered, size = [], 0
                _check_bounds(unpacked, self._source.size, limits)
        except UnpackingError:
            yield b"".join(gathered)  # sound up to there
            raise
        yield b"".join(gathered)


def _check_bounds(unpacked: int, packed: int, limits: Limits) -> None:
    said = f"{unpacked:,} bytes out of the first {packed:,}, and no end of it"
    if unpacked > limits.unpacked:
        raise UnpackingError(ProblemKind.TOO_LARGE, said, f"at most {limits.unpacked:,} bytes unpacked")
    if unpacked > limits.free and unpacked > packed * limits.ratio:
        wanted = f"at most {limits.ratio} times what went in: is it a bomb? Give the file unpacked if it is not"
        raise UnpackingError(ProblemKind.GZIP_BOMB, said, wanted)


class _Source(Protocol):
    def read(self, size: int) -> bytes: ...


class _Counted:
    """A stream, counted and hashed as it is read. What it reads is as long as asked for, but for the last."""

    def __init__(self, source: IO[bytes]) -> None:
        self._source = source
        self.size = 0
        self.digest = hashlib.sha256()

    def read(self, size: int) -> bytes:
        chunk = self._source.read(size)
        while chunk and len(chunk) < size and (more := self._source.read(size - len(chunk))):
            chunk += more
        self.size += len(chunk)
        self.digest.update(chunk)
        return chunk


def _plain(source: _Source, head: bytes) -> Iterator[bytes]:
    chunk = head + source.read(CHUNK - len(head)) if head else b""
    while chunk:
        yield chunk
        chunk = source.read(CHUNK)


def gunzipped(source: _Source, packed: bytes) -> Iterator[bytes]:
    """What gzip members hold, one after the other, in pieces of at most a chunk; zeros after the last are padding."""
    while packed:
        member = igzip_lib.IgzipDecompressor(igzip_lib.DECOMP_GZIP)
        while not member.eof:
            try:
                piece = member.decompress(packed, CHUNK)
            except igzip_lib.IsalError as error:  # type: ignore[misc]  # its stub declares an instance
                raise UnpackingError(
                    ProblemKind.UNREADABLE, f"damaged gzip data ({error})", "gzip data as it was packed"
                ) from None
            if piece:
                yield piece
            packed = b""
            if member.needs_input and not member.eof:
                packed = source.read(_PACKED_CHUNK)
                if not packed:
                    raise UnpackingError(
                        ProblemKind.TRUNCATED, "gzip data that breaks off", "all of the file: was it copied whole?"
                    )
        packed = member.unused_data or source.read(_PACKED_CHUNK)
        if not packed.startswith(_GZIP):
            if len(packed) < 2:
                packed += source.read(_PACKED_CHUNK)
            if packed.startswith(_GZIP):
                continue
            _expect_padding(source, packed)
            return


def _expect_padding(source: _Source, rest: bytes) -> None:
    while rest:
        if rest.strip(b"\0"):
            found = f"something else after the end of the gzip data ({rest[:8]!r} …)"
            raise UnpackingError(ProblemKind.UNREADABLE, found, "nothing, or more gzip data")
        rest = source.read(_PACKED_CHUNK)


def unzstd(source: _Source, packed: bytes, window: int) -> Iterator[bytes]:
    """What zstd frames hold, one after the other, block by block (128 KiB each at most).

    Frames are cut into their blocks here (RFC 8878, section 3.1.1) because the library neither bounds what one call gives out nor tells
    a frame that breaks off from one that ended.
    """
    cut = _Cut(source, packed)
    while magic := cut.take(4, end_allowed=True):
        if magic[1:] == _ZSTD_SKIPPABLE and magic[0] >> 4 == 5:
            cut.skip(int.from_bytes(cut.take(4), "little"))
        elif magic == _ZSTD:
            yield from _frame(cut, window)
        else:
            found = f"something else after the end of the zstd data ({magic!r} …)"
            raise UnpackingError(ProblemKind.UNREADABLE, found, "nothing, or more zstd data")


def _frame(cut: _Cut, window: int) -> Iterator[bytes]:
    descriptor = cut.take(1)
    single, flag = descriptor[0] >> 5 & 1, descriptor[0] >> 6
    length = (1 - single) + (0, 1, 2, 4)[descriptor[0] & 3] + ((single, 2, 4, 8)[flag])
    header = _ZSTD + descriptor + cut.take(length)
    try:
        asked = zstandard.get_frame_parameters(header).window_size
        if asked > window:
            found = f"zstd data that takes {asked:,} bytes of memory to unpack"
            raise UnpackingError(
                ProblemKind.UNREADABLE, found, f"at most {window:,}: pack it without --long or --ultra"
            )
        frame = zstandard.ZstdDecompressor(max_window_size=max(window, 1024)).decompressobj()
        yield frame.decompress(header)
        last = False
        while not last:
            head = cut.take(3)
            block = int.from_bytes(head, "little")
            last, kind, size = bool(block & 1), block >> 1 & 3, block >> 3
            if kind == _RESERVED or (size > 2 * 128 * 1024 and kind != _RLE):
                raise zstandard.ZstdError("no such block")
            yield frame.decompress(head + cut.take(1 if kind == _RLE else size))
        if descriptor[0] & 4:
            yield frame.decompress(cut.take(4))
    except zstandard.ZstdError as error:
        raise UnpackingError(
            ProblemKind.UNREADABLE, f"damaged zstd data ({error})", "zstd data as it was packed"
        ) from None


class _Cut:
    """A stream cut into pieces of given lengths."""

    def __init__(self, source: _Source, start: bytes) -> None:
        self._source, self._held, self._at = source, start, 0

    def take(self, size: int, *, end_allowed: bool = False) -> bytes:
        while len(self._held) - self._at < size:
            more = self._source.read(_PACKED_CHUNK)
            self._held, self._at = self._held[self._at :] + more, 0
            if not more:
                if end_allowed and not self._held:
                    return b""
                raise UnpackingError(
                    ProblemKind.TRUNCATED, "zstd data that breaks off", "all of the file: was it copied whole?"
                )
        self._at += size
        return self._held[self._at - size : self._at]

    def skip(self, size: int) -> None:
        while size:
            size -= len(self.take(min(size, _PACKED_CHUNK)))
