"""What became of datasets in a phase after the copy, one by one and all together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from uuid import UUID

from trainmaster.plain_words import counted, size

LISTED = 100
"""Of each kind of outcome so many are named; all are counted."""

Verdict = Literal["done", "found", "left", "failed"]
"""Done (in a rehearsal: to be done); as asked already; left out, as it is to be; or not done though it was to be."""

_DONE = {"promote": "promoted", "prune": "pruned", "rollback": "rolled back", "verify": "verified"}


@dataclass(frozen=True)
class Fate:
    """What became of one dataset, or would. `kind` is the hindrance's, or names why it was left out; `read` counts bytes."""

    dataset_id: UUID
    name: str
    size: int
    verdict: Verdict
    kind: str = ""
    reason: str = ""
    advice: str = ""
    read: int = 0


@dataclass(frozen=True)
class Ending:
    """Why it ended before there was nothing more to do, if it did: a store failed altogether, a window or limit was reached, or it
    was told to stop."""

    ended_early: str = ""
    left_off: str = ""
    stopped: bool = False

    def sentence(self) -> str:
        """What is added to what was done."""
        said = f" Ended early: {self.ended_early.rstrip('.')}." if self.ended_early else ""
        said += f" The next run goes on: {self.left_off}." if self.left_off else ""
        return said + (" Stopped; the same request again goes on." if self.stopped else "")


class _Ended:
    """What is told of an ending by who has one."""

    ending: Ending

    @property
    def ended_early(self) -> str:
        """Why going on is of no use, if it is not."""
        return self.ending.ended_early

    @property
    def left_off(self) -> str:
        """What the next run goes on after: a closed window, a limit."""
        return self.ending.left_off

    @property
    def stopped(self) -> bool:
        """Whether it was told to stop."""
        return self.ending.stopped


@dataclass(frozen=True)
class PhaseResult(_Ended):
    """One phase over many datasets. `datasets` and `bytes` were done, or in a rehearsal would be; `left` counts by kind.

    `read` are the bytes that were read for it, in a rehearsal those that would be.
    """

    phase: str
    rehearsed: bool
    datasets: int
    bytes: int
    found: int
    left: Mapping[str, int]
    failed: int
    read: int
    seconds: float
    done: tuple[Fate, ...] = ()
    left_out: tuple[Fate, ...] = ()
    failures: tuple[Fate, ...] = ()
    ending: Ending = Ending()

    def sentence(self) -> str:
        """All of it in one line."""
        would = "would be " if self.rehearsed else ""
        parts = [f"{counted(self.datasets, 'dataset')} ({size(self.bytes)}) {would}{_DONE[self.phase]}"]
        parts += [f"{self.found:,} already so"] if self.found else []
        parts += [f"{count:,} left out ({_words(kind)})" for kind, count in sorted(self.left.items())]
        parts += [f"{self.failed:,} failed"] if self.failed else []
        if self.read:
            parts += [f"{size(self.read)} {'would be read to prove them' if self.rehearsed else 'read'}"]
        return f"{'Rehearsal of ' if self.rehearsed else ''}{self.phase}: {', '.join(parts)}.{self.ending.sentence()}"

    def table(self) -> list[dict[str, Any]]:
        """A line for each dataset that is named, failures first."""
        return [_line(fate, self._outcome(fate)) for fate in (*self.failures, *self.done, *self.left_out)]

    def _outcome(self, fate: Fate) -> str:
        if fate.verdict == "done":
            return f"{'would be ' if self.rehearsed else ''}{_DONE[self.phase]}"
        return "failed" if fate.verdict == "failed" else "left out"


@dataclass(frozen=True)
class VerifiedCopies(_Ended):
    """Copies in S3 that were read again. `read` were, `bytes` in all; `damaged` are those with other bytes than catalogued."""

    read: int
    bytes: int
    seconds: float
    damaged_count: int
    damaged: tuple[Fate, ...] = ()
    failed: int = 0
    failures: tuple[Fate, ...] = ()
    left: Mapping[str, int] = field(default_factory=dict)
    ending: Ending = Ending()

    @property
    def megabytes_per_second(self) -> float:
        """In MB of 10^6 bytes."""
        return self.bytes / 1e6 / self.seconds if self.seconds else 0.0

    def sentence(self) -> str:
        """All of it in one line."""
        figures = f"{size(self.bytes)}, {self.megabytes_per_second:.1f} MB/s"
        copies = f"{self.read:,} {'copy' if self.read == 1 else 'copies'} in S3"
        parts = [f"{copies} read again ({figures})", f"{self.damaged_count:,} damaged"]
        parts += [f"{self.failed:,} could not be read"] if self.failed else []
        parts += [f"{count:,} left out ({_words(kind)})" for kind, count in sorted(self.left.items())]
        return f"{', '.join(parts)}.{self.ending.sentence()}"

    def table(self) -> list[dict[str, Any]]:
        """A line for each copy that is damaged or could not be read."""
        lines = [_line(fate, "damaged") for fate in self.damaged]
        return lines + [_line(fate, "not read") for fate in self.failures]


class Tallied:
    """Fates counted as they come, the first of each verdict kept."""

    def __init__(self) -> None:
        self.left: Counter[str] = Counter()
        self.counts: Counter[Verdict] = Counter()
        self.kept: dict[Verdict, list[Fate]] = {"done": [], "left": [], "failed": [], "found": []}
        self.bytes, self.read = 0, 0

    def add(self, fates: Iterable[Fate]) -> None:
        for fate in fates:
            self.counts[fate.verdict] += 1
            self.read += fate.read
            self.bytes += fate.size if fate.verdict == "done" else 0
            if fate.verdict == "left":
                self.left[fate.kind] += 1
            if len(self.kept[fate.verdict]) < LISTED:
                self.kept[fate.verdict].append(fate)

    @property
    def worked(self) -> int:
        """How many it was tried to do something for."""
        return self.counts["done"] + self.counts["failed"]

    def result(self, phase: str, *, rehearsed: bool, seconds: float, ending: Ending) -> PhaseResult:
        """What it came to as a phase."""
        return PhaseResult(
            phase=phase,
            rehearsed=rehearsed,
            datasets=self.counts["done"],
            bytes=self.bytes,
            found=self.counts["found"],
            left=dict(self.left),
            failed=self.counts["failed"],
            read=self.read,
            seconds=seconds,
            done=tuple(self.kept["done"]),
            left_out=tuple(self.kept["left"]),
            failures=tuple(self.kept["failed"]),
            ending=ending,
        )


def _line(fate: Fate, outcome: str) -> dict[str, Any]:
    return {
        "Name": fate.name,
        "Outcome": outcome,
        "Size": size(fate.size),
        "Why": fate.reason,
        "What to do": fate.advice,
        "Dataset": str(fate.dataset_id),
    }


def _words(kind: str) -> str:
    return kind.replace("_", " ")
