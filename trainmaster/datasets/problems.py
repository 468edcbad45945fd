"""What is wrong with a file: each problem with where it stands, what was found there and what is wanted."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong. `number` counts from 1 in `unit`s: lines of the file as an editor shows them, or elements of an array.

    `place` is where in it: `column sqft` of a table, `messages[1].role` of a JSON example.
    """

    kind: StrEnum
    found: str
    wanted: str
    number: int | None = None
    place: str | None = None
    unit: str = "line"

    def __str__(self) -> str:
        number = f"{self.unit} {self.number}" if self.number else ""
        where = ", ".join(part for part in (number, self.place) if part)
        return f"{where or self.kind}: found {self.found}; wanted {self.wanted}"


class Findings:
    """Problems: the first `cap` kept, all counted by kind."""

    def __init__(self, cap: int) -> None:
        self.cap = cap
        self.kept: list[Problem] = []
        self.counts: Counter[StrEnum] = Counter()

    def add(self, problem: Problem, times: int = 1) -> None:
        """Count a problem; one that is there several times is kept once."""
        self.counts[problem.kind] += times
        if len(self.kept) < self.cap:
            self.kept.append(problem)
