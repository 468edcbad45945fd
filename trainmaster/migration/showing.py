"""Facts and lists of a plan or a result, as text for a terminal and as Markdown for an artifact in the Prefect UI."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from trainmaster.datasets.showing.markdown import plain
from trainmaster.plain_words import counted, printable

_GAP = 2


@dataclass(frozen=True)
class Listing:
    """The first of so many things, each in a line."""

    title: str
    count: int
    lines: Sequence[str]


@dataclass(frozen=True)
class Page:
    """What is to be said: facts, each with its label, then lists, then remarks."""

    title: str
    facts: Sequence[tuple[str, str]]
    listings: Sequence[Listing] = ()
    remarks: Sequence[str] = ()


def text(page: Page) -> str:
    """For a terminal; nothing in it commands one."""
    width = max(len(label) for label, _ in page.facts) + _GAP
    lines = [page.title, "", *(f"{label:<{width}}{printable(said)}" for label, said in page.facts)]
    for listing in page.listings:
        lines += ["", f"{listing.title}: {listing.count:,}"]
        lines += [f"  {printable(line)}" for line in listing.lines]
        lines += [f"  {more}" for more in _more(listing)]
    lines += ["", *(printable(remark) for remark in page.remarks)] if page.remarks else []
    return "\n".join([*lines, ""])


def markdown(page: Page) -> str:
    """For an artifact; nothing a user wrote is markup in it."""
    rows = [f"| {plain(label)} | {plain(said)} |" for label, said in page.facts]
    sections = [f"# {plain(page.title)}", "\n".join(["| | |", "|---|---|", *rows])]
    for listing in page.listings:
        sections.append(f"## {plain(listing.title)}: {listing.count:,}")
        sections.append("\n".join(f"- {plain(line)}" for line in [*listing.lines, *_more(listing)]))
    return "\n\n".join([*sections, *(plain(remark) for remark in page.remarks)]) + "\n"


def columns(rows: Sequence[Mapping[str, str]], names: Sequence[str], below: Sequence[str] = ()) -> list[str]:
    """Lines of a table under a heading, the first columns aligned and the last as wide as they are; what stands in `below` follows
    each line, further in. Nothing in them commands a terminal."""
    table = [list(names), *([printable(row[name]) for name in names] for row in rows)] if rows else []
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = []
    for number, cells in enumerate(table):
        lines.append("  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip())
        if number:
            lines += [f"    {printable(rows[number - 1][name])}" for name in below if rows[number - 1][name]]
    return lines


def duration(seconds: float) -> str:
    """As people say it: 0.4 s, 12 s, 3 min 20 s, 2 h 40 min, 3 days 4 h."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if seconds < 119.5:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    if hours < 48:
        return f"{hours} h {minutes} min"
    days, hours = divmod(round(seconds / 3600), 24)
    return f"{counted(days, 'day')} {hours} h"


def _more(listing: Listing) -> list[str]:
    left = listing.count - len(listing.lines)
    return [f"… and {left:,} more"] if left > 0 else []
