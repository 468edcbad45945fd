"""A report as text for a terminal, or for whatever reads what a terminal would show."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from trainmaster.datasets.report import DatasetReport, DatasetStatistics, Distribution
from trainmaster.datasets.showing import wording
from trainmaster.plain_words import counted, printable

NARROWEST, WIDEST = 48, 120
_LABEL = 13
_LEVELS = " ▁▂▃▄▅▆▇█"
_HIGH = 3
_BROADEST_BAR = 4
_FEW_BINS = 8
"""No more than these need only their ends named."""


@dataclass(frozen=True)
class Page:
    """What is written on: so many columns, in colour or not."""

    width: int = 100
    colour: bool = False

    @property
    def columns(self) -> int:
        return min(max(self.width, NARROWEST), WIDEST)

    def bold(self, text: str) -> str:
        return self._styled("1", text)

    def dim(self, text: str) -> str:
        return self._styled("2", text)

    def good(self, text: str) -> str:
        return self._styled("1;32", text)

    def bad(self, text: str) -> str:
        return self._styled("1;31", text)

    def wrapped(self, text: str, indent: str, hanging: str) -> list[str]:
        return textwrap.wrap(
            text, self.columns, initial_indent=indent, subsequent_indent=hanging, break_on_hyphens=False
        ) or [indent.rstrip()]

    def labelled(self, label: str, text: str) -> list[str]:
        first, *rest = self.wrapped(text, f"  {label:<{_LABEL}}", " " * (_LABEL + 2))
        return [first.replace(label, self.dim(label), 1), *rest]

    def _styled(self, code: str, text: str) -> str:
        return f"\033[{code}m{text}\033[0m" if self.colour else text


def as_text(report: DatasetReport, page: Page) -> str:
    """The verdict first, then why, then what is in it, last what to do. Ends without a line feed."""
    sections = [
        [*_verdict(report, page), *_file(report, page)],
        _findings("Problems", wording.problems(report), page),
        _findings("Notes", wording.notes(report), page),
        *(_figures(report, page) if report.examples else []),
        _next(report, page),
    ]
    return "\n\n".join("\n".join(section) for section in sections if section)


def _verdict(report: DatasetReport, page: Page) -> Iterator[str]:
    emphasis = page.good if report.ok else page.bad
    yield from map(emphasis, page.wrapped(wording.verdict(report), "", "  "))
    yield ""


def _file(report: DatasetReport, page: Page) -> Iterator[str]:
    yield from page.labelled("format", wording.recognised(report.detection))
    yield from page.labelled("file", wording.packed(report))
    if report.fatal and report.examples:
        yield from page.labelled("read", f"{counted(report.examples, 'sound example')}, then no further")
    if report.normalised:
        yield from page.labelled("normalised", wording.written(report.normalised))
    if report.dropped:
        yield from page.labelled("dropped", wording.written(report.dropped))


def _findings(title: str, groups: Sequence[wording.Group], page: Page) -> list[str]:
    if not groups:
        return []
    shown = [page.bold(f"{title}: {sum(group.count for group in groups):,}")]
    for group in groups:
        shown.append(f"  {group.kind}: {group.count:,}")
        for line in group.lines:
            shown += page.wrapped(line, "    ", "      ")
        if group.left_out and group.lines:
            shown.append(page.dim(f"    … and {group.left_out:,} more"))
    return shown


def _figures(report: DatasetReport, page: Page) -> Iterator[list[str]]:
    statistics = report.statistics
    yield _percentiles(statistics, page)
    for name, distribution in wording.measured(statistics).items():
        yield _histogram(name.capitalize(), distribution, page)
    yield [*_contents(statistics, page)]
    yield [*_quality(statistics, page)]


def _percentiles(statistics: DatasetStatistics, page: Page) -> list[str]:
    measured = wording.measured(statistics)
    shown = [page.bold(f"{'Characters':<{_LABEL + 2}}" + "".join(f"{name:>12}" for name in measured))]
    for label, *figures in zip(wording.PERCENTILES, *map(wording.percentiles, measured.values()), strict=True):
        shown.append(page.dim(f"  {label:<{_LABEL}}") + "".join(f"{figure:>12,}" for figure in figures))
    return shown


def _histogram(title: str, distribution: Distribution, page: Page) -> list[str]:
    """Columns of equal width on a scale that doubles at equal distances, unless all lengths are much alike."""
    if distribution.low == distribution.high:
        return []
    counts = [count for *_, count in distribution.histogram]
    broad = max(1, min(_BROADEST_BAR, (page.columns - 2) // len(counts)))
    highest = max(counts)
    eighths = [max(round(8 * _HIGH * count / highest), 1) if count else 0 for count in counts]
    rows = [
        "".join(_LEVELS[min(max(filled - 8 * row, 0), 8)] * broad for filled in eighths)
        for row in reversed(range(_HIGH))
    ]
    low, high = f"{distribution.low:,}", f"{distribution.high:,}"
    width = max(broad * len(counts), len(low) + len(high) + 1)
    middle = f"{distribution.histogram[len(counts) // 2][0]:,}"
    room = width - len(low) - len(high) - len(middle)
    axis = (
        f"{low}{middle:^{width - len(low) - len(high)}}{high}"
        if room > 4 and len(counts) > _FEW_BINS
        else f"{low}{high:>{width - len(low)}}"
    )
    start, end, _ = max(distribution.histogram, key=lambda bin_: bin_[2])
    often = f"{start:,}" if end - start == 1 else f"{start:,} to {end - 1:,}"
    caption = page.dim(f" · most often {often} characters")
    return [page.bold(title) + caption, *(f"  {row}".rstrip() for row in rows), page.dim(f"  {axis}")]


def _contents(statistics: DatasetStatistics, page: Page) -> Iterator[str]:
    yield from page.labelled("tokens", wording.tokens(statistics))
    if statistics.roles:
        yield from page.labelled("roles", " · ".join(f"{count:,} {role}" for role, count in statistics.roles.items()))
    for label, turns in zip(["turns", *[""] * wording.SHOWN_TURNS], wording.turns(statistics), strict=False):
        yield from page.labelled(label, printable(turns))


def _quality(statistics: DatasetStatistics, page: Page) -> Iterator[str]:
    yield page.bold(f"Quality: {statistics.quality.score} of 100")
    for lost, part, why in wording.lost_points(statistics):
        yield from page.wrapped(f"{wording.points(lost):>7}  {part}: {why}", "", " " * 9)


def _next(report: DatasetReport, page: Page) -> list[str]:
    steps = wording.next_steps(report, _option)
    return [page.bold("Next"), *(line for step in steps for line in page.wrapped(step, "  ", "    "))] if steps else []


def _option(name: str, value: str) -> str:
    return f"--{name.replace('_', '-')} {value}"
