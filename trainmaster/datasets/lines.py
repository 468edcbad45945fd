"""JSON Lines: one example to a line, cut from chunks of text without ever holding more than the longest allowed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from trainmaster.datasets.blocks import Block, parts
from trainmaster.datasets.kinds import ProblemKind
from trainmaster.datasets.problems import Findings, Problem


class JsonLines:
    """The lines of a file that have anything in them, numbered as an editor numbers them."""

    name, unit = "json lines", "line"

    def __init__(self, chunks: Iterable[bytes], longest: int, notes: Findings) -> None:
        self._chunks, self._longest, self._notes = chunks, longest, notes
        self._number = 1
        self.fatal: Problem | None = None

    def blocks(self) -> Iterator[Block]:
        held: list[bytes] = []
        size = skipped = 0
        for chunk, start, stop in parts(self._chunks):
            at = start
            if skipped:
                end = chunk.find(b"\n", start, stop)
                skipped += (stop if end < 0 else end) - start
                if end < 0:
                    continue
                yield self._skip(skipped)
                at, skipped = end + 1, 0
            end = chunk.rfind(b"\n", at, stop)
            if end >= 0:
                yield from self._cut(b"".join([*held, memoryview(chunk)[at:end]]))
                held, size, at = [], 0, end + 1
            held.append(chunk[at:stop])
            size += stop - at
            if size > self._longest:
                held, size, skipped = [], 0, size
        if skipped:
            yield self._skip(skipped)
        elif size:
            for block in self._cut(b"".join(held)):
                block.cut_off = True
                yield block

    def _cut(self, text: bytes) -> Iterator[Block]:
        lines, first = text.split(b"\n"), self._number
        self._number += len(lines)
        numbers: range | list[int] = range(first, self._number)
        raws = [line for line in lines if line and not line.isspace()]
        if len(raws) < len(lines):
            empty = [at for at, line in zip(numbers, lines, strict=True) if not line or line.isspace()]
            found = "nothing in a line"
            self._note(ProblemKind.EMPTY_LINE, found, "one example to a line", empty[0], len(empty))
            numbers = [at for at, line in zip(numbers, lines, strict=True) if line and not line.isspace()]
        if b"\r" in text and (
            ended := [at for at, line in zip(range(first, self._number), lines, strict=True) if line.endswith(b"\r")]
        ):
            found = "a carriage return before the line's end, as Windows has it"
            self._note(ProblemKind.CRLF, found, "a line feed alone", ended[0], len(ended))
        unheld = []
        if len(text) > self._longest and any(len(raw) > self._longest for raw in raws):
            kept = []
            for at, raw in zip(numbers, raws, strict=True):
                if len(raw) > self._longest:
                    unheld.append(self._too_long(at, len(raw)))
                else:
                    kept.append((at, raw))
            numbers, raws = [at for at, _ in kept], [raw for _, raw in kept]
            text = b"\n".join(raws)
        if raws or unheld:
            yield Block(text, raws, numbers, unheld)

    def _skip(self, size: int) -> Block:
        self._number += 1
        return Block(b"", [], [], [self._too_long(self._number - 1, size)])

    def _too_long(self, number: int, size: int) -> Problem:
        found, wanted = f"a line of {size:,} bytes", f"at most {self._longest:,}"
        return Problem(ProblemKind.TOO_LONG, found, wanted, number, unit=self.unit)

    def _note(self, kind: ProblemKind, found: str, wanted: str, number: int, times: int) -> None:
        if self._notes.counts[kind]:
            self._notes.counts[kind] += times
        else:
            self._notes.add(Problem(kind, found, wanted, number), times)
