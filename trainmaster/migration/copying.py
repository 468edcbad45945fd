"""Datasets copied from Supabase to S3: a batch of a run's, or those that somebody waits for. Readers stay where they are."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID

from trainmaster.catalog.datasets import Dataset
from trainmaster.catalog.standings import longest_claim
from trainmaster.errors import DatasetMissingError, TrainmasterError, UploadUnderWayError
from trainmaster.migration.attempt import Attempt, Upshot
from trainmaster.migration.batches import Batch
from trainmaster.migration.deadline import Halt
from trainmaster.migration.request import MigrateDatasetsRequest
from trainmaster.migration.result import BatchResult
from trainmaster.migration.shares import shared
from trainmaster.storage.copy import CopyLimits, Tally
from trainmaster.storage.library import Library, new_holder

LONGEST_WAIT_SECONDS = 1800.0
"""How long somebody else's copying of a dataset is waited for; who died at it loses it within minutes."""
LOOKED_AGAIN_SECONDS = 2.0


def limits_of(request: MigrateDatasetsRequest, among: int | None = None) -> CopyLimits:
    """What a batch may take of its run's bandwidth, memory and requests, `among` so many at work at once: the workers, if not said.

    Each has 32 MiB in flight at least, so that more than eight of them hold more than 256 MiB together.
    """
    cap = request.megabytes_per_second
    return shared(CopyLimits(bytes_per_second=max(int(cap * 1e6), 1) if cap else None), among or request.workers)


def copy_batch(
    library: Library,
    batch: Batch,
    limits: CopyLimits,
    *,
    by: str,
    stop: threading.Event | None = None,
    tally: Tally | None = None,
) -> BatchResult:
    """Copy the datasets of a batch, each proven, catalogued as they arrive, and safe to repeat, to race and to kill.

    `by` is who the catalogue says did it. A dataset that fails stops no other. When an end fails altogether, what was finished is
    catalogued, the rest given back at once, and `ended_early` says so. From the batch's deadline on nothing is begun, what is in
    flight is ended or broken off, and `left_off` says why datasets are `left`: the next try goes on, with parts that were sent.
    Holds `limits.in_flight_bytes`, in up to `limits.most_at_once` threads. Raises CatalogueUnavailableError; what was sent is
    found by the next try.
    """
    began, until = datetime.now(UTC), batch.until
    if until and until.is_over:
        return BatchResult(batch.number, began, began, left=len(batch.datasets), left_off=until.why)
    halt = Halt(*([stop] if stop else ()), until=until)
    attempt = Attempt(library, limits, by=by, stop=halt, tally=tally)
    attempt.copy([one.id for one in batch.datasets])
    upshots = list(attempt.upshots.values())
    counts, left = Counter(upshot.became for upshot in upshots), len(batch.datasets) - len(upshots)
    theirs = [id_ for id_, upshot in attempt.upshots.items() if upshot.became == "under_way"]
    return BatchResult(
        batch.number,
        began,
        datetime.now(UTC),
        copied=counts["copied"] + counts["adopted"],
        adopted=counts["adopted"],
        bytes=sum(upshot.size for upshot in upshots),
        bytes_read=attempt.bytes_read,
        found=counts["found"],
        under_way=counts["under_way"],
        gone=counts["gone"],
        left=left,
        left_off=until.why if left and until and until.is_over else "",
        failures=tuple(upshot.failure for upshot in upshots if upshot.failure),
        stopped=bool(stop and stop.is_set()),
        ended_early=str(attempt.ended_early or ""),
        others_seconds=longest_claim(library.catalogue.database, theirs).total_seconds(),
    )


def copy_now(
    library: Library,
    datasets: Sequence[Dataset],
    *,
    limits: CopyLimits = CopyLimits(),  # noqa: B008 - frozen
    wait_seconds: float = LONGEST_WAIT_SECONDS,
) -> list[Dataset]:
    """These datasets with verified copies in S3, as the catalogue has them then; those that have one move no byte.

    Safe to repeat and to race: what somebody else is copying is waited for. Raises the first failure when all others are done:
    DatasetMissingError, ObjectMissingError, DatasetRefusedError (no whole gzip, or no object of its user), CorruptedUploadError
    (other bytes than were catalogued), NotConfiguredError, StorageUnavailableError; UploadUnderWayError when somebody
    is still at one after `wait_seconds`.
    """
    deadline, waiting = time.monotonic() + wait_seconds, [dataset.id for dataset in datasets]
    while waiting:
        attempt = Attempt(library, limits, by=f"trainmaster migrate {new_holder()}")
        attempt.copy(waiting)
        if error := _first_error(attempt, waiting):
            raise error
        waiting = [id_ for id_ in waiting if not _is_done(attempt.upshots.get(id_))]
        if waiting and time.monotonic() > deadline:
            raise UploadUnderWayError(
                f"Another run has been copying dataset {waiting[0]} to S3 for more than {wait_seconds:,.0f} s. Try again later."
            )
        if waiting:
            time.sleep(random.uniform(0.5, 1.5) * LOOKED_AGAIN_SECONDS)  # noqa: S311 - jitter, not a secret
    return [_current(library, dataset) for dataset in datasets]


def _first_error(attempt: Attempt, dataset_ids: Sequence[UUID]) -> TrainmasterError | None:
    for id_ in dataset_ids:
        upshot = attempt.upshots.get(id_)
        if upshot and upshot.error and upshot.became != "changed":  # which is copied anew at once
            return upshot.error
    if attempt.ended_early:
        cause = attempt.ended_early.__cause__  # of one kind with what failed a single dataset
        return cause if isinstance(cause, TrainmasterError) else attempt.ended_early
    return None


def _is_done(upshot: Upshot | None) -> bool:
    return upshot is not None and upshot.became in ("copied", "adopted", "found", "gone")


def _current(library: Library, dataset: Dataset) -> Dataset:
    current = library.catalogue.datasets.get(dataset.id, dataset.user_id)
    if current is None:
        raise DatasetMissingError(f"There is no dataset {dataset.id} of user {dataset.user_id}.")
    return current
