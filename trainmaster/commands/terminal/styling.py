"""Tables and facts laid out for the width and the colours of a terminal. What is no terminal gets the lines as they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import TextIO

from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from trainmaster.commands.terminal.tables import FactLine, Table, TableLine

_GAP = 2
_STATES: Mapping[str, str] = {
    **dict.fromkeys(("completed", "InService", "Approved", "accepted"), "green"),
    **dict.fromkeys(("running", "pending", "starting", "Creating", "Updating"), "cyan"),
    **dict.fromkeys(("failed", "refused", "Failed", "Rejected", "missing", "unknown"), "red"),
    **dict.fromkeys(("cancelled", "stopped", "stopping", "deleting"), "yellow"),
}


def lay_out(lines: Sequence[str], stream: TextIO) -> None:
    """Print them: a table within the width, nothing cut off; the labels of facts dimmed; all else as it is."""
    console = Console(file=stream, highlight=False, markup=False, emoji=False)
    for table, together in groupby(lines, key=_table_of):
        grid = _grid(table, console.width) if table else None
        if grid:
            console.print(grid)
            continue
        for line in together:
            if isinstance(line, FactLine):
                text = Text.assemble((line.label, "dim"), line.removeprefix(line.label))
                console.print(text, soft_wrap=True)
            else:
                stream.write(f"{line}\n")
    stream.flush()


def _table_of(line: str) -> Table | None:
    return line.table if isinstance(line, TableLine) else None


def _grid(table: Table, width: int) -> Grid | None:
    """None where words would have to be broken: the terminal itself breaks lines better then."""
    head, *rows = table.rows
    columns = list(zip(*table.rows, strict=True))
    widths = _fitted([max(map(len, column)) for column in columns], list(map(_longest_word, columns)), width)
    if widths is None:
        return None
    grid = Grid(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="bold")
    for at, name in enumerate(head):
        grid.add_column(Text(name), justify="right" if at in table.numbers else "left", width=widths[at])
    for row in rows:
        grid.add_row(*(Text(cell, style=_STATES.get(cell.removesuffix("*"), "")) for cell in row))
    return grid


def _fitted(widths: list[int], least: Sequence[int], width: int) -> list[int] | None:
    """The widest are narrowed, none below its least, until all are within the width with the gaps between them."""
    for _ in range(sum(widths) + _GAP * (len(widths) - 1) - width):
        at = max(range(len(widths)), key=lambda one: (widths[one] > least[one], widths[one]))
        if widths[at] <= least[at]:
            return None
        widths[at] -= 1
    return widths


def _longest_word(column: Sequence[str]) -> int:
    return max(len(word) for cell in column for word in cell.split(" "))
