"""Rows of a CSV file with the lines they stand on, read in constant memory, and what cannot be read reported."""

from __future__ import annotations

import csv
import hashlib
import io
import re
from collections.abc import Iterator
from enum import StrEnum
from typing import IO, TYPE_CHECKING, Any

from trainmaster.datasets.foreign import other_encoding, other_kind
from trainmaster.datasets.problems import Findings, Problem

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

HEAD_BYTES = 64 * 1024  # what a format is recognised by; a header must fit in it
_LONGEST_RECORD = 1024 * 1024  # characters; a quote that is never closed must not swallow the file into memory
_UNDECODABLE = re.compile("[\udc80-\udcff]")
_JSON = re.compile(r'\s*(\{|\[\s*[\[{"\d\]-])')

_PACKED = {b"\x1f\x8b": "gzip data: unpack it first", b"PAR1": "a Parquet file: export it as CSV"}


class ProblemKind(StrEnum):
    """What can be wrong with a table; the value is what people read."""

    EMPTY_FILE = "empty file"
    NOT_CSV = "not a CSV file"
    WRONG_ENCODING = "wrong encoding"
    NO_HEADER = "no header"
    MISSING_COLUMN = "missing column"
    AMBIGUOUS_COLUMN = "several columns for one"
    TOO_FEW_ROWS = "too few rows"
    CELL_COUNT = "wrong number of cells"
    BROKEN_QUOTES = "broken quotes"
    REPEATED_HEADER = "header repeated"
    EMPTY_CELL = "empty cell"
    NOT_A_NUMBER = "not a number"
    NOT_FINITE = "not a finite number"
    OUT_OF_BOUNDS = "out of bounds"


class _UnreadableError(Exception):
    """Raised when a line cannot be part of a CSV file; `problem` lacks the line's number."""

    def __init__(self, kind: ProblemKind, found: str, wanted: str) -> None:
        super().__init__(found)
        self.kind, self.found, self.wanted = kind, found, wanted


class Lines(Iterator[str]):
    """The lines of a file in UTF-8, whatever ends them; what is not UTF-8 is passed on escaped and noted once."""

    def __init__(self, content: io.BufferedReader[Any], longest: int = _LONGEST_RECORD) -> None:
        # newline="": a line end within a quoted cell is the user's text.
        self._text = io.TextIOWrapper(content, encoding="utf-8-sig", errors="surrogateescape", newline="")
        self._longest = longest
        self._number = 0
        self._pending = 0
        self.undecodable: Problem | None = None

    def begin_record(self) -> None:
        self._pending = 0

    def __next__(self) -> str:
        line = self._text.readline(self._longest)
        if not line:
            raise StopIteration
        self._number += 1
        self._pending += len(line)
        if self._pending >= self._longest:
            found = f"a row that does not end within {self._longest:,} characters"
            raise _UnreadableError(ProblemKind.NOT_CSV, found, "a row; is a quote never closed?")
        if "\0" in line:
            raise _UnreadableError(ProblemKind.NOT_CSV, "a NUL byte, as in binary data", "text")
        if not (line.isascii() or self.undecodable) and (escaped := _UNDECODABLE.search(line)):
            byte = ord(escaped[0]) - 0xDC00
            letter = bytes([byte]).decode("cp1252", "replace")
            found = f"byte 0x{byte:02X}, which is {letter!r} in Latin-1 (Windows-1252)"
            self.undecodable = Problem(ProblemKind.WRONG_ENCODING, found, "UTF-8: save it as such", self._number)
        return line


def records(lines: Lines, delimiter: str, findings: Findings) -> Iterator[tuple[int, list[str]]]:
    """Rows with anything in them, each with the line it starts on; rows that cannot be read are reported instead."""
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    while True:
        line = reader.line_num + 1
        lines.begin_record()
        try:
            cells = next(reader)
        except StopIteration:
            return
        except _UnreadableError as error:
            findings.add(Problem(error.kind, error.found, error.wanted, line))
            return
        except csv.Error as error:
            wanted = 'a cell in quotes to end with one, and quotes within it to be doubled ("")'
            findings.add(Problem(ProblemKind.BROKEN_QUOTES, str(error), wanted, line))
            if reader.line_num > line:
                return  # the open quote has swallowed rows: where the next one starts is anybody's guess
        else:
            if any(map(str.strip, cells)):
                yield line, cells


class Hashed(io.RawIOBase):
    """A binary stream, hashed as it is read. Reads are full ones, so that a first look shows the file's whole beginning."""

    def __init__(self, source: IO[bytes]) -> None:
        self._source = source
        self.digest = hashlib.sha256()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer)
        filled = 0
        while filled < len(view) and (chunk := self._source.read(len(view) - filled)):
            view[filled : filled + len(chunk)] = chunk
            filled += len(chunk)
        self.digest.update(view[:filled])
        return filled


def foreign(head: bytes) -> Problem | None:
    """What the beginning of a file says it is, when that is not a table in UTF-8."""
    kind = ProblemKind.NOT_CSV
    found = next((said for magic, said in _PACKED.items() if head.startswith(magic)), None) or other_kind(head)
    if not found and (found := other_encoding(head)):
        kind = ProblemKind.WRONG_ENCODING
    if not found and b"\0" in head:
        found = "NUL bytes, as in binary data"
    if not found and _JSON.match(head.decode("utf-8-sig", "replace")):
        found = "JSON"
    return Problem(kind, found, "a CSV file in UTF-8") if found else None
