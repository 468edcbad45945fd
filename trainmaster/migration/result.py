"""What became of the datasets of a batch and of a whole run: figures, and why some were not copied."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict

from trainmaster.migration.showing import Listing, Page, duration, markdown, text
from trainmaster.plain_words import counted, size

if TYPE_CHECKING:
    from trainmaster.migration.plan import MigrationPlan

LISTED = 100
"""So many failures are named; all are counted."""
SKIPPED = frozenset({"not_set_up", "foreign"})
"""Kinds that say why nothing was tried: `foreign` rows name no object of their user."""

Status = Literal["planned", "completed", "completed_with_failures", "left_to_others", "ended_early", "stopped"]
"""`left_to_others`: nothing could be copied, for other runs hold all that there was."""


@dataclass(frozen=True)
class Failure:
    """A dataset that was not moved: its hindrance's kind, why, and what to do about it."""

    dataset_id: UUID
    name: str
    kind: str
    reason: str
    advice: str


@dataclass(frozen=True)
class BatchResult:
    """What became of a batch. `bytes` are in S3 now, of `copied` datasets; `adopted` of them were there from a try that died.

    `found` had a copy already, `under_way` are in the hands of others, `gone` were deleted. `failures` are all there were.
    """

    number: int
    began: datetime
    ended: datetime
    copied: int = 0
    adopted: int = 0
    bytes: int = 0
    bytes_read: int = 0
    found: int = 0
    under_way: int = 0
    gone: int = 0
    left: int = 0
    """Not begun, or given back: the next run goes on with them."""
    failures: tuple[Failure, ...] = ()
    stopped: bool = False
    """It was told to stop."""
    ended_early: str = ""
    """Why it makes no sense to go on with others: an end of the copy failed altogether."""
    left_off: str = ""
    """Why there are some `left`, where nothing went wrong: the window closed, or the time was up."""
    others_seconds: float = 0.0
    """How long those who are at the datasets `under_way` hold them yet, unless they renew their claims."""

    @property
    def datasets(self) -> int:
        """How many it is done with, one way or another."""
        return self.copied + self.found + self.under_way + self.gone + len(self.failures)

    @property
    def seconds(self) -> float:
        """From its beginning to its end."""
        return max((self.ended - self.began).total_seconds(), 0.0)

    def sentence(self) -> str:
        """All of it in one line."""
        return f"Batch {self.number}: {_counts(self)} in {duration(self.seconds)}, {_pace(self.bytes, self.seconds)}."


@dataclass
class _Sum:
    """Batches as they end, added up in memory that does not grow with them."""

    figures: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    failures: list[Failure] = field(default_factory=list)
    ended_early: str = ""
    stopped: bool = False
    left_off: str = ""
    others_seconds: float = 0.0

    def add(self, batch: BatchResult) -> None:
        for name in ("copied", "adopted", "bytes", "bytes_read", "found", "under_way", "gone"):
            self.figures[name] += getattr(batch, name)
        self.failed.update(failure.kind for failure in batch.failures)
        self.failures += batch.failures[: LISTED - len(self.failures)]
        self.ended_early = self.ended_early or batch.ended_early
        self.stopped |= batch.stopped
        self.left_off = self.left_off or batch.left_off
        self.others_seconds = max(self.others_seconds, batch.others_seconds)


class MigrationResult(BaseModel):
    """What a run that copies came to. Sizes are bytes; those of `bytes` are in S3 now, those of `bytes_read` came from Supabase.

    `failed` counts by kind, `failures` names the first 100 of them. `ended_early` says which end failed altogether, `left_off`
    why datasets are left for the next run: a limit was reached, the time was up, or the window closed. `others_seconds` is when the claims of those
    who are at what is `under_way` run out, unless renewed. `asked_for` is whether datasets were named by id.
    """

    model_config = ConfigDict(frozen=True)

    phase: str = "copy"
    status: Status = "completed"
    copied: int = 0
    adopted: int = 0
    found: int = 0
    under_way: int = 0
    gone: int = 0
    failed: Mapping[str, int] = {}
    skipped: Mapping[str, int] = {}
    bytes: int = 0
    bytes_read: int = 0
    seconds: float = 0.0
    failures: tuple[Failure, ...] = ()
    ended_early: str = ""
    left_off: str = ""
    notes: tuple[str, ...] = ()
    others_seconds: float = 0.0
    asked_for: bool = False

    @classmethod
    def of(
        cls,
        plan: MigrationPlan,
        batch_results: Iterable[BatchResult],
        *,
        seconds: float,
        ended_early: str = "",
        now: datetime | None = None,
    ) -> Self:
        """All batches of a run in so many seconds, and what its plan had left out before there were any."""
        merged = cls.merged(batch_results, seconds=seconds, ended_early=ended_early)
        left_off = merged.left_off or cls._left_off(plan, merged, now or datetime.now(UTC))
        changed: dict[str, Any] = {
            "skipped": dict(Counter(merged.skipped) + Counter(plan.skipped)),
            "found": merged.found + plan.copied.datasets,
            "left_off": left_off,
            "notes": plan.notes,
            "asked_for": plan.asked_for,
        }
        if plan.asked_for:  # the others were left out by rule, these by name
            changed["failures"] = (*merged.failures, *plan.left_out)[:LISTED]
            if plan.skipped and merged.status in ("completed", "left_to_others"):
                changed["status"] = "completed_with_failures"
        if plan.rehearsed:
            changed["status"] = "planned"
        return merged.model_copy(update=changed)

    @staticmethod
    def _left_off(plan: MigrationPlan, merged: MigrationResult, now: datetime) -> str:
        """Why datasets are left for the next run, where nothing went wrong: what really became of it, not what was planned."""
        failed = merged.failures_count + sum(merged.skipped.values())
        done = merged.copied + merged.found + merged.under_way + merged.gone + failed
        if done >= plan.to_copy.datasets or merged.ended_early or merged.stopped:
            return ""
        if plan.until and plan.until.has_come(now):
            return plan.until.why
        if plan.window and not plan.window.is_open(now):
            return f"the time window {plan.window} is closed"
        return plan.limits

    @classmethod
    def merged(cls, batch_results: Iterable[BatchResult], *, seconds: float, ended_early: str = "") -> Self:
        """Many batches as one, in any order; they may come from a generator, and are not kept."""
        total = _Sum()
        for batch in batch_results:
            total.add(batch)
        early = ended_early or total.ended_early
        skipped = {kind: count for kind, count in total.failed.items() if kind in SKIPPED}
        failed = {kind: count for kind, count in total.failed.items() if kind not in SKIPPED}
        waits = total.figures["under_way"] and not total.figures["copied"]
        status: Status = "completed_with_failures" if failed else "left_to_others" if waits else "completed"
        status = "stopped" if total.stopped else status
        status = "ended_early" if early else status
        figures = total.figures
        return cls(
            status=status,
            copied=figures["copied"],
            adopted=figures["adopted"],
            found=figures["found"],
            under_way=figures["under_way"],
            gone=figures["gone"],
            failed=failed,
            skipped=skipped,
            bytes=figures["bytes"],
            bytes_read=figures["bytes_read"],
            seconds=seconds,
            failures=tuple(total.failures),
            ended_early=early,
            left_off=total.left_off,
            others_seconds=total.others_seconds,
        )

    @property
    def megabytes_per_second(self) -> float:
        """Of what is in S3 now, in MB of 10^6 bytes."""
        return self.bytes / 1e6 / self.seconds if self.seconds else 0.0

    @property
    def stopped(self) -> bool:
        """Whether somebody stopped it."""
        return self.status == "stopped"

    @property
    def failures_count(self) -> int:
        """How many failed, named or not."""
        return sum(self.failed.values())

    @property
    def not_done(self) -> int:
        """How many failed, and of datasets asked for by id those left out or to others as well."""
        return self.failures_count + (sum(self.skipped.values()) + self.under_way if self.asked_for else 0)

    @property
    def others(self) -> str:
        """What is said of datasets that others are at, and when to come again; empty when there are none."""
        if not self.under_way:
            return ""
        said = f"others are at {counted(self.under_way, 'dataset')}"
        if not self.others_seconds:
            return f"{said}, or were a moment ago: run it again"
        at_most = duration(max(math.ceil(self.others_seconds), 10))
        return f"{said}; their claims run out in at most {at_most} unless renewed: run it again then"

    def sentence(self) -> str:
        """All of it in one line."""
        if self.status == "planned":
            return "Only planned: nothing was changed."
        said = f"{_counts(self)} in {duration(self.seconds)}, {_pace(self.bytes, self.seconds)}."
        if self.ended_early:
            said = f"Ended early: {self.ended_early.rstrip('.')}. {said}"
        if self.status == "stopped":
            said = f"Stopped. {said}"
        if self.status == "left_to_others":
            said = f"Left to others. {said}"
        said += f" {self.others[0].upper()}{self.others[1:]}." if self.others else ""
        said += f" The next run goes on: {self.left_off}." if self.left_off else ""
        return " ".join([said, *self.notes])

    def table(self) -> list[dict[str, Any]]:
        """A line for each dataset that is named."""
        return [
            {
                "Dataset": str(failure.dataset_id),
                "Name": failure.name,
                "Outcome": words(failure.kind),
                "Why": failure.reason,
                "What to do": failure.advice,
            }
            for failure in self.failures
        ]

    def text(self) -> str:
        """For a terminal."""
        return text(self._page())

    def markdown(self) -> str:
        """For an artifact in the Prefect UI; nothing a user wrote is markup in it."""
        return markdown(self._page())

    def _page(self) -> Page:
        named = [f"{failure.name} ({failure.dataset_id}): {said(failure)}" for failure in self.failures]
        not_copied = Listing("Not copied", self.failures_count + sum(self.skipped.values()), named)
        title = f"Migration: {self.others}" if self.status == "left_to_others" else f"Migration: {words(self.status)}"
        return Page(title, self._facts(), [not_copied] if named else [], self.notes)

    def _facts(self) -> list[tuple[str, str]]:
        facts = [
            ("Copied", f"{counted(self.copied, 'dataset')}, {size(self.bytes)}" + _adopted(self.adopted)),
            ("Read from Supabase", size(self.bytes_read)),
            ("In S3 before", counted(self.found, "dataset") if self.found else ""),
            ("Left to others", self.others),
            ("Deleted meanwhile", counted(self.gone, "dataset") if self.gone else ""),
            ("Failed", _by_kind(self.failed)),
            ("Left out", _by_kind(self.skipped)),
            ("Took", f"{duration(self.seconds)}, {_pace(self.bytes, self.seconds)}"),
            ("Ended early", self.ended_early),
            ("Left for the next run", self.left_off),
        ]
        return [fact for fact in facts if fact[1]]


def said(failure: Failure) -> str:
    """What of a failure is for people, in one line."""
    return f"{words(failure.kind)}. {failure.reason.rstrip('.')}. {failure.advice}".rstrip()


def words(kind: str) -> str:
    """A kind or status as people read it."""
    return kind.replace("_", " ")


def _counts(of: BatchResult | MigrationResult) -> str:
    failed = len(of.failures) if isinstance(of, BatchResult) else of.failures_count
    parts = [f"{counted(of.copied, 'dataset')} copied ({size(of.bytes)}{_adopted(of.adopted)})"]
    parts += [f"{of.found:,} in S3 before"] if of.found else []
    parts += [f"{of.under_way:,} in the hands of others"] if of.under_way else []
    parts += [f"{of.gone:,} deleted meanwhile"] if of.gone else []
    parts += [f"{failed:,} failed"] if failed else []
    if isinstance(of, BatchResult):
        parts += [f"{of.left:,} left"] if of.left else []
    else:
        parts += [f"{count:,} left out ({words(kind)})" for kind, count in sorted(of.skipped.items())]
    return ", ".join(parts)


def _adopted(count: int) -> str:
    return f", {count:,} of them sent by a run that died" if count else ""


def _by_kind(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {words(kind)}" for kind, count in sorted(counts.items()))


def _pace(sent: int, seconds: float) -> str:
    return f"{sent / 1e6 / seconds if seconds else 0.0:,.1f} MB/s"
