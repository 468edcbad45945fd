"""A report as Markdown, for an artifact in the Prefect UI."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Sequence

from trainmaster.datasets.report import DatasetReport, DatasetStatistics
from trainmaster.datasets.showing import wording
from trainmaster.datasets.showing.picture import picture
from trainmaster.plain_words import counted, printable

MOST_LINES = 200
"""Of problems of one kind: an artifact is read, and kept, whole."""
_MARKUP = re.compile(r"([\\`*_{}\[\]<>#+!|~$&])")


def as_markdown(report: DatasetReport) -> str:
    """The verdict as its heading, then why, what is in it with a picture, and what to do."""
    sections = [
        f"# {plain(wording.verdict(report))}",
        _table(("", ""), _facts(report)),
        _findings("Problems", wording.problems(report)),
        _findings("Notes", wording.notes(report)),
        *(_figures(report) if report.examples else []),
        _list("Next", [plain(step) for step in wording.next_steps(report, _option)]),
    ]
    return "\n\n".join(filter(None, sections))


def plain(text: str) -> str:
    """Text that Markdown shows as it is."""
    return _MARKUP.sub(r"\\\1", printable(text))


def _facts(report: DatasetReport) -> Iterator[tuple[str, str]]:
    yield "Format", plain(wording.recognised(report.detection))
    yield "File", plain(wording.packed(report))
    yield "SHA-256 of the file", f"`{report.source_sha256}`"
    if report.fatal and report.examples:
        yield "Read", f"{counted(report.examples, 'sound example')}, then no further"
    if report.normalised:
        yield "Normalised", plain(wording.written(report.normalised))
        yield "SHA-256 normalised", f"`{report.normalised.sha256}`"
    if report.dropped:
        yield "Dropped", plain(wording.written(report.dropped))


def _findings(title: str, groups: Sequence[wording.Group]) -> str:
    if not groups:
        return ""
    shown = [f"## {title}: {sum(group.count for group in groups):,}"]
    for group in groups:
        left_out = group.left_out + len(group.lines[MOST_LINES:])
        lines = [f"- {plain(line)}" for line in group.lines[:MOST_LINES]]
        shown.append("\n".join([f"**{group.kind}: {group.count:,}**", "", *lines]))
        if left_out and lines:
            shown.append(f"… and {left_out:,} more")
    return "\n\n".join(shown)


def _figures(report: DatasetReport) -> Iterator[str]:
    statistics = report.statistics
    png = base64.b64encode(picture(statistics, report.name)).decode()
    yield f"![Lengths of input and output](data:image/png;base64,{png})"
    yield _table(("Characters", *wording.PERCENTILES), _percentiles(statistics))
    yield _table(("", ""), _contents(statistics))
    points = [f"**{wording.points(lost)}** {part}: {plain(why)}" for lost, part, why in wording.lost_points(statistics)]
    yield _list(f"Quality: {statistics.quality.score} of 100", points or ["nothing to find fault with"])


def _percentiles(statistics: DatasetStatistics) -> Iterator[tuple[str, ...]]:
    for name, distribution in wording.measured(statistics).items():
        yield (name, *(f"{figure:,}" for figure in wording.percentiles(distribution)))


def _contents(statistics: DatasetStatistics) -> Iterator[tuple[str, str]]:
    yield "Tokens", plain(wording.tokens(statistics))
    if statistics.roles:
        yield "Roles", plain(" · ".join(f"{count:,} {role}" for role, count in statistics.roles.items()))
        yield "Turns", "<br>".join(map(plain, wording.turns(statistics)))


def _option(name: str, value: str) -> str:
    return f"{name} = {value}"


def _list(title: str, lines: Sequence[str]) -> str:
    return "\n".join([f"## {title}", "", *(f"- {line}" for line in lines)]) if lines else ""


def _table(header: Sequence[str], rows: Iterator[tuple[str, ...]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
