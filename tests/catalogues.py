"""Catalogues for tests: on SQLite and on PostgreSQL, what goes into them, and other processes that use them too."""

from __future__ import annotations

import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import insert

from trainmaster.catalog.catalogue import Catalogue, open_catalogue
from trainmaster.catalog.datasets import Copy, Dataset
from trainmaster.catalog.pending import PendingObject
from trainmaster.catalog.tables import training_datasets
from trainmaster.errors import DatasetMissingError, LeaseLostError, NameConflictError, UploadUnderWayError

LEASE = timedelta(minutes=5)
NOW = timedelta(0)
"""A lease that has run out as soon as it is had."""
BUCKETS = {"supabase": "training-datasets", "s3": "user-bucket"}


@dataclass(frozen=True)
class Place:
    """Where a catalogue is, for this process and others."""

    url: str | None
    state_dir: Path

    def open(self) -> Catalogue:
        return open_catalogue(self.url, self.state_dir)

    def start(self, script: str, *arguments: str) -> subprocess.Popen[str]:
        """Another process, which has `catalogue` open already and `arguments` in `sys.argv[3:]`; talk to it through its pipes."""
        code = (
            "import sys; from pathlib import Path; from trainmaster.catalog.catalogue import open_catalogue\n"
            "catalogue = open_catalogue(sys.argv[1] or None, Path(sys.argv[2]))\n" + script
        )
        return subprocess.Popen(
            [sys.executable, "-c", code, self.url or "", str(self.state_dir), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parent,
        )


def copy_of(id_: uuid.UUID, user: uuid.UUID, provider: str = "supabase", **changed: Any) -> Copy:
    folder = "private" if provider == "supabase" else "datasets"
    values = {
        "provider": provider,
        "bucket": BUCKETS[provider],
        "path": f"{user}/{folder}/{id_}.jsonl.gz",
        "size_bytes": 7_000_000_000,
        "sha256": id_.hex * 2,
        "verified_at": datetime(2026, 3, 29, 0, 30, 0, 1, tzinfo=UTC),
        "verified_by": "a test",
    }
    return Copy(**values | changed)


def new_dataset(user: uuid.UUID, providers: Sequence[str] = ("supabase",), **changed: Any) -> Dataset:
    """One of our making, stored at each of `providers`, the first being the one its row names."""
    id_ = changed.pop("id", None) or uuid.uuid4()
    copies = changed.pop("copies", None) or tuple(copy_of(id_, user, provider) for provider in sorted(providers))
    now = changed.pop("created_at", None) or datetime.now(UTC)
    values: dict[str, Any] = {
        "id": id_,
        "user_id": user,
        "name": "cats",
        "format": "chatml",
        "storage_provider": providers[0],
        "storage_path": next(copy.path for copy in copies if copy.provider == providers[0]),
        "created_at": now,
        "updated_at": now,
        "copies": copies,
    }
    return Dataset(**values | changed)


def claim(
    catalogue: Catalogue, dataset: Dataset, holder: str = "mine", provider: str | None = None, lease: timedelta = LEASE
) -> PendingObject | None:
    copy = dataset.copy_at(provider or dataset.storage_provider)
    assert copy
    return catalogue.pending.claim(
        provider=copy.provider,
        bucket=copy.bucket,
        path=copy.path,
        dataset_id=dataset.id,
        user_id=dataset.user_id,
        holder=holder,
        lease=lease,
    )


def held(catalogue: Catalogue, dataset: Dataset, holder: str = "mine", lease: timedelta = LEASE) -> PendingObject:
    """A claim that is had."""
    had = claim(catalogue, dataset, holder, lease=lease)
    assert had
    return had


def at_once(count: int, call: Callable[[int], Any]) -> list[Any]:
    """What `count` threads that start together come to; what one raises is among it."""
    gate = threading.Barrier(count)

    def one(n: int) -> Any:
        gate.wait()
        try:
            return call(n)
        except (UploadUnderWayError, NameConflictError, LeaseLostError, DatasetMissingError) as error:
            return error

    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(one, range(count)))


def insert_as_the_application(catalogue: Catalogue, dataset: Dataset) -> None:
    """A row without copies, as the application writes its own."""
    values = {column.name: getattr(dataset, column.name) for column in training_datasets.columns}
    with catalogue.database.writing() as connection:
        connection.execute(insert(training_datasets).values(values))
