"""A form with one file, read as it arrives: the file goes to disk piece by piece, its fields are small and kept."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING

from anyio.to_thread import run_sync
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from trainmaster.errors import FormRefusedError, NoRoomError, UploadTooLargeError
from trainmaster.storage.intake import NO_ROOM

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

_PIECE = 1 << 20  # bytes that are collected before a thread writes them
_MOST_FIELDS = 20
AROUND = 1 << 20
"""Bytes that fields, boundaries and what stands around them may take beside the file."""


@dataclass(frozen=True)
class FormLimits:
    """How much may come: bytes of the file, and of each field."""

    file: int
    field: int


@dataclass(frozen=True)
class Form:
    """What was sent: the fields by name, and the file's name as whoever sent it calls it."""

    fields: Mapping[str, str]
    file_name: str


@dataclass
class _Part:
    """One part of the form on its way in."""

    headers: dict[bytes, bytes] = field(default_factory=dict)
    header: bytearray = field(default_factory=bytearray)
    value: bytearray = field(default_factory=bytearray)
    name: str = ""
    is_file: bool = False


async def read_form(
    content_type: str,
    body: AsyncIterator[bytes],
    to: Path,
    limits: FormLimits,
    *,
    before_file: Callable[[Mapping[str, str]], None],
) -> Form:
    """Read the whole body; the file is at `to` then. `before_file` is called in a thread with the fields that came before the file,
    before any of the file is kept, and may refuse them.

    Raises FormRefusedError for what is no form, or has no file or several; UploadTooLargeError; NoRoomError when the disk is full.
    """
    kind, options = parse_options_header(content_type)
    if kind.lower() != b"multipart/form-data" or b"boundary" not in options:
        raise FormRefusedError("Send a form: Content-Type multipart/form-data with the fields file and name.")
    reading, came = _Reading(limits), 0
    try:
        parser = MultipartParser(options[b"boundary"], reading.callbacks())
        with to.open("xb", buffering=0) as file:
            async for chunk in body:
                came += len(chunk)
                if came > limits.file + AROUND:  # also of what is no part of the form, and may never end
                    raise too_large(limits.file)
                parser.write(chunk)
                if reading.came_first is not None:
                    first, reading.came_first = reading.came_first, None
                    await run_sync(before_file, first)
                if len(reading.waiting) >= _PIECE:
                    await run_sync(_write, file, reading.take())
            await run_sync(_write, file, reading.take())
    except FormParserError as error:
        raise FormRefusedError(f"The body is no form as its Content-Type says: {error}.") from error
    return reading.form()


class _Reading:
    """What the parser has told so far. What of the file is not written yet waits in `waiting`."""

    def __init__(self, limits: FormLimits) -> None:
        self.fields: dict[str, str] = {}
        self.waiting = bytearray()
        self.came_first: Mapping[str, str] | None = None
        """The fields before the file, when that has begun and nobody was told."""
        self._limits = limits
        self._part = _Part()
        self._file_name: str | None = None
        self._size = 0
        self._ended = False

    def callbacks(self) -> MultipartCallbacks:
        """For the parser."""
        return {
            "on_part_begin": self._begin,
            "on_header_field": lambda data, start, end: self._part.header.extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._part.value.extend(data[start:end]),
            "on_header_end": self._header,
            "on_headers_finished": self._headers,
            "on_part_data": self._data,
            "on_part_end": self._end,
            "on_end": self._finish,
        }

    def take(self) -> bytes:
        """What waits to be written, and waits no more."""
        taken = bytes(self.waiting)
        self.waiting.clear()
        return taken

    def form(self) -> Form:
        """Raises FormRefusedError when it is not whole."""
        if not self._ended:
            raise FormRefusedError("The form ends before its last boundary: it was cut off. Send it again.")
        if self._file_name is None:
            raise FormRefusedError("The form has no file. Send it as the field file, with a filename.")
        return Form(self.fields, self._file_name)

    def _begin(self) -> None:
        self._part = _Part()

    def _header(self) -> None:
        part = self._part
        part.headers[bytes(part.header).lower()] = bytes(part.value)
        part.header.clear()
        part.value.clear()

    def _headers(self) -> None:
        part = self._part
        _, options = parse_options_header(part.headers.get(b"content-disposition", b""))
        part.name = options.get(b"name", b"").decode(errors="replace")
        part.is_file = b"filename" in options
        if part.is_file and part.name == "file":
            if self._file_name is not None:
                raise FormRefusedError("The form has two files. Send one; each dataset is an upload of its own.")
            self._file_name = _plain(options[b"filename"].decode(errors="replace"))
            self.came_first = dict(self.fields)
        elif part.is_file:
            raise FormRefusedError(f"The form has a file named {part.name[:60]!r}. Send the dataset as file.")
        elif part.name in self.fields or len(self.fields) >= _MOST_FIELDS:
            raise FormRefusedError(f"The form has the field {part.name[:60]!r} twice, or too many fields.")

    def _data(self, data: bytes, start: int, end: int) -> None:
        if not self._part.is_file:
            self._part.value += data[start:end]
            if len(self._part.value) > self._limits.field:
                raise FormRefusedError(
                    f"The field {self._part.name[:60]!r} has more than {self._limits.field:,} bytes; at most those are taken."
                )
            return
        self._size += end - start
        if self._size > self._limits.file:
            raise too_large(self._limits.file)
        self.waiting += data[start:end]

    def _end(self) -> None:
        if not self._part.is_file:
            try:
                self.fields[self._part.name] = self._part.value.decode()
            except UnicodeDecodeError:
                raise FormRefusedError(f"The field {self._part.name[:60]!r} is no UTF-8.") from None

    def _finish(self) -> None:
        self._ended = True


def too_large(largest: int) -> UploadTooLargeError:
    """What is said of more than is taken."""
    return UploadTooLargeError(
        f"The file has more than {largest:,} bytes, which are the most that are taken over HTTP. Pack it with gzip or zstd, split it,"
        " or put it into S3 and start upload-dataset with its s3:// address."
    )


def _plain(name: str) -> str:
    """A file's name as it can be shown and kept: the last part of a path, nothing that acts on a terminal."""
    return re.sub(r"[^\w.+ ()@=,-]", "_", re.split(r"[/\\]", name)[-1])[-200:].strip() or "dataset"


def _write(file: FileIO, piece: bytes) -> None:
    """All of it: nothing stays in a buffer that closing the file could fail to write."""
    left = memoryview(piece)
    try:
        while left:
            left = left[file.write(left) :]
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        raise NoRoomError(f"There is no room left for this upload: {error.strerror}. Try again later.") from error
