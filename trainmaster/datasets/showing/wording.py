"""What a report comes to, in words: the same wherever it is shown."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from itertools import groupby

from trainmaster.datasets.formats import Detection, Format
from trainmaster.datasets.kinds import ProblemKind
from trainmaster.datasets.problems import Problem
from trainmaster.datasets.report import DatasetReport, DatasetStatistics, Distribution, Written
from trainmaster.plain_words import counted, printable, size

CONFIDENT, LIKELY = 0.9, 0.6
SHOWN_PAIRS, SHOWN_TURNS = 10, 5
PERCENTILES = ("shortest", "5%", "25%", "median", "75%", "95%", "99%", "longest", "mean")
_OF_THE_TEXT = {
    ProblemKind.INVALID_JSON, ProblemKind.INVALID_UTF8, ProblemKind.TOO_DEEP, ProblemKind.TOO_LONG, ProblemKind.TOO_DENSE, ProblemKind.PARTIAL_LINE,
}  # fmt: skip


@dataclass(frozen=True)
class Group:
    """Problems of one kind: how many there are, a line for each way it went wrong, and how many are not among those kept."""

    kind: StrEnum
    count: int
    lines: Sequence[str]
    left_out: int


def verdict(report: DatasetReport) -> str:
    """The one sentence to read: accepted or refused, of what, and why."""
    return f"{printable(report.name)}: {'accepted' if report.ok else 'refused'} · {outcome(report)}"


def outcome(report: DatasetReport) -> str:
    """Why a report is what it is, without saying which."""
    total = report.examples + report.bad_examples
    if report.ok:
        dropped = f", {report.bad_examples:,} malformed dropped" if report.bad_examples else ""
        return f"{counted(report.examples, 'example')} of {report.detection.format}{dropped}"
    if report.fatal:
        seen = f" after {counted(total, 'example')}" if total else ""
        return f"{report.fatal.kind}{seen}"
    if not total:
        return "there is no example in it"
    allowed = f"; {percent(report.max_bad_fraction)} may be" if report.max_bad_fraction else ""
    verb = "is" if report.bad_examples == 1 else "are"
    return f"{report.bad_examples:,} of {counted(total, 'example')} {verb} malformed{allowed}"


def measured(statistics: DatasetStatistics) -> dict[str, Distribution]:
    """The lengths worth showing, by name: raw text has no input."""
    if not statistics.input_length.high:
        return {"text": statistics.output_length}
    if not statistics.output_length.high:
        return {"text": statistics.input_length}
    return {"input": statistics.input_length, "output": statistics.output_length}


def percentiles(of: Distribution) -> Sequence[int]:
    """As `PERCENTILES` names them."""
    return of.low, of.p5, of.p25, of.p50, of.p75, of.p95, of.p99, of.high, round(of.mean)


def recognised(detection: Detection) -> str:
    """The format, how sure that is and why."""
    if not detection.confidence:
        return f"not recognised: {printable(detection.reason)}"
    if detection.demanded:
        return f"{detection.format}, as asked for"
    sure = (
        "confident" if detection.confidence >= CONFIDENT else "likely" if detection.confidence >= LIKELY else "a guess"
    )
    return f"{detection.format} ({sure}: {printable(detection.reason)})"


def packed(report: DatasetReport) -> str:
    """Layout, compression and sizes."""
    container = report.container
    layout = container.layout.replace("json", "JSON").replace("csv", "CSV").replace("parquet", "Parquet")
    if container.compression == "none":
        return f"{layout}, {size(report.source_size)}"
    return f"{layout}, {container.compression}, {size(report.source_size)} ({size(report.text_size)} unpacked)"


def written(file: Written) -> str:
    return f"{counted(file.examples, 'example')}, {size(file.size)} as gzip ({size(file.text_size)} of JSON Lines)"


def groups(problems: Iterable[Problem], counts: Mapping[StrEnum, int]) -> list[Group]:
    """By kind, in the order they were met; those that differ in their number alone share a line."""
    kept: dict[StrEnum, list[Problem]] = {kind: [] for kind in counts}
    for problem in problems:
        kept.setdefault(problem.kind, []).append(problem)
    return [
        Group(kind, max(counts.get(kind, 0), len(of_kind)), lines(of_kind), max(counts.get(kind, 0) - len(of_kind), 0))
        for kind, of_kind in kept.items()
    ]


def problems(report: DatasetReport) -> list[Group]:
    return groups(report.problems, report.problem_counts)


def notes(report: DatasetReport) -> list[Group]:
    """Those of duplicates and outliers in one line for all that are known by number."""
    statistics, unit = report.statistics, report.container.unit
    pairs = ", ".join(
        f"{unit} {later:,} repeats {first:,}" for later, first in statistics.duplicate_pairs[:SHOWN_PAIRS]
    )
    told: dict[StrEnum, tuple[str, int]] = {
        ProblemKind.DUPLICATE: (pairs, statistics.duplicates - len(statistics.duplicate_pairs[:SHOWN_PAIRS])),
        ProblemKind.LONG_EXAMPLE: _outliers(statistics.long_outliers, statistics.longest, unit),
        ProblemKind.SHORT_EXAMPLE: _outliers(statistics.short_outliers, statistics.shortest, unit),
    }
    return [
        Group(group.kind, group.count, [told[group.kind][0]], told[group.kind][1]) if group.kind in told else group
        for group in groups(report.notes, report.note_counts)
    ]


def lines(problems: Sequence[Problem]) -> list[str]:
    alike: dict[tuple[str, str | None, str, str], list[int]] = {}
    for problem in problems:
        key = (problem.unit, problem.place, problem.found, problem.wanted)
        alike.setdefault(key, []).extend([problem.number] if problem.number else [])
    return [
        printable(_line(_numbered(unit, numbers), place, found, wanted))
        for (unit, place, found, wanted), numbers in alike.items()
    ]


def next_steps(report: DatasetReport, option: Callable[[str, str], str]) -> list[str]:
    """What whoever gave the file can do now; `option` spells how something is asked for, by its name and value."""
    if report.ok:
        return list(_improvements(report.statistics))
    if report.fatal:
        return ["Mend the file, as said above, and check it again."]
    return list(_mending(report, option))


def _mending(report: DatasetReport, option: Callable[[str, str], str]) -> Iterator[str]:
    total = report.examples + report.bad_examples
    text = sum(count for kind, count in report.problem_counts.items() if kind in _OF_THE_TEXT)
    if 2 * text > total:
        yield "Is it a dataset at all? JSON Lines, a JSON array, CSV and Parquet are read, plain or packed by gzip or zstd."
    elif 2 * report.bad_examples > total:
        others = ", ".join(each for each in Format if each != report.detection.format)
        yield f"Is it {report.detection.format} at all? {option('format', 'FORMAT')} says otherwise: {others}."
    yield "Mend the examples above and check again."
    if report.examples:
        fraction = option("max_bad_fraction", smallest_fraction(report.bad_examples, total))
        yield f"Or drop the {counted(report.bad_examples, 'malformed example')} knowingly, with {fraction}; they are kept in a file of their own."


def smallest_fraction(bad: int, total: int) -> str:
    """A short decimal below 1 that allows `bad` examples of `total`, which are more, to be dropped."""
    digits = 1 - math.floor(math.log10(bad / total))
    while (rounded_up := -(-bad * 10**digits // total)) >= 10**digits:
        digits += 1
    return f"{Decimal(rounded_up).scaleb(-digits):f}".rstrip("0")


def tokens(statistics: DatasetStatistics) -> str:
    if statistics.exact_tokens is None:
        return f"about {statistics.estimated_tokens:,} (characters / 4)"
    by = f"{statistics.exact_tokens:,} by {printable(statistics.tokenizer or '')}"
    return f"{by}; characters / 4 would be {statistics.estimated_tokens:,}"


def lost_points(statistics: DatasetStatistics) -> Iterator[tuple[float, str, str]]:
    """(points, part, why) of what lowered the score, the most first."""
    ranked = sorted(statistics.quality.parts.items(), key=lambda item: -item[1][0])
    return ((lost, name, why) for name, (lost, why) in ranked if lost > 0)


def points(lost: float) -> str:
    return f"−{lost:.1f}" if lost >= 0.1 else f"−{lost:.1g}"


def turns(statistics: DatasetStatistics) -> list[str]:
    shown = list(statistics.turns.items())[:SHOWN_TURNS]
    rest = sum(statistics.turns.values()) - sum(count for _, count in shown)
    named = [f"{count:,} × {sequence}" for sequence, count in shown]
    return [*named, f"{rest:,} × other"] if rest else named


def percent(share: float) -> str:
    return f"{100 * share:.3g}%"


def _improvements(statistics: DatasetStatistics) -> Iterator[str]:
    if statistics.duplicates:
        yield f"Remove the {counted(statistics.duplicates, 'duplicate')}: a model learns them twice."
    if 0 < statistics.total_examples < 10:
        yield f"Add examples: {statistics.total_examples:,} can hardly teach a model anything."


def _line(where: str, place: str | None, found: str, wanted: str) -> str:
    said = f"found {found}; wanted {wanted}"
    at = ", ".join(filter(None, [where, place]))
    return f"{at}: {said}" if at else said


def _numbered(unit: str, numbers: Sequence[int]) -> str:
    """line 7; lines 3–5, 9 and 12."""
    shown = list(_runs(sorted(set(numbers))))
    if not shown:
        return ""
    several = f"{', '.join(shown[:-1])} and {shown[-1]}" if len(shown) > 1 else shown[0]
    return f"{unit}{'s' if len(set(numbers)) > 1 else ''} {several}"


def _runs(numbers: Sequence[int]) -> Iterator[str]:
    for _, pairs in groupby(enumerate(numbers), key=lambda pair: pair[1] - pair[0]):
        run = [f"{number:,}" for _, number in pairs]
        yield from run if len(run) < 3 else [f"{run[0]}–{run[-1]}"]


def _outliers(count: int, named: Sequence[tuple[int, int]], unit: str) -> tuple[str, int]:
    shown = ", ".join(f"{unit} {number:,} ({length:,} characters)" for number, length in named)
    return shown, count - len(named)
