"""What a run is to copy, cut into pieces small enough to be sent anywhere and begun again."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import chain, islice
from uuid import UUID

from trainmaster.catalog.candidates import Candidate
from trainmaster.errors import StorageUnavailableError
from trainmaster.migration.deadline import Deadline, deadline_of, now
from trainmaster.migration.plan import Amount, Prospect, allowance_of, prospect_of
from trainmaster.migration.planning import LOOKED_AT_ONCE, Homes, pages, who_needs_one
from trainmaster.migration.request import MigrateDatasetsRequest
from trainmaster.migration.window import Window
from trainmaster.plain_words import counted, size
from trainmaster.storage.library import Library
from trainmaster.storage.store import StorageProvider

MOST_DATASETS, MOST_BYTES = 100, 4 << 30
LEAST_DATASETS, LEAST_BYTES = 5, 256 << 20
"""Less is no batch's limit: objects of a batch are moved side by side, which few of them make no use of."""
FOR_EACH_WORKER = 4
"""So many batches, where there is little to do: progress is seen, several runs share the work, and none waits long for the last."""
LOOKED_AHEAD = 100
"""So many sizes that nobody vouches for are asked for at a time, where bytes are limited."""


@dataclass(frozen=True)
class Named:
    """A dataset of a batch, as far as anybody has to know it before it is copied."""

    id: UUID
    name: str


@dataclass(frozen=True)
class Batch:
    """Some datasets to be copied together; `bytes` are those known, `number` counts from 1."""

    number: int
    datasets: tuple[Named, ...]
    bytes: int
    until: Deadline | None = None
    among: int = 1
    """How many of its run are at work at once at most: they share what that may take."""

    @property
    def title(self) -> str:
        """As people see it: `batch 3: 100 datasets, 1.2 GB`."""
        return f"batch {self.number}: {counted(len(self.datasets), 'dataset')}, {size(self.bytes)}"


def portion(planned: Amount, workers: int) -> Amount:
    """How much a batch is to take at most, where so much is planned: so that there are some for each worker, none being tiny."""
    parts = workers * FOR_EACH_WORKER
    return Amount(
        min(MOST_DATASETS, max(LEAST_DATASETS, math.ceil(planned.datasets / parts))),
        min(MOST_BYTES, max(LEAST_BYTES, math.ceil(planned.bytes / parts))),
    )


def batches(
    library: Library,
    request: MigrateDatasetsRequest,
    *,
    most_datasets: int = MOST_DATASETS,
    most_bytes: int = MOST_BYTES,
    until: Deadline | None = None,
    clock: Callable[[], datetime] = now,
) -> Iterator[Batch]:
    """Everything the request has to copy, in the order of the plan, as it is asked for; a page of 2,000 is held at most.

    Ends when the limits of the request are reached, or at the deadline: `until`, where the run began before; each batch has it.
    A dataset of more than `most_bytes` is a batch of its own. As many as work at once are cut before the first is given, so that fewer share what the run may take.
    Raises NotConfiguredError and StorageUnavailableError as `plan_migration` does.
    """
    window, began = Window.of(request), clock()
    if not window.is_open(began):
        return
    until = until or deadline_of(began, request.max_minutes, window)
    made = _made(library, request, _Cut(most_datasets, most_bytes, until))
    first = list(islice(made, request.workers))
    for batch in chain(first, made):
        if until and until.has_come(clock()):
            return
        yield replace(batch, among=len(first))


def _made(library: Library, request: MigrateDatasetsRequest, cut: _Cut) -> Iterator[Batch]:
    for candidate, size_bytes in _allowed(library, request):
        if batch := cut.add(candidate, size_bytes):
            yield batch
    if batch := cut.rest():
        yield batch


class _Cut:
    """Datasets on their way into a batch."""

    def __init__(self, most_datasets: int, most_bytes: int, until: Deadline | None) -> None:
        self._most_datasets, self._most_bytes, self._until = most_datasets, most_bytes, until
        self._datasets, self._bytes, self._number = list[Named](), 0, 0

    def add(self, candidate: Candidate, size_bytes: int) -> Batch | None:
        """The batch before, when this one does not fit into it any more."""
        full = len(self._datasets) >= self._most_datasets or self._bytes + size_bytes > self._most_bytes
        batch = self.rest() if full else None
        self._datasets.append(Named(candidate.id, candidate.name))
        self._bytes += size_bytes
        return batch

    def rest(self) -> Batch | None:
        """What has come together; None when nothing has."""
        if not self._datasets:
            return None
        self._number += 1
        batch = Batch(self._number, tuple(self._datasets), self._bytes, self._until)
        self._datasets, self._bytes = [], 0
        return batch


def _allowed(library: Library, request: MigrateDatasetsRequest) -> Iterator[tuple[Candidate, int]]:
    """Datasets to be copied with their bytes, as far as the limits go."""
    allowance = allowance_of(request)
    for candidates in _to_copy(library, request):
        sizes = _sizes(library, candidates) if request.max_gigabytes is not None else {}
        for candidate in candidates:
            size_bytes = sizes.get(candidate.id, candidate.size_bytes or 0)
            if not allowance.take(size_bytes):
                return
            yield candidate, size_bytes


def _to_copy(library: Library, request: MigrateDatasetsRequest) -> Iterator[Sequence[Candidate]]:
    homes = Homes(library.stores)
    for page in pages(library, request, only="copy"):
        homeless = homes.missing(who_needs_one(page, request))
        wanted = [
            candidate
            for candidate in page
            if prospect_of(candidate, homeless, retry_given_up=request.retry_given_up) is Prospect.COPY
        ]
        for start in range(0, len(wanted), LOOKED_AHEAD):
            yield wanted[start : start + LOOKED_AHEAD]


def _sizes(library: Library, candidates: Sequence[Candidate]) -> dict[UUID, int]:
    """Of objects that nobody read yet, as Supabase says it: a limit on bytes is to hold whatever the application noted."""
    unknown = [candidate for candidate in candidates if candidate.supabase is None]

    def size_of(candidate: Candidate) -> int:
        try:
            found = library.stores.home(StorageProvider.SUPABASE, candidate.user_id).stat(candidate.storage_path)
        except StorageUnavailableError:
            return candidate.size_bytes or 0  # who copies it is told, and tries again
        return found.size if found else 0

    with ThreadPoolExecutor(LOOKED_AT_ONCE, thread_name_prefix="look-at-source") as threads:
        return dict(zip((one.id for one in unknown), threads.map(size_of, unknown), strict=True))
