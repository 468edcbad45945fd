"""Examples in the rows of a table: CSV and Parquet. Each becomes the JSON it would be as a line, and is judged as that."""

from __future__ import annotations

import csv
import io
import json
import math
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import orjson

from trainmaster.datasets.blocks import Block
from trainmaster.datasets.kinds import ProblemKind
from trainmaster.datasets.limits import Limits
from trainmaster.datasets.problems import Findings, Problem
from trainmaster.datasets.rows import Lines, records
from trainmaster.datasets.rows import ProblemKind as TableProblemKind

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_ROWS = 256
DELIMITERS = ",;\t"
_CONVERSATIONS = {"messages", "conversations", "conversation"}
"""Columns that hold a list, written as JSON in a CSV file."""
_TRUTHS = {"true": True, "false": False}


class CsvRows:
    """The rows of a CSV file under their columns' names, numbered by the line they start on.

    Cells are text, but for lists and objects written as JSON, and for `label` and `reward`, where they are a boolean or a number.
    """

    name, unit = "csv", "line"

    def __init__(self, chunks: Iterable[bytes], names: Sequence[str], delimiter: str, longest: int) -> None:
        self._content = io.BufferedReader(_Chunks(chunks))
        self._names, self._delimiter, self._longest = names, delimiter, longest
        self.fatal: Problem | None = None

    def blocks(self) -> Iterator[Block]:
        unreadable = Findings(cap=_ROWS)
        before = csv.field_size_limit(self._longest)
        try:
            rows = records(Lines(self._content, self._longest), self._delimiter, unreadable)
            next(rows, None)
            raws, numbers, unheld = list[bytes](), list[int](), list[Problem]()
            for line, cells in rows:
                unheld += unreadable.kept
                unreadable.kept.clear()
                if len(cells) == len(self._names):
                    raws.append(_as_json(dict(zip(self._names, map(_value, self._names, cells), strict=True))))
                    numbers.append(line)
                else:
                    found, wanted = f"{len(cells)} cells", f"{len(self._names)}, as in the header"
                    unheld.append(Problem(TableProblemKind.CELL_COUNT, found, wanted, line))
                if len(raws) + len(unheld) >= _ROWS:
                    yield Block(b"\n".join(raws), raws, numbers, unheld)
                    raws, numbers, unheld = [], [], []
            if raws or unheld:
                yield Block(b"\n".join(raws), raws, numbers, unheld)
            self.fatal = unreadable.kept[-1] if unreadable.kept else None  # it is by such that the rows end early
        finally:
            csv.field_size_limit(before)


class ParquetRows:
    """The rows of a Parquet file, numbered from 1; what is null is left out."""

    name, unit = "parquet", "row"

    def __init__(
        self, chunks: Iterable[bytes], limits: Limits, named: Callable[[Sequence[str]], Problem | None]
    ) -> None:
        self._chunks, self._limits, self._named = chunks, limits, named
        self.fatal: Problem | None = None

    def blocks(self) -> Iterator[Block]:
        import pyarrow as pa  # noqa: PLC0415 - 40 MB that JSON does without
        from pyarrow import parquet  # noqa: PLC0415

        with tempfile.TemporaryFile(prefix="trainmaster-parquet-") as whole:  # a Parquet file begins with its end
            for chunk in self._chunks:
                whole.write(chunk)
            try:
                yield from self._rows(parquet.ParquetFile(whole))
            except (pa.ArrowException, OSError, ValueError) as error:
                said = str(error).splitlines()[0]
                self.fatal = Problem(
                    ProblemKind.UNREADABLE, f"damaged Parquet data ({said})", "a Parquet file as it was written"
                )

    def _rows(self, file: Any) -> Iterator[Block]:
        self.fatal = self._named(file.schema_arrow.names) or self._suspicious(file.metadata)
        if self.fatal:
            return
        number = 0
        for batch in file.iter_batches(batch_size=_ROWS, use_threads=False):
            raws, numbers, unheld = [], [], []
            for row in batch.to_pylist():
                number += 1
                try:
                    raw = _as_json(_without_nulls(row))
                    if len(raw) <= self._limits.example:
                        raws.append(raw)
                        numbers.append(number)
                    else:
                        found, wanted = f"a row of {len(raw):,} bytes", f"at most {self._limits.example:,}"
                        unheld.append(Problem(ProblemKind.TOO_LONG, found, wanted, number, unit=self.unit))
                except TypeError as error:
                    wanted = "text, numbers, booleans, lists and objects of these"
                    unheld.append(Problem(ProblemKind.WRONG_TYPE, str(error), wanted, number, unit=self.unit))
            yield Block(b"\n".join(raws), raws, numbers, unheld)

    def _suspicious(self, metadata: Any) -> Problem | None:
        """A column of a row group that is unpacked at once, and to more than text can have been packed to."""
        free, ratio = self._limits.free, self._limits.ratio
        for group in map(metadata.row_group, range(metadata.num_row_groups)):
            for column in map(group.column, range(group.num_columns)):
                packed, unpacked = column.total_compressed_size, column.total_uncompressed_size
                if unpacked > free and unpacked > ratio * packed:
                    found = f"{unpacked:,} bytes of column {column.path_in_schema} packed into {packed:,}"
                    return Problem(ProblemKind.GZIP_BOMB, found, f"at most {ratio} times as many, beyond {free:,}")
        return None


class _Json(str):
    """A cell that says a list or an object."""

    __slots__ = ()


class _Chunks(io.RawIOBase):
    """Chunks of bytes as a file."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._left = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        while not self._left:
            chunk = next(self._chunks, None)
            if chunk is None:
                return 0
            self._left = memoryview(chunk)
        view = memoryview(buffer)
        size = min(len(view), len(self._left))
        view[:size] = self._left[:size]
        self._left = self._left[size:]
        return size


def header(head: bytes) -> tuple[list[str], str]:
    """The names in the first row of a table and what separates them: whatever makes most of them."""

    def names(delimiter: str) -> list[str]:
        text = io.StringIO(head.decode("utf-8-sig", "replace"), newline=None)
        try:
            return next((cells for cells in csv.reader(text, delimiter=delimiter) if cells), [])
        except csv.Error:
            return []

    best = max(DELIMITERS, key=lambda delimiter: len(names(delimiter)))
    return [name.strip() for name in names(best)], best


def _value(name: str, cell: str) -> Any:
    """What a cell says."""
    if name == "label":
        return _TRUTHS.get(cell.strip().lower(), cell)
    if name == "reward":
        return _number(cell)
    if not cell.lstrip().startswith(("[", "{")):
        return cell
    if name in _CONVERSATIONS:
        return _Json(cell)
    try:
        said = orjson.loads(cell)
    except orjson.JSONDecodeError:
        return cell
    turns = said if isinstance(said, list) else [said]
    return _Json(cell) if turns and all(isinstance(turn, dict) for turn in turns) else cell


def _number(cell: str) -> Any:
    try:
        number = float(cell)
    except ValueError:
        return cell
    return number if math.isfinite(number) else cell


def _as_json(row: Mapping[str, Any]) -> bytes:
    """A row as a line of JSON; what JSON has no way to say is written so that the parser will refuse it."""
    try:
        if not _has_nonfinite(row):
            return orjson.dumps({name: _said(value) for name, value in row.items()}, default=_otherwise)
    except orjson.JSONEncodeError as error:
        if "surrogates" not in str(error):
            raise TypeError(str(error.__cause__ or error)) from None
    return json.dumps(row, ensure_ascii=False, default=str).encode(errors="surrogateescape")


def _said(value: object) -> object:
    return orjson.Fragment(value.encode(errors="surrogateescape")) if isinstance(value, _Json) else value


def _otherwise(value: object) -> object:
    if isinstance(value, bytes | memoryview):
        raise TypeError("binary data")
    return str(value)


def _has_nonfinite(value: object) -> bool:
    if isinstance(value, float):
        return not math.isfinite(value)
    if isinstance(value, Mapping):
        return any(map(_has_nonfinite, value.values()))
    return isinstance(value, list) and any(map(_has_nonfinite, value))


def _without_nulls(value: Any) -> Any:
    """Tables give every row every field; those that are null were not there."""
    if isinstance(value, dict):
        return {key: _without_nulls(member) for key, member in value.items() if member is not None}
    return [_without_nulls(member) for member in value] if isinstance(value, list) else value
