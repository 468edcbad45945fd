"""The check of a dataset: one pass over a file of any size, in bounded memory, that finds all that is wrong with it.

report = check_dataset(Path("chats.jsonl.gz"), normalised=Path("normalised.jsonl.gz"))
if not report.ok: print(*report.problems, sep="\n")
"""

from __future__ import annotations

import base64
import itertools
import operator
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import orjson

from trainmaster.datasets.blocks import Block, Layout
from trainmaster.datasets.detection import detect, looks_like
from trainmaster.datasets.duplicates import Duplicates
from trainmaster.datasets.formats import Canonical, Detection, Format, MalformedError
from trainmaster.datasets.kinds import ProblemKind
from trainmaster.datasets.layouts import recognised
from trainmaster.datasets.limits import DEFAULTS, Limits
from trainmaster.datasets.parsing import TooDeepError, certified, line_by_line, lines_of, problems_of
from trainmaster.datasets.problems import Findings, Problem
from trainmaster.datasets.report import Container, DatasetReport, DatasetStatistics
from trainmaster.datasets.shapes import shape_of
from trainmaster.datasets.statistics import Tally
from trainmaster.datasets.tokens import TokenCounter
from trainmaster.datasets.unpacking import Unpacked
from trainmaster.datasets.writing import GzipFile

__all__ = ["check_dataset"]

_EXAMPLE = operator.itemgetter(0)
_MORE = operator.attrgetter("more")
_SAMPLE = 100  # examples a format is told from
_SAMPLE_BLOCKS = 8  # how far is read for the first that can be parsed


def check_dataset(
    source: Path | IO[bytes],
    *,
    name: str = "",
    demanded: Format | None = None,
    max_bad_fraction: float = 0.0,
    cap: int = 100,
    limits: Limits = DEFAULTS,
    normalised: Path | None = None,
    dropped: Path | None = None,
    tokenizer: TokenCounter | None = None,
    progress: Callable[[int], None] | None = None,
) -> DatasetReport:
    """Read the whole source (a path, or a binary stream from where it stands) once and judge it.

    Whatever is wrong with its content is in the report; OSError is raised only for what cannot be read or written. An accepted dataset is
    written to `normalised` as canonical JSON Lines, gzipped; the bad examples it was accepted in spite of go to `dropped`, as they stood,
    with their problems. Both appear whole or not at all. Without a path nothing is compressed, and the report has no size or hash of it.
    `cap` bounds how many problems are kept, not how many are counted; `progress` is told how many bytes of the source have been read.
    """
    with ExitStack() as stack:
        stream = stack.enter_context(source.open("rb")) if isinstance(source, Path) else source
        unpacked = Unpacked(stream, limits)
        stack.callback(unpacked.abandon)
        check = _Check(
            demanded,
            limits,
            problems=Findings(cap),
            notes=Findings(cap),
            duplicates=stack.enter_context(Duplicates()),
            tally=Tally(tokenizer),
            sound=stack.enter_context(GzipFile(normalised)) if normalised else None,
            bad=stack.enter_context(GzipFile(dropped)) if dropped and max_bad_fraction else None,
            strict=not max_bad_fraction,
        )
        layout = recognised(unpacked, limits, check.notes, demanded)
        if isinstance(layout, Problem):
            check.end(layout)
        else:
            check.read(layout, (lambda: progress(unpacked.source_size)) if progress else None)
        unpacked.finish()
        return check.report(name or _name(source), layout, unpacked, max_bad_fraction)


def _name(source: Path | IO[bytes]) -> str:
    return source.name if isinstance(source, Path) else "the dataset"


class _Check:
    """One pass over a dataset."""

    def __init__(
        self,
        demanded: Format | None,
        limits: Limits,
        *,
        problems: Findings,
        notes: Findings,
        duplicates: Duplicates,
        tally: Tally,
        sound: GzipFile | None,
        bad: GzipFile | None,
        strict: bool,
    ) -> None:
        self._limits, self._strict = limits, strict
        self.problems, self.notes = problems, notes
        self._duplicates, self._tally = duplicates, tally
        self._sound, self._bad = sound, bad
        self.examples = self.bad_examples = 0
        self.fatal: Problem | None = None
        self._detection = Detection(demanded, "you said so", 1.0, demanded=True) if demanded else None
        self._unit = "line"

    def end(self, problem: Problem) -> None:
        self.fatal = problem
        self.problems.add(problem)

    def read(self, layout: Layout, progress: Callable[[], None] | None) -> None:
        self._unit = layout.unit
        blocks = layout.blocks()
        detection = self._detection
        if not detection:
            first, detection = self._sample(blocks)
            blocks = itertools.chain(first, blocks)
        self._detection, self._shape = detection, shape_of(detection.format)
        for block in blocks:
            self._take(block)
            if progress:
                progress()
        if layout.fatal:
            self.end(layout.fatal)

    def _sample(self, blocks: Iterator[Block]) -> tuple[list[Block], Detection]:
        """Tell the format from the first examples that can be parsed; gives back what was read for it too."""
        read, examples = list[Block](), list[Any]()
        for block in itertools.islice(blocks, _SAMPLE_BLOCKS):
            read.append(block)
            for raw in block.raws[:_SAMPLE]:
                if self._is_too_dense(raw):
                    continue
                try:
                    examples.append(orjson.loads(raw))
                except orjson.JSONDecodeError:
                    continue
            if examples:
                break
        return read, detect(examples)

    def _take(self, block: Block) -> None:
        """All of a block at once, unless something in it needs a closer look."""
        if len(block.text) > self._limits.values:
            self._take_one_by_one(block)
            return
        loads, canonical, depth = orjson.loads, self._shape.canonical, self._limits.depth
        try:
            parsed = [loads(raw) for raw in block.raws]
            as_read = line_by_line(parsed, depth)
            canonicals = [canonical(example) for example in parsed]
            examples = list(map(_EXAMPLE, canonicals))
            written = as_read if all(map(operator.is_, examples, parsed)) else line_by_line(examples)
        except (orjson.JSONDecodeError, MalformedError, TooDeepError):
            self._take_one_by_one(block)
        else:
            if block.unheld or any(map(_MORE, canonicals)) or not certified(block.text, as_read):
                self._take_one_by_one(block)
            else:
                self._accept(canonicals, block.numbers, lines_of(written))

    def _take_one_by_one(self, block: Block) -> None:
        canonicals, numbers = list[Canonical](), list[int]()
        unheld = deque(block.unheld)
        last = len(block.raws) - 1
        for at, (raw, number) in enumerate(zip(block.raws, block.numbers, strict=True)):
            while unheld and (unheld[0].number or 0) < number:
                self._refuse_unheld(unheld.popleft())
            outcome = self._judged(raw, number)
            if isinstance(outcome, Canonical):
                canonicals += [outcome, *outcome.more]
                numbers += [number] * (1 + len(outcome.more))
            else:
                self._refuse(number, _cut_off(outcome) if block.cut_off and at == last else outcome, raw)
        for problem in unheld:
            self._refuse_unheld(problem)
        self._accept(canonicals, numbers, [orjson.dumps(canonical.example) for canonical in canonicals])

    def _judged(self, raw: bytes, number: int) -> Canonical | list[Problem]:
        depth, unit = self._limits.depth, self._unit
        if self._is_too_dense(raw):
            wanted = f"at most {self._limits.values:,}"
            return [Problem(ProblemKind.TOO_DENSE, f"{len(raw):,} bytes with more values", wanted, number, unit=unit)]
        try:
            example = orjson.loads(raw)
        except orjson.JSONDecodeError:
            return problems_of(raw, number, unit, depth)
        if not _plainly_sound(raw, example, depth) and (problems := problems_of(raw, number, unit, depth)):
            return problems
        try:
            return self._shape.canonical(example)
        except MalformedError:
            return self._of_another_format(example, number) or self._shape.problems(example, number, unit)

    def _is_too_dense(self, raw: bytes) -> bool:
        most = self._limits.values
        return len(raw) > most and sum(map(raw.count, (b",", b"[", b"{"))) > most

    def _of_another_format(self, example: Any, number: int) -> list[Problem]:
        """What to say of an example that is sound, but of another format than the rest."""
        other = looks_like(example)
        if other in {None, Format.JSONL, self._shape.format}:
            return []
        try:
            shape_of(other).canonical(example)
        except MalformedError:
            return []
        wanted = f"{self._shape.format}, as the others: one format to a file"
        return [Problem(ProblemKind.OTHER_FORMAT, f"an example of {other}", wanted, number, unit=self._unit)]

    def _accept(self, canonicals: Sequence[Canonical], numbers: Sequence[int], texts: list[bytes]) -> None:
        if not canonicals:
            return
        self.examples += len(canonicals)
        self._duplicates.add(texts, numbers)
        self._tally.add(canonicals, numbers)
        if self._sound:
            texts.append(b"")
            self._sound.write(b"\n".join(texts), len(canonicals))

    def _refuse_unheld(self, problem: Problem) -> None:
        self._refuse(problem.number or 0, [problem], b"")

    def _refuse(self, number: int, problems: Sequence[Problem], raw: bytes) -> None:
        self.bad_examples += 1
        for problem in problems:
            self.problems.add(problem)
        if self._strict and self._sound:
            self._sound.discard()
            self._sound = None
        if self._bad:
            self._bad.write(_as_it_stood(number, self._unit, problems, raw), 1)

    def report(self, name: str, layout: Layout | Problem, unpacked: Unpacked, max_bad_fraction: float) -> DatasetReport:
        """Add what only the end shows, judge, and let what was written stand or fall."""
        if unpacked.fatal:
            self.end(unpacked.fatal)
        if not (self.fatal or self.examples or self.bad_examples):
            self.end(Problem(ProblemKind.EMPTY_FILE, "no example in it", "at least one"))
        duplicates, pairs = self._duplicates.result()
        statistics = self._tally.result(duplicates=duplicates, duplicate_pairs=pairs, bad_examples=self.bad_examples)
        self._note_peculiar(statistics)
        layout_name = "unrecognised" if isinstance(layout, Problem) else layout.name
        report = DatasetReport(
            name=name,
            container=Container(layout_name, unpacked.compression, self._unit),
            detection=self._detection or Detection(Format.JSONL, "nothing in it could be read", 0.0),
            examples=self.examples,
            bad_examples=self.bad_examples,
            max_bad_fraction=max_bad_fraction,
            problems=tuple(self.problems.kept),
            problem_counts=dict(self.problems.counts.most_common()),
            notes=tuple(self.notes.kept),
            note_counts=dict(self.notes.counts.most_common()),
            fatal=self.fatal,
            statistics=statistics,
            source_size=unpacked.source_size,
            text_size=unpacked.text_size,
            source_sha256=unpacked.source_sha256,
            normalised=None,
            dropped=None,
        )
        if not report.ok:
            return report
        dropped = self._bad.keep() if self._bad and self.bad_examples else None  # before that which lacks them
        return replace(report, dropped=dropped, normalised=self._sound.keep() if self._sound else None)

    def _note_peculiar(self, statistics: DatasetStatistics) -> None:
        found = {
            ProblemKind.DUPLICATE: (
                statistics.duplicates,
                [
                    (number, f"the same example as in {self._unit} {first}")
                    for number, first in statistics.duplicate_pairs
                ],
                "each example once",
            ),
            ProblemKind.LONG_EXAMPLE: (
                statistics.long_outliers,
                [(number, f"{length:,} characters") for number, length in statistics.longest],
                "a length more like the others'",
            ),
            ProblemKind.SHORT_EXAMPLE: (
                statistics.short_outliers,
                [(number, f"{length:,} characters") for number, length in statistics.shortest],
                "a length more like the others'",
            ),
        }
        for kind, (count, shown, wanted) in found.items():
            for number, said in shown:
                self.notes.add(Problem(kind, said, wanted, number, unit=self._unit))
            if count:
                self.notes.counts[kind] = count


def _plainly_sound(raw: bytes, example: Any, depth: int) -> bool:
    try:
        return certified(raw, line_by_line([example], depth))
    except TooDeepError:
        return False


def _cut_off(problems: Sequence[Problem]) -> list[Problem]:
    """What is wrong with the last line when it does not even end."""
    return [
        replace(
            problem,
            kind=ProblemKind.PARTIAL_LINE,
            wanted=f"{problem.wanted} and a line end: was the file copied whole?",
        )
        if problem.kind is ProblemKind.INVALID_JSON
        else problem
        for problem in problems
    ]


def _as_it_stood(number: int, unit: str, problems: Sequence[Problem], raw: bytes) -> bytes:
    try:
        content = {"raw": raw.decode()}
    except UnicodeDecodeError:
        content = {"raw_base64": base64.b64encode(raw).decode()}
    told = [str(problem) for problem in problems]
    return orjson.dumps({"number": number, "unit": unit, "problems": told, **content}) + b"\n"
