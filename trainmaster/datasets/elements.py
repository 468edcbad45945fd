"""Elements of a JSON array of any size, or JSON objects one after the other, cut out without holding more than one of them."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterable, Iterator

import numpy as np
import orjson

from trainmaster.datasets.blocks import Block, pieces
from trainmaster.datasets.brackets import Brackets
from trainmaster.datasets.kinds import ProblemKind
from trainmaster.datasets.problems import Findings, Problem

_LONGEST_REST = 1024 * 1024
_MOST_LOST = 10_000
"""Elements after which the next is searched for; a file with more of them is beyond help."""
_LEARNING = 100
"""Elements in which the start of an element is looked for, before its like is trusted to be one."""


class Elements:
    """The elements of an array from behind its bracket on, or (`array` is false) values that follow one another.

    Where an element is so broken that its end cannot be told, the next is looked for by its place in the line: `start` is the line
    feed, white space and bracket that the first element begins with, None when it is not on a line of its own. `before` is the text up to the array.
    """

    def __init__(
        self,
        chunks: Iterable[bytes],
        longest: int,
        notes: Findings,
        *,
        array: bool,
        start: bytes | None,
        before: bytes = b"[",
    ) -> None:
        self.name, self.unit = "json array" if array else "json object", "element"
        self.fatal: Problem | None = None
        self._notes = notes
        self._chunks, self._longest, self._array, self._start, self._before = chunks, longest, array, start, before
        self._brackets = self._fresh()
        self._held = bytearray()
        self._lost = False
        self._times_lost = self._searched = self._dropped = 0
        self._number = 0
        self._start_within = False
        self._ended, self._rest = False, bytearray()

    def blocks(self) -> Iterator[Block]:
        for piece in pieces(self._chunks):
            yield from self._feed(piece)
            if self.fatal:
                return
        yield from self._finish()

    def _fresh(self) -> Brackets:
        return Brackets(depth=1 if self._array else 0)

    def _feed(self, piece: bytes) -> Iterator[Block]:
        """One piece, and what is found to follow when an element before it was given up."""
        left = [piece]
        while left and not self.fatal:
            part = left.pop()
            if self._ended:
                self._keep_rest(part)
                continue
            rest = yield from (self._find_next(part, self._start) if self._lost and self._start else self._cut(part))
            if rest:
                left += reversed(list(pieces([rest])))

    def _cut(self, piece: bytes) -> Generator[Block, None, bytes]:
        """Cut elements from a piece; gives back what of it must be looked at again."""
        found = self._brackets.feed(piece)
        ends = found.close_depths <= (0 if self._array else -1)
        stop = len(piece) if found.broken is None else found.broken
        end = int(found.closes[ends][0]) if ends.any() else len(piece)
        cuts = found.commas[found.comma_depths == 1] if self._array else found.closes[found.close_depths == 0] + 1
        closed = end < stop and self._array and piece[end : end + 1] == b"]"
        cuts = cuts[cuts <= min(end, stop)]
        if closed:
            cuts = np.append(cuts, end)
        at = 0
        if len(cuts):
            at = yield from self._give(piece, cuts.tolist(), closed=closed)
        if closed:
            self._ended = True
            return piece[at:]
        if stop < len(piece) or end < len(piece) or self._runs_on(piece[at:]):
            self._lose()
            return piece[at:]
        self._held += piece[at:]
        if len(self._held) > self._longest:
            self._lose()
        return b""

    def _give(self, piece: bytes, cuts: list[int], *, closed: bool) -> Generator[Block, None, int]:
        """The elements that end at these cuts, and where the next begins."""
        raws, at, gap = [], 0, 1 if self._array else 0
        for cut in cuts:
            raws.append(piece[at:cut])
            at = cut + gap
        text = b"".join((self._held, memoryview(piece)[: cuts[-1]]))
        raws[0] = bytes(self._held) + raws[0]
        self._held.clear()
        if closed and not self._number and len(raws) == 1 and not raws[0].strip():
            return at  # an empty array
        if self._start and self._number < _LEARNING:
            self._start_within |= any(self._start in raw.lstrip() for raw in raws)
        first = self._number + 1
        self._number += len(raws)
        numbers: range | list[int] = range(first, self._number + 1)
        unheld = []
        if len(raws[0]) > self._longest:
            unheld.append(self._too_long(first, len(raws[0])))
            raws, numbers, text = raws[1:], numbers[1:], b",".join(raws[1:])
        yield Block(text, raws, numbers, unheld)
        return at

    def _runs_on(self, more: bytes) -> bool:
        """Whether the element that is open has run into the next one, as it does when a bracket of it is missing."""
        if not self._start or self._start_within:
            return False
        begun = len(self._held) > _LONGEST_REST or len(self._held.strip()) > 1
        seam = bytes(self._held[-len(self._start) :]) + more
        return self._start in (seam if begun else seam.lstrip())

    def _lose(self) -> None:
        self._times_lost += 1
        self._lost, self._searched = True, 0
        if not self._start or self._times_lost > _MOST_LOST:
            size = len(self._held)
            found = f"no end of it within {size:,} bytes" if size > self._longest else "broken strings or brackets"
            kind = ProblemKind.TOO_LONG if size > self._longest else ProblemKind.INVALID_JSON
            wanted = f"JSON, at most {self._longest:,} bytes of it; where the next element begins cannot be told"
            self.fatal = Problem(kind, found, wanted, self._number + 1, unit=self.unit)

    def _find_next(self, piece: bytes, start: bytes) -> Generator[Block, None, bytes]:
        """Give up what is held where the next element seems to begin; gives back the text from there."""
        self._held += piece
        if not self._searched:  # its own start is not the next one's
            self._searched = len(self._held) - len(self._held.lstrip()) + 1
        at = self._held.find(start, self._searched)
        if at < 0:
            self._searched = max(len(self._held) - len(start), 1)
            if len(self._held) > self._longest:
                self._dropped += self._searched
                del self._held[: self._searched]
                self._searched = 1
            return b""
        rest = bytes(self._held[at:])
        yield self._given_up(bytes(self._held[:at]))
        return rest

    def _given_up(self, raw: bytes) -> Block:
        self._number += 1
        raw = raw.strip().removesuffix(b",") if self._array else raw.strip()
        size, self._dropped = self._dropped + len(raw), 0
        self._held.clear()
        self._lost, self._brackets = False, self._fresh()
        if size > self._longest:
            return Block(b"", [], [], [self._too_long(self._number, size)])
        return Block(raw, [raw], [self._number])

    def _too_long(self, number: int, size: int) -> Problem:
        found, wanted = f"an element of {size:,} bytes", f"at most {self._longest:,}"
        return Problem(ProblemKind.TOO_LONG, found, wanted, number, unit=self.unit)

    def _keep_rest(self, piece: bytes) -> None:
        self._rest += piece if self._rest or not piece.isspace() else b""
        if len(self._rest) > _LONGEST_REST:
            self._refuse_rest()

    def _refuse_rest(self) -> None:
        begin = bytes(self._rest).strip()[:20]
        found = f"{begin.decode(errors='replace')!r} … after the array's end, behind element {self._number:,}"
        self.fatal = Problem(ProblemKind.INVALID_JSON, found, "the end of the file, or one object to a line")

    def _finish(self) -> Iterator[Block]:
        if self._ended:
            try:
                around = orjson.loads(self._before + b"]" + self._rest)
            except orjson.JSONDecodeError:
                self._refuse_rest()
            else:
                self._note_beside(around)
        elif self._lost and not self.fatal:
            raw = bytes(self._held).rstrip()
            yield self._given_up(raw.removesuffix(b"]") if self._array else raw)
            if self._array and not raw.endswith((b"]", b"}")):
                self.fatal = self._broken_off(self._number)
        elif self._array or self._held.strip():
            self.fatal = self._broken_off(self._number + 1)

    def _note_beside(self, around: object) -> None:
        """Say what stood beside the list of examples."""
        if isinstance(around, dict) and len(around) > 1:
            names = ", ".join(repr(key) for key, value in around.items() if value != [])
            self._notes.add(Problem(ProblemKind.LEFT_OUT, f"{names} beside the list of examples", "examples alone"))

    def _broken_off(self, number: int) -> Problem:
        wanted = f"the rest of it{' and the end of the array' if self._array else ''}: was the file copied whole, and"
        wanted += " does every string and bracket in that element end?"
        return Problem(ProblemKind.TRUNCATED, f"the end of the file within element {number:,}", wanted)


def start_of(text: bytes) -> bytes | None:
    """The line feed, white space and bracket a text begins with, when the bracket is the first thing on a line."""
    found = re.match(rb"\s*?(\n[ \t]*[\[{])", text)
    return found[1] if found else None
