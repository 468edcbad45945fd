"""Datasets in Supabase and S3 for the phases after the copy, and what may befall them."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from random import Random
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import httpx
from catalogues import insert_as_the_application
from library_shelves import S3, SUPABASE, Shelves, chats
from sqlalchemy import update

from trainmaster.catalog.candidates import Candidate, Selection
from trainmaster.catalog.datasets import Copy, Dataset
from trainmaster.catalog.moves import Move, note
from trainmaster.catalog.tables import dataset_copies, training_datasets
from trainmaster.migration.batches import batches
from trainmaster.migration.copying import copy_batch, limits_of
from trainmaster.migration.request import MigrateDatasetsRequest, VerifyCopiesRequest
from trainmaster.migration.result import BatchResult
from trainmaster.storage.library import Library, dataset_path, dropped_path
from trainmaster.storage.store import ObjectStore, StorageProvider
from trainmaster.storage.uploading import upload

BY = "a test"


def in_both(shelves: Shelves, *lines: str, first: StorageProvider = SUPABASE, **choices: Any) -> Dataset:
    """One with a copy in Supabase and one in S3; readers get the first."""
    second = S3 if first is SUPABASE else SUPABASE
    new = shelves.sound(shelves.request(lines or chats(marker=uuid4().hex), **choices))
    upload(shelves.library, new, [first, second])
    return now(shelves, new.id)


def now(shelves: Shelves, dataset_id: UUID) -> Dataset:
    """A dataset as it is catalogued."""
    row = shelves.catalogue.datasets.get(dataset_id, shelves.user_id)
    assert row
    return row


def candidate(shelves: Shelves, dataset_id: UUID) -> Candidate:
    [found] = shelves.catalogue.migrations.candidates(Selection(dataset_ids=[dataset_id]))
    return found


def copy_of(dataset: Dataset, provider: StorageProvider) -> Copy:
    copy = dataset.copy_at(provider)
    assert copy
    return copy


def request(shelves: Shelves, phase: str, **choices: Any) -> MigrateDatasetsRequest:
    """For the datasets of this user."""
    return MigrateDatasetsRequest.model_validate({"phase": phase, "user_id": str(shelves.user_id), **choices})


def verification(shelves: Shelves, **choices: Any) -> VerifyCopiesRequest:
    return VerifyCopiesRequest.model_validate({"user_id": str(shelves.user_id), **choices})


def content(shelves: Shelves, copy: Copy) -> bytes:
    with shelves.store(StorageProvider(copy.provider)).get(copy.path) as chunks:
        return b"".join(chunks)


def rot(shelves: Shelves, copy: Copy) -> None:
    """One bit of an object in S3 turns; its name and size stay, as does whatever was recorded beside it."""
    before = content(shelves, copy)
    middle = len(before) // 2
    put_in_s3(shelves, copy, before[:middle] + bytes([before[middle] ^ 1]) + before[middle + 1 :])


def put_in_s3(shelves: Shelves, copy: Copy, body: bytes) -> None:
    shelves.s3.put_object(Bucket=copy.bucket, Key=copy.path, Body=body, Metadata={"sha256": copy.sha256})


def put_in_supabase(shelves: Shelves, path: str, body: bytes, **recorded: str) -> None:
    """As the application does, which replaces what is there, and records beside it what it likes."""
    key = shelves.settings.supabase_service_role_key
    assert key
    httpx.post(
        f"{shelves.settings.supabase_url}/storage/v1/object/training-datasets/{path}",
        content=body,
        headers={
            "Authorization": f"Bearer {key.get_secret_value()}",
            "x-upsert": "true",
            "x-metadata": base64.b64encode(json.dumps(recorded).encode()).decode(),
        },
    ).raise_for_status()


def dropped_of(shelves: Shelves, copy: Copy) -> bytes:
    """What lies beside a copy."""
    with shelves.store(StorageProvider(copy.provider)).get(dropped_path(copy.path)) as chunks:
        return b"".join(chunks)


def tag_of(shelves: Shelves, copy: Copy) -> str:
    """Which version lies there now."""
    return shelves.library.stores.source(StorageProvider(copy.provider), copy.bucket).look(copy.path).tag


def noise(megabytes: int) -> list[str]:
    """Lines of a sound file that no packing makes smaller than that."""
    random = Random(7)  # noqa: S311 - bytes to fill a file
    return [chats(1, random.randbytes(50_000).hex())[0] for _ in range(megabytes * 20)]


def packed(*lines: str) -> bytes:
    return gzip.compress("".join(f"{line}\n" for line in lines).encode(), mtime=0)


def promoted(shelves: Shelves, *lines: str, days_ago: float = 31, **choices: Any) -> Dataset:
    """In both, readers sent to S3 so many days ago, and nothing verified since."""
    dataset = in_both(shelves, *lines, **choices)
    then = dataset.created_at - timedelta(days=days_ago)
    copies, rows = dataset_copies, training_datasets
    with shelves.catalogue.database.writing() as connection:
        connection.execute(update(copies).where(copies.c.dataset_id == dataset.id).values(verified_at=then))
        names_s3 = {"storage_provider": S3, "storage_path": copy_of(dataset, S3).path}
        connection.execute(update(rows).where(rows.c.id == dataset.id).values(created_at=then, **names_s3))
        note(connection, [Move(dataset.id, "promote", then, "an earlier test")])
    return now(shelves, dataset.id)


def set_copy(shelves: Shelves, dataset_id: UUID, provider: StorageProvider, **values: Any) -> None:
    """What the catalogue says of a copy."""
    of = (dataset_copies.c.dataset_id == dataset_id, dataset_copies.c.provider == provider)
    with shelves.catalogue.database.writing() as connection:
        assert connection.execute(update(dataset_copies).where(*of).values(values)).rowcount == 1


def copy_all(shelves: Shelves, **choices: Any) -> Sequence[BatchResult]:
    """What the phase copy does for this user."""
    asked = request(shelves, "copy", **choices)
    return [copy_batch(shelves.library, batch, limits_of(asked), by=BY) for batch in batches(shelves.library, asked)]


def applications_own(shelves: Shelves, body: bytes) -> Dataset:
    """One the application stored itself: its row, its object, and nothing recorded of what is in it."""
    id_, moment = uuid4(), datetime.now(UTC)
    path = dataset_path(SUPABASE, shelves.user_id, id_)
    put_in_supabase(shelves, path, body)
    dataset = Dataset(id_, shelves.user_id, "theirs", "chatml", "supabase", path, moment, moment)
    insert_as_the_application(shelves.catalogue, dataset)
    return dataset


def with_calls(shelves: Shelves, **instead: Callable[..., Any]) -> Library:
    """A library of whose stores these calls go elsewhere, `look` and `read` when S3 is read: each is given the real one first."""

    def wrapped(real: Any, *names: str) -> Any:
        calls = {name: _bound(call, real) for name, call in instead.items() if name in names}
        return SimpleNamespace(**{name: getattr(real, name) for name in names} | calls)

    def store(real: ObjectStore) -> Any:
        return wrapped(real, "provider", "bucket", "put", "get", "stat", "delete", "sign")

    def source(provider: StorageProvider, bucket: str) -> Any:
        reading = real.source(provider, bucket)
        return wrapped(reading, "name", "look", "read") if provider is S3 else reading

    real = shelves.library.stores
    stores: Any = SimpleNamespace(
        home=lambda provider, user_id: store(real.home(provider, user_id)),
        at=lambda provider, bucket: store(real.at(provider, bucket)),
        source=source,
    )
    return replace(shelves.library, stores=stores)


def _bound(call: Callable[..., Any], real: Any) -> Callable[..., Any]:
    return lambda *args, **kwargs: call(real, *args, **kwargs)
