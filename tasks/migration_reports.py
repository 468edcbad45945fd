"""What people see of a migration: its plan, how far it is, what it came to, how fast it was, and what to do about the rest."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar, cast
from uuid import UUID

import httpx
from prefect import get_run_logger
from prefect.artifacts import (
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.events import emit_event
from prefect.exceptions import PrefectException
from prefect.runtime import flow_run
from prefect.states import Cancelled, Completed

from tasks.aws import step
from tasks.batching import AtWork, tally_of
from tasks.reports import SUMMARY
from trainmaster.datasets.showing.markdown import plain
from trainmaster.errors import CopiesDamagedError, MigrationEndedError, TrainmasterError
from trainmaster.migration.batches import Batch
from trainmaster.migration.outcomes import PhaseResult, VerifiedCopies
from trainmaster.migration.pictures import Stretch, picture
from trainmaster.migration.plan import MigrationPlan
from trainmaster.migration.result import BatchResult, Failure, MigrationResult
from trainmaster.plain_words import counted, size
from trainmaster.reporting.page import page, shown_picture, table

DAMAGED = "trainmaster.dataset.damaged"
MOST_EVENTS = 20
"""Of one run: a bucket that is gone is one misfortune, not a hundred thousand. All damaged copies are in the table."""
_NAMED = 5  # of the damaged copies, in the state of the run
_CANNOT_SHOW = (httpx.HTTPError, PrefectException)
R = TypeVar("R", bound=MigrationResult | PhaseResult | VerifiedCopies)


@step(task_run_name="show the plan")
def report_plan(plan: MigrationPlan) -> None:
    """What there is to do, what it takes and costs, and what is left out."""
    create_markdown_artifact(plan.markdown(), key="migration-plan", description=plain(plan.sentence()))


class Progress:
    """How far the batches of a run are: a bar, and after their end a picture of how fast they were."""

    def __init__(self, plan: MigrationPlan) -> None:
        self._plan, self._began = plan, time.monotonic()
        self._datasets = self._expected = self._bytes = self._failed = 0
        self._stretches: list[Stretch] = []
        self._bar: UUID | None = None
        self._tally = tally_of(str(flow_run.id))

    def result(
        self, at_work: AtWork[Batch, BatchResult], ended: Iterable[tuple[Batch, BatchResult | BaseException]]
    ) -> MigrationResult:
        """All batches together, each shown as it ends. After one that found going on to be of no use no more begin."""
        result = MigrationResult.of(self._plan, self._following(at_work, ended), seconds=0.0)
        return result.model_copy(update={"seconds": self.seconds})

    def _following(
        self, at_work: AtWork[Batch, BatchResult], ended: Iterable[tuple[Batch, BatchResult | BaseException]]
    ) -> Iterator[BatchResult]:
        self.show()
        try:
            for batch, came_to in ended:
                result = came_to if isinstance(came_to, BatchResult) else _failed(batch, came_to)
                if result.ended_early or result.stopped:
                    at_work.begin_no_more()
                self._add(batch, result)
                self.show()
                yield result
        except TrainmasterError as error:  # of what the batches are cut from: those before it stand
            now = datetime.now(UTC)
            yield BatchResult(0, now, now, ended_early=str(error))

    @property
    def seconds(self) -> float:
        """Since the first batch could begin."""
        return time.monotonic() - self._began

    @property
    def stretches(self) -> Sequence[Stretch]:
        """Of each batch, when it moved how much."""
        return self._stretches

    def _add(self, batch: Batch, result: BatchResult) -> None:
        self._stretches.append(Stretch(result.began.timestamp(), result.ended.timestamp(), result.bytes))
        done = (result.copied, result.found, result.under_way, result.gone, len(result.failures))
        self._datasets += sum(done)
        self._expected += batch.bytes
        self._bytes += result.bytes
        self._failed += len(result.failures)

    def show(self) -> None:
        """By bytes where all sizes are known, those of batches at work in this process among them; else by datasets. What cannot
        be shown holds no batch up."""
        plan, read = self._plan, self._tally.bytes_read
        by_bytes = plan.bytes and not plan.unknown_sizes
        at_most = plan.bytes if self._datasets >= plan.datasets else 0.99 * plan.bytes
        moved = max(self._expected, min(read, at_most))
        share = moved / plan.bytes if by_bytes else self._datasets / max(plan.datasets, 1)
        failed = f", {self._failed:,} of them failed" if self._failed else ""
        said = (
            f"{self._datasets:,} of {counted(plan.datasets, 'dataset')}{failed}; {size(self._bytes)} copied,"
            f" {size(read) + ' read, ' if read else ''}{max(read, self._bytes) / 1e6 / max(self.seconds, 1e-3):,.1f} MB/s"
        )
        try:
            if self._bar is None:
                self._bar = cast("UUID", create_progress_artifact(0.0, key="migration-progress", description=said))
            else:
                update_progress_artifact(self._bar, min(100.0 * share, 100.0), said)
        except _CANNOT_SHOW as error:
            get_run_logger().warning("The progress cannot be shown: %s", type(error).__name__)


def _failed(batch: Batch, error: BaseException) -> BatchResult:
    """Of a batch that came to nothing: where a whole installation is at fault all others would too, of a bug they need not."""
    now = datetime.now(UTC)
    if isinstance(error, TrainmasterError):
        return BatchResult(batch.number, now, now, left=len(batch.datasets), ended_early=str(error))
    get_run_logger().error("%s failed: %s", batch.title, type(error).__name__)  # its own log says all of it
    reason, advice = f"Batch {batch.number} broke off: {type(error).__name__}", "See its log. The next run tries again."
    failures = [Failure(one.id, one.name, "unexpected", reason, advice) for one in batch.datasets]
    return BatchResult(batch.number, now, now, failures=tuple(failures))


@step(task_run_name="report on the migration")
def report_copies(result: MigrationResult, stretches: Sequence[Stretch]) -> None:
    """What it came to, a table of what failed with what to do about it, and a picture of how fast it was."""
    said = result.sentence()
    get_run_logger().info("%s", said)
    drawn = picture(stretches, f"{counted(result.copied, 'dataset')} copied, {size(result.bytes)}")
    sections = [("How fast it was", shown_picture("Throughput over time", drawn)), ("What now", _now(result))]
    shown = "\n\n".join([result.markdown(), *(f"## {heading}\n\n{body}" for heading, body in sections if body)])
    create_markdown_artifact(shown, key=SUMMARY, description=plain(said))
    if result.failures:
        create_table_artifact(
            key="migration-failures",
            table=_cells(result.table()),
            description=f"{counted(len(result.failures), 'dataset')} not copied. What can be helped by it, the next run tries again.",
        )


def _now(result: MigrationResult) -> str:
    if result.failures:
        return "See the table `migration-failures` for what to do about each dataset. The next run tries again; nothing is copied twice."
    if result.status in ("ended_early", "stopped") or result.left_off or result.under_way:
        return (
            "Start it again, or leave it to the nightly run: it goes on where this one ended, and copies nothing twice."
        )
    return "What is copied is read from Supabase until the phase `promote` says otherwise; `verify-copies` reads the copies again."


@step(task_run_name="report on {result.phase}")
def report_phase(result: PhaseResult) -> None:
    """What was changed, or would be; and of each dataset that failed or was left out, why and what to do."""
    said = plain(result.sentence())
    if result.rehearsed:
        create_table_artifact(key="migration-plan", table=_cells(result.table()), description=said)
        return
    rows = result.table()
    each = [("Datasets", table(list(rows[0]), [[str(cell) for cell in row.values()] for row in rows]) if rows else "")]
    create_markdown_artifact(page(f"Migration: {result.phase}", result.sentence(), each), key=SUMMARY, description=said)


@step(task_run_name="report on the copies")
def report_verification(verified: VerifiedCopies) -> None:
    """A table of the copies that are damaged or could not be read, if there are any; and an event for each that is damaged."""
    for one in verified.damaged[:MOST_EVENTS]:
        emit_event(
            DAMAGED,
            resource={
                "prefect.resource.id": f"trainmaster.dataset.{one.dataset_id}",
                "prefect.resource.name": one.name,
            },
            payload={"dataset": str(one.dataset_id), "reason": one.reason, "advice": one.advice},
        )
    if table := verified.table():
        create_table_artifact(key="damaged-copies", table=_cells(table), description=plain(verified.sentence()))


def ended_as(result: R) -> R:
    """The result, in the state that its run is to end in. What somebody has to look at is raised, when all that could be done is
    done: CopiesDamagedError, and MigrationEndedError when an end failed altogether."""
    said = result.sentence()
    if isinstance(result, VerifiedCopies) and result.damaged:
        raise CopiesDamagedError(f"{said} {_named(result)}")
    if result.ended_early:
        raise MigrationEndedError(said)
    if result.stopped:
        return cast("R", Cancelled(message=said, data=result))
    failed = result.not_done if isinstance(result, MigrationResult) else result.failed
    if isinstance(result, MigrationResult) and result.status == "left_to_others":
        return cast("R", Completed(name="LeftToOthers", message=said, data=result))
    if failed:
        return cast("R", Completed(name="CompletedWithFailures", message=said, data=result))
    return result


def _named(verified: VerifiedCopies) -> str:
    """The first damaged copies, how they differ, and what to do."""
    lines = [f"{one.dataset_id}: {one.reason.rstrip('.')}. {one.advice}" for one in verified.damaged[:_NAMED]]
    more = [f"And {verified.damaged_count - _NAMED:,} more."] if verified.damaged_count > _NAMED else []
    return "\n".join(["", *lines, *more])


def _cells(table: Sequence[dict[str, Any]]) -> list[dict[str, str]]:
    """They are shown as Markdown, and what people called their datasets may be any."""
    return [{column: plain(str(cell)) for column, cell in row.items()} for row in table]
