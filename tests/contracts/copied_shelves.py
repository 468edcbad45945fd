"""Datasets to be copied from Supabase to S3, calls of stores to be meddled with, and what is to be found afterwards."""

from __future__ import annotations

import gzip
import hashlib
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest
from catalogues import insert_as_the_application
from library_shelves import S3, SUPABASE, Shelves, chats
from sqlalchemy import select, update

from trainmaster.catalog.candidates import Candidate, Selection
from trainmaster.catalog.catalogue import Catalogue
from trainmaster.catalog.datasets import Copy, Dataset
from trainmaster.catalog.tables import metadata, training_datasets
from trainmaster.errors import (
    CatalogueUnavailableError,
    StorageUnavailableError,
)
from trainmaster.migration.batches import Batch, Named
from trainmaster.migration.copying import copy_batch
from trainmaster.migration.deadline import Deadline
from trainmaster.migration.result import BatchResult
from trainmaster.storage.copy import CopyLimits
from trainmaster.storage.library import Library, dataset_path
from trainmaster.storage.uploading import upload

FAST = CopyLimits(tries=2, pause_seconds=0.01)


PARTS = CopyLimits(part_bytes=5 << 20, tries=1, pause_seconds=0.01)


WITHIN = 90.0


Call = Callable[..., Any]


def uploaded(shelves: Shelves, *lines: str, **choices: Any) -> Dataset:
    """One that is in Supabase alone."""
    new = shelves.sound(shelves.request(lines or chats(marker=uuid4().hex), **choices))
    upload(shelves.library, new, [SUPABASE])
    row = shelves.catalogue.datasets.get(new.id, shelves.user_id)
    assert row
    return row


def applications_own(shelves: Shelves, content: bytes, user_id: UUID | None = None) -> Dataset:
    """One the application stored itself: its row, its object, and nothing recorded of what is in it."""
    id_, now, user_id = uuid4(), datetime.now(UTC), user_id or shelves.user_id
    path = dataset_path(SUPABASE, user_id, id_)
    put(shelves, path, content)
    dataset = Dataset(id_, user_id, "theirs", "chatml", "supabase", path, now, now)
    insert_as_the_application(shelves.catalogue, dataset)
    return dataset


def put(shelves: Shelves, path: str, content: bytes, provider: Any = SUPABASE) -> None:
    """An object, in place of what is there."""
    store, sha256 = shelves.store(provider), hashlib.sha256(content).hexdigest()
    store.delete(path)
    store.put(path, io.BytesIO(content), size=len(content), sha256=sha256, content_type="application/gzip")


def packed(marker: object = "") -> bytes:
    return gzip.compress(f"{marker}{uuid4()}".encode())


def batch_of(*datasets: Dataset | UUID, until: Deadline | None = None) -> Batch:
    ids = [one if isinstance(one, UUID) else one.id for one in datasets]
    return Batch(1, tuple(Named(id_, "x") for id_ in ids), 0, until)


def run(shelves: Shelves, *datasets: Dataset | UUID, library: Library | None = None, **choices: Any) -> BatchResult:
    limits, until = choices.pop("limits", FAST), choices.pop("until", None)
    return copy_batch(library or shelves.library, batch_of(*datasets, until=until), limits, by="a test", **choices)


def current(shelves: Shelves, dataset: Dataset) -> Candidate:
    [found] = shelves.catalogue.migrations.candidates(Selection(dataset_ids=[dataset.id]))
    return found


class Between:
    """An end of a copy of which some calls go elsewhere: each is given the real call and its arguments."""

    def __init__(self, real: Any, instead: dict[str, Call]) -> None:
        self._real, self._instead = real, instead

    def __getattr__(self, name: str) -> Any:
        real, other = getattr(self._real, name), self._instead.get(name)
        return (lambda *args, **kwargs: other(real, *args, **kwargs)) if other else real


def between(
    library: Library, *, source: dict[str, Call] | None = None, destination: dict[str, Call] | None = None
) -> Library:
    """A library of whose ends these calls go elsewhere."""
    stores = library.stores
    ends = {
        "source": lambda *args: Between(stores.source(*args), source or {}),
        "destination": lambda *args: Between(stores.destination(*args), destination or {}),
    }
    others = SimpleNamespace(home=stores.home, at=stores.at, is_shared=stores.is_shared, **ends)
    return replace(library, stores=others)  # type: ignore[arg-type]


def never(_real: Call, *_args: Any, **_kwargs: Any) -> Any:
    raise AssertionError("bytes were moved")


def unavailable(_real: Call, *_args: Any, **_kwargs: Any) -> Any:
    raise StorageUnavailableError("It is out of reach.")


def first(happens: Call) -> Call:
    """Something happens before a call goes on."""

    def call(real: Call, *args: Any, **kwargs: Any) -> Any:
        happens()
        return real(*args, **kwargs)

    return call


def assert_nothing_came(shelves: Shelves, dataset: Dataset) -> None:
    """S3 has nothing, the row is as it was, and nobody holds anything."""
    assert [each for each in shelves.objects() if each.startswith("s3:")] == []
    assert shelves.pending() == 0
    row = shelves.catalogue.datasets.get(dataset.id, dataset.user_id)
    assert row is None or row.copy_at("s3") is None


def touch(shelves: Shelves, dataset: Dataset) -> None:
    """As the application does it when somebody renames a dataset."""
    with shelves.catalogue.database.writing() as connection:
        row = update(training_datasets).where(training_datasets.c.id == dataset.id)
        connection.execute(row.values(name="renamed", updated_at=datetime.now(UTC)))


def taken(shelves: Shelves, dataset: Dataset, holder: str = "somebody else") -> Any:
    """A claim of somebody else's."""
    at = shelves.store(S3).bucket, dataset_path(S3, dataset.user_id, dataset.id)
    wanted = [(current(shelves, dataset), "s3", *at)]
    [claim] = shelves.catalogue.migrations.claim(wanted, holder=holder, lease=timedelta(minutes=5)).held  # type: ignore[arg-type]
    return claim


def first_time(call: Call) -> Call:
    """Later times the call goes on as it is."""
    times = list[int]()

    def once(real: Call, *args: Any, **kwargs: Any) -> Any:
        times.append(1)
        return call(real, *args, **kwargs) if len(times) == 1 else real(*args, **kwargs)

    return once


def catalogue_away(*_: Any, **__: Any) -> Any:
    raise CatalogueUnavailableError("The catalogue is out of reach.")


def uploads_left(shelves: Shelves) -> list[Any]:
    found = shelves.s3.list_multipart_uploads(Bucket=shelves.store(S3).bucket, Prefix=f"{shelves.user_id}/")
    return list(found.get("Uploads", []))


@contextmanager
def bucket_of(shelves: Shelves, user_id: UUID) -> Iterator[None]:
    bucket = f"of-{user_id}"
    shelves.s3.create_bucket(Bucket=bucket)
    yield
    found = {each["Name"] for each in shelves.s3.list_buckets()["Buckets"]}
    if bucket in found:
        empty(shelves, bucket)
        shelves.s3.delete_bucket(Bucket=bucket)


def empty(shelves: Shelves, bucket: str) -> None:
    for each in shelves.s3.list_objects_v2(Bucket=bucket).get("Contents", []):
        shelves.s3.delete_object(Bucket=bucket, Key=each["Key"])


def dies(shelves: Shelves, dataset: Dataset) -> None:
    """A try that has put the object and is killed before it is catalogued."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shelves.catalogue.migrations, "copied", catalogue_away)
        with pytest.raises(CatalogueUnavailableError):
            run(shelves, dataset, limits=PARTS)
    assert shelves.store(S3).stat(dataset_path(S3, shelves.user_id, dataset.id))
    assert shelves.pending() == 1


def catalogued(shelves: Shelves, dataset: Dataset, content: bytes) -> None:
    """What is in Supabase of it, as if it had been uploaded."""
    sha256, at = hashlib.sha256(content).hexdigest(), shelves.store(SUPABASE).bucket
    copy = Copy("supabase", at, dataset.storage_path, len(content), sha256, datetime.now(UTC), "a test")
    shelves.catalogue.datasets.add_copy(dataset.id, dataset.user_id, copy)


def assert_holds(shelves: Shelves, dataset: Dataset, content: bytes) -> None:
    """S3 has these bytes, and the catalogue says so."""
    copy = current(shelves, dataset).s3
    assert copy
    assert (copy.size_bytes, copy.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    with shelves.store(S3).get(copy.path) as chunks:
        assert b"".join(chunks) == content
    assert shelves.pending() == 0


def everything(catalogue: Catalogue) -> dict[str, Any]:
    with catalogue.database.reading() as connection:
        return {
            table.name: sorted(map(repr, connection.execute(select(table)).all())) for table in metadata.sorted_tables
        }


def stored(shelves: Shelves) -> set[Any]:
    prefix = f"{shelves.user_id}/"
    return {
        (at, one.key, one.size, one.etag, one.modified)
        for at in (SUPABASE, S3)
        for one in shelves.store(at).list(prefix)
    }
