"""The datasets a migration's soak moves: rows as the application writes them, and their bytes in Supabase."""

from __future__ import annotations

import gzip
import hashlib
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

import httpx
from sqlalchemy import insert

from trainmaster.catalog.catalogue import Catalogue
from trainmaster.catalog.tables import training_datasets
from trainmaster.storage.library import dataset_path
from trainmaster.storage.store import StorageProvider
from trainmaster.storage.stores import SUPABASE_BUCKET

PART = 5 << 20
"""Bytes of a part of a multipart upload: the least S3 takes."""
SMALL, MIDDLE, LARGE = (800, 60_000), (200_000, 1_500_000), (2 * PART + 1, 3 * PART - 1)
ONE_LARGE_IN, ONE_MIDDLE_IN = 100, 25


@dataclass(frozen=True)
class Crate:
    """A dataset to be moved, and what its bytes are."""

    id: UUID
    user_id: UUID
    size: int
    sha256: str

    @property
    def at_source(self) -> str:
        return dataset_path(StorageProvider.SUPABASE, self.user_id, self.id)

    @property
    def at_destination(self) -> str:
        return dataset_path(StorageProvider.S3, self.user_id, self.id)


def load(
    catalogue: Catalogue, environment: Mapping[str, str], users: Sequence[UUID], count: int, seed: int
) -> list[Crate]:
    """As many datasets as wanted, some of three parts, the bytes of each its own."""
    made = datetime.now(UTC) - timedelta(days=1)
    crates = []
    with _supabase(environment) as supabase:
        for crate, data in _packed(users, count, seed):
            headers = {"Content-Type": "application/gzip"}
            supabase.post(crate.at_source, content=data, headers=headers).raise_for_status()
            crates.append(crate)
    rows = [
        {
            "id": crate.id,
            "user_id": crate.user_id,
            "name": f"dataset {number}",
            "format": "jsonl",
            "storage_provider": "supabase",
            "storage_path": crate.at_source,
            "file_size_bytes": crate.size,
            "created_at": made,
            "updated_at": made,
        }
        for number, crate in enumerate(crates)
    ]
    with catalogue.database.writing() as connection:
        connection.execute(insert(training_datasets), rows)
    return crates


def _packed(users: Sequence[UUID], count: int, seed: int) -> Iterator[tuple[Crate, bytes]]:
    dice = random.Random(f"{seed}/cargo")  # noqa: S311 - repeatable
    for number in range(count):
        data = gzip.compress(dice.randbytes(dice.randint(*_sizes(number))), 0, mtime=0)
        id_ = UUID(int=dice.getrandbits(128), version=4)
        yield Crate(id_, dice.choice(users), len(data), hashlib.sha256(data).hexdigest()), data


def _sizes(number: int) -> tuple[int, int]:
    if number % ONE_LARGE_IN == ONE_LARGE_IN // 2:
        return LARGE
    return MIDDLE if number % ONE_MIDDLE_IN == ONE_MIDDLE_IN // 2 else SMALL


def _supabase(environment: Mapping[str, str]) -> httpx.Client:
    key = environment["SUPABASE_SERVICE_ROLE_KEY"]
    base = f"{environment['SUPABASE_URL']}/storage/v1/object/{SUPABASE_BUCKET}/"
    return httpx.Client(base_url=base, headers={"Authorization": f"Bearer {key}", "apikey": key}, timeout=120)
