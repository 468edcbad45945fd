"""Tables and lists of facts, for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from trainmaster.datasets.showing.wording import printable

_LABEL = 11


def labelled(values: Mapping[str, object], width: int = _LABEL) -> Iterator[str]:
    """A line for each that has a value."""
    for label, value in values.items():
        if value not in (None, "", ()):
            yield f"  {label:<{width}} {printable(str(value))}"


def table(rows: Sequence[tuple[str, ...]], numbers: frozenset[int] = frozenset()) -> Iterator[str]:
    """The first row is the head; columns of numbers end at one edge."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [
            cell.rjust(width) if at in numbers else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield "  ".join(cells).rstrip()
