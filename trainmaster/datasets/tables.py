"""Tables of numbers as CSV: every problem with its line and column, found in one pass of constant memory.

checked = check_table(path, HOUSE_PRICES)
if not checked.ok: print(checked)
write_normalised(path, checked, target)
"""

from __future__ import annotations

import csv
import difflib
import hashlib
import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import IO

from trainmaster.datasets.problems import Findings, Problem
from trainmaster.datasets.rows import HEAD_BYTES, Hashed, Lines, ProblemKind, foreign, records

__all__ = [
    "HOUSE_PRICES", "CheckedTable", "Column", "Problem", "ProblemKind", "SourceChangedError", "Statistics", "TableSchema",
    "check_table", "write_normalised",
]  # fmt: skip

Source = IO[bytes] | Path

DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs"}
_SHOWN_CHARACTERS = 40
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_NOT_FINITE = re.compile(r"[+-]?(nan|inf|infinity)", re.IGNORECASE)
_DRESSED = re.compile(r"[$€£¥]|\d[,' ]\d")


@dataclass(frozen=True)
class Column:
    """A column of numbers from `low` to `high`, both included, and the other names it goes by in people's files."""

    name: str
    low: float
    high: float
    aliases: tuple[str, ...] = ()

    @property
    def wanted(self) -> str:
        return f"a number from {_figure(self.low)} to {_figure(self.high)}"

    def found_in(self, header: Sequence[str]) -> list[int]:
        """Where the column is: under its exact name, else its name in another spelling, else an alias.

        Case counts for nothing, nor does anything but letters and digits: `Sq Ft`, `sq_ft` and `SQFT` are one name.
        """
        keys = [_key(name) for name in header]
        aliases = {_key(alias) for alias in self.aliases}
        exact = [at for at, name in enumerate(header) if name == self.name]
        spelled = [at for at, key in enumerate(keys) if key == _key(self.name)]
        return exact or spelled or [at for at, key in enumerate(keys) if key in aliases]


@dataclass(frozen=True)
class TableSchema:
    """The columns a table must have, in the order they are written, and how many rows it takes to train on them."""

    columns: Sequence[Column]
    minimum_rows: int = 1


# Bounds are those of any real sale, not of a typical one: King County's 21,597 sales include a house of 33 bedrooms, and
# other lists have houses without a bathroom. What a *prediction* may be asked for is narrower; the model card says it.
HOUSE_PRICES = TableSchema(
    columns=(
        Column("bedrooms", 0, 100, ("bedroom", "beds", "bed", "br", "num bedrooms", "number of bedrooms")),
        Column("bathrooms", 0, 100, ("bathroom", "baths", "bath", "ba", "num bathrooms", "number of bathrooms")),
        Column(
            "sqft", 50, 1_000_000,
            ("sqft living", "living sqft", "living area", "living area sqft", "gr liv area", "square feet", "square foot",
             "square footage", "size sqft", "area sqft", "area"),
        ),
        Column(
            "year_built", 1600, 2100,
            ("yr built", "built year", "built", "built in", "year of construction", "construction year"),
        ),
        Column("price", 1, 1_000_000_000, ("sale price", "sold price", "selling price", "price usd", "price in usd")),
    ),
    minimum_rows=10,  # train.py holds out a fifth: 8 to fit five unknowns, 2 to validate
)  # fmt: skip


@dataclass(frozen=True)
class Statistics:
    """Of the sound values of one column."""

    low: float
    high: float
    mean: float


@dataclass(frozen=True)
class CheckedTable:
    """The verdict on a table. `problems` holds the first ones only, `counts` all of them.

    `columns` says under which header each canonical column was found, `ignored` which headers were not needed; `notes` are
    things accepted that the owner may want to know. SHA-256s are hexadecimal; `normalised_sha256` is None for a refused table.
    """

    name: str
    rows: int
    problems: Sequence[Problem]
    counts: Mapping[StrEnum, int]
    columns: Mapping[str, str]
    ignored: Sequence[str]
    notes: Sequence[str]
    statistics: Mapping[str, Statistics]
    source_sha256: str
    normalised_sha256: str | None
    positions: Sequence[int] = field(repr=False)
    delimiter: str = field(repr=False)

    @property
    def ok(self) -> bool:
        return not self.counts

    @property
    def problem_count(self) -> int:
        return sum(self.counts.values())

    def summary(self, shown: int = 10) -> str:
        """The verdict in one line, then up to `shown` problems, then how many there are of each kind."""
        if self.ok:
            return f"{self.name}: {_counted(self.rows, 'row')}, no problems"
        rows = f" in {_counted(self.rows, 'row')}" if self.rows else ""
        first = f"{self.name}: {_counted(self.problem_count, 'problem')}{rows}: {self.problems[0]}"
        others = [f"  {problem}" for problem in self.problems[1:shown]]
        left = self.problem_count - 1 - len(others)
        more = [f"  … and {left:,} more"] if left else []
        kinds = ", ".join(f"{number:,} × {kind}" for kind, number in self.counts.items())
        return "\n".join([first, *others, *more, *([f"  In all: {kinds}"] if self.problem_count > 1 else [])])

    def __str__(self) -> str:
        return self.summary()


class SourceChangedError(ValueError):
    """Raised when a table is no longer what was checked."""


def check_table(source: Source, schema: TableSchema, *, name: str = "", cap: int = 100) -> CheckedTable:
    """Read the whole source (a path, or a binary stream from where it stands) once and judge it; raises for no content.

    UTF-8 with or without a byte order mark; commas, semicolons or tabs; any line ends; rows with nothing in them are passed over. `cap`
    bounds how many problems are kept, not how many are counted.
    """
    with _opened(source) as stream:
        hashed = Hashed(stream)
        content = io.BufferedReader(hashed, HEAD_BYTES)
        check = _Check(schema, Findings(cap))
        check.read(content)
        while content.read(HEAD_BYTES):
            pass  # what is left after giving up counts for the source's hash
    found = check.findings
    return CheckedTable(
        name=name or (source.name if isinstance(source, Path) else "the table"),
        rows=check.rows,
        problems=tuple(found.kept),
        counts=dict(found.counts.most_common()),
        columns={tally.column.name: tally.header for tally in check.tallies},
        ignored=tuple(check.ignored),
        notes=tuple(check.notes),
        statistics={tally.column.name: tally.statistics() for tally in check.tallies if tally.count},
        source_sha256=hashed.digest.hexdigest(),
        normalised_sha256=None if found.counts else check.normalised.hexdigest(),
        positions=tuple(tally.position for tally in check.tallies),
        delimiter=check.delimiter,
    )


def write_normalised(source: Source, checked: CheckedTable, target: IO[bytes]) -> None:
    """Write the table with the schema's header, its columns only and `\\n` line ends; every figure as it was written.

    The same bytes for the same source, whatever its column order, delimiter or line ends. Raises SourceChangedError when
    these are not the bytes that were checked: what was written is then not to be used.
    """
    if not checked.ok:
        raise ValueError(f"{checked.name} was refused; there is nothing to normalise")
    digest = hashlib.sha256()

    def write(cells: Iterable[str]) -> None:
        line = _normalised(cells)
        digest.update(line)
        target.write(line)

    with _opened(source) as stream:
        lines = Lines(io.BufferedReader(Hashed(stream), HEAD_BYTES))
        rows = records(lines, checked.delimiter, Findings(cap=0))
        next(rows, None)
        write(checked.columns)
        for _, cells in rows:
            if len(cells) <= max(checked.positions):
                break
            write(cells[position].strip() for position in checked.positions)
    if digest.hexdigest() != checked.normalised_sha256:
        raise SourceChangedError(f"{checked.name} has changed since it was checked; check it again")


class _Check:
    """One pass over a table."""

    def __init__(self, schema: TableSchema, findings: Findings) -> None:
        self.schema, self.findings = schema, findings
        self.rows = 0
        self.delimiter = ","
        self.tallies: list[_Tally] = []
        self.ignored: list[str] = []
        self.notes: list[str] = []
        self.normalised = hashlib.sha256()

    def read(self, content: io.BufferedReader[Hashed]) -> None:
        head = content.peek(HEAD_BYTES)
        if problem := foreign(head):
            self.findings.add(problem)
            return
        self.delimiter = max(DELIMITERS, key=lambda delimiter: _fit(head, delimiter, self.schema))
        if self.delimiter != ",":
            self.notes.append(f"cells are separated by {DELIMITERS[self.delimiter]}, not commas")
        self.lines = Lines(content)  # kept: when it goes, `content` is closed with it
        rows = records(self.lines, self.delimiter, self.findings)
        line, header = next(rows, (0, []))
        if self.findings.counts:
            return  # quotes are broken in the header itself: no column can be told from another
        if not header:
            self.findings.add(Problem(ProblemKind.EMPTY_FILE, "no text in it", f"a header and rows: {self._names}"))
            return
        self._match(line, header)
        if self.tallies:
            self._read_rows(rows, header)
        if self.lines.undecodable:
            self.findings.add(self.lines.undecodable)

    @property
    def _names(self) -> str:
        return ", ".join(column.name for column in self.schema.columns)

    def _match(self, line: int, header: Sequence[str]) -> None:
        """Find the schema's columns in the header, and say what is missing or there twice."""
        places = {column: column.found_in(header) for column in self.schema.columns}
        taken = {at for positions in places.values() for at in positions}
        if not taken and all(_NUMBER.fullmatch(name.strip()) for name in header):
            found = f"only numbers in the first line ({_quoted(self.delimiter.join(header))})"
            self.findings.add(Problem(ProblemKind.NO_HEADER, found, f"the columns' names: {self._names}", line))
            return
        left = [name.strip() for at, name in enumerate(header) if at not in taken]
        for column, positions in places.items():
            if len(positions) == 1:
                self.tallies.append(_Tally(column, header[positions[0]].strip(), positions[0]))
                continue
            if positions:
                kind = ProblemKind.AMBIGUOUS_COLUMN
                found = f"{len(positions)} columns for it: {' and '.join(_quoted(header[at]) for at in positions)}"
                wanted = f"only one of them, or one named exactly {column.name}"
            else:
                kind = ProblemKind.MISSING_COLUMN
                found = f"no such column{_nearest(column.name, left)}"
                wanted = f"one of the names {', '.join((column.name, *column.aliases))}"
            self.findings.add(Problem(kind, found, wanted, line, f"column {column.name}"))
        used = {tally.position for tally in self.tallies}
        self.ignored = [name.strip() for at, name in enumerate(header) if at not in used]

    def _read_rows(self, rows: Iterator[tuple[int, list[str]]], header: list[str]) -> None:
        width = len(header)
        self.normalised.update(_normalised(tally.column.name for tally in self.tallies))
        for line, cells in rows:
            self.rows += 1
            if len(cells) != width:
                found, wanted = f"{len(cells)} cells", f"{width}, as in the header"
                self.findings.add(Problem(ProblemKind.CELL_COUNT, found, wanted, line))
            elif cells == header:
                self.findings.add(
                    Problem(ProblemKind.REPEATED_HEADER, "the header once more", "a row of figures", line)
                )
            else:
                written = [cells[tally.position].strip() for tally in self.tallies]
                for tally, cell in zip(self.tallies, written, strict=True):
                    if not (_NUMBER.fullmatch(cell) and tally.take(float(cell))):
                        self.findings.add(_cell_problem(cell, tally, line))
                self.normalised.update(_normalised(written))
        if self.rows < self.schema.minimum_rows:
            found = _counted(self.rows, "row") if self.rows else "a header and no rows"
            self.findings.add(
                Problem(ProblemKind.TOO_FEW_ROWS, found, f"at least {self.schema.minimum_rows} to train on")
            )


class _Tally:
    """A column of the schema where it was found, and the sound values seen there."""

    __slots__ = ("column", "count", "header", "high", "low", "position", "total")

    def __init__(self, column: Column, header: str, position: int) -> None:
        self.column, self.header, self.position = column, header, position
        self.count, self.total = 0, 0.0
        self.low, self.high = column.high, column.low

    def take(self, value: float) -> bool:
        """Whether the value is within the column's bounds; if so it counts."""
        if not self.column.low <= value <= self.column.high:
            return False
        self.count += 1
        self.total += value
        self.low, self.high = min(self.low, value), max(self.high, value)
        return True

    def statistics(self) -> Statistics:
        return Statistics(self.low, self.high, self.total / self.count)


def _fit(head: bytes, delimiter: str, schema: TableSchema) -> tuple[int, int]:
    """How well the file's first row reads with this delimiter: columns recognised, then cells."""
    text = io.StringIO(head.decode("utf-8-sig", "replace"), newline=None)
    try:
        header = next((cells for cells in csv.reader(text, delimiter=delimiter) if cells), [])
    except csv.Error:
        return 0, 0
    return sum(1 for column in schema.columns if column.found_in(header)), len(header)


def _nearest(name: str, headers: Sequence[str]) -> str:
    """The header most like a missing column, or else the first few there are, to go on a message."""
    keys = {_key(header): header for header in headers}
    near = difflib.get_close_matches(_key(name), keys, n=1)
    if near:
        return f"; the nearest is {_quoted(keys[near[0]])}"
    return f" among {', '.join(map(_quoted, headers[:5]))}{' …' if len(headers) > 5 else ''}" if headers else ""


def _cell_problem(cell: str, tally: _Tally, line: int) -> Problem:
    kind, found, wanted = ProblemKind.NOT_A_NUMBER, _quoted(cell), tally.column.wanted
    if not cell:
        kind, found = ProblemKind.EMPTY_CELL, "nothing"
    elif _NOT_FINITE.fullmatch(cell):
        kind = ProblemKind.NOT_FINITE
    elif _NUMBER.fullmatch(cell):
        kind, found = ProblemKind.OUT_OF_BOUNDS, cell[:_SHOWN_CHARACTERS]
    elif _DRESSED.search(cell):
        wanted += " written plainly, such as 1234.5: no currency sign or thousands separator, a point before decimals"
    name = tally.column.name
    return Problem(kind, found, wanted, line, f"column {name if tally.header == name else f'{tally.header} ({name})'}")


def _normalised(cells: Iterable[str]) -> bytes:
    return (",".join(cells) + "\n").encode()


def _key(name: str) -> str:
    return "".join(letter for letter in name.casefold() if letter.isalnum())


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun if number == 1 else f'{noun}s'}"


def _quoted(text: str) -> str:
    return repr(text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…")


def _figure(value: float) -> str:
    return f"{value:g}" if value < 10_000 else f"{value:,.0f}"


def _opened(source: Source) -> AbstractContextManager[IO[bytes]]:
    return source.open("rb") if isinstance(source, Path) else nullcontext(source)
