"""Tables and lists of facts, for people. Their lines are text, and know what they are lines of where a terminal can show more."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from trainmaster.plain_words import printable

_LABEL = 11


@dataclass(frozen=True, eq=False)
class Table:
    """The first row is the head; columns of numbers end at one edge."""

    rows: Sequence[tuple[str, ...]]
    numbers: frozenset[int]


class TableLine(str):
    """A line of a table, aligned with its others."""

    __slots__ = ("table",)
    table: Table


class FactLine(str):
    """A label and its value."""

    __slots__ = ("label",)
    label: str
    """With the spaces around it: what the line begins with."""


def labelled(values: Mapping[str, object], width: int = _LABEL) -> Iterator[str]:
    """A line for each that has a value."""
    for label, value in values.items():
        if value not in (None, "", ()):
            before = f"  {label:<{width}} "
            line = FactLine(f"{before}{printable(str(value))}")
            line.label = before
            yield line


def table(rows: Sequence[tuple[str, ...]], numbers: frozenset[int] = frozenset()) -> Iterator[str]:
    """The first row is the head; columns of numbers end at one edge."""
    whole = Table(rows, numbers)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [
            cell.rjust(width) if at in numbers else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        line = TableLine("  ".join(cells).rstrip())
        line.table = whole
        yield line
