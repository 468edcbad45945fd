"""Supabase Storage out of order while its database answers: nothing is given up for that, and the next run copies all."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from catalogues import insert_as_the_application
from library_shelves import SUPABASE, Shelves
from storage_between import DOWNLOAD, StorageBetween, answering

from trainmaster.catalog.candidates import Selection
from trainmaster.catalog.datasets import Dataset
from trainmaster.migration.batches import Batch, Named
from trainmaster.migration.copying import copy_batch
from trainmaster.migration.result import BatchResult
from trainmaster.storage.copy import CopyLimits
from trainmaster.storage.library import dataset_path

LIMITS = CopyLimits(tries=6, pause_seconds=0.001)
INTERNAL = answering(500, {"statusCode": "500", "error": "Internal", "message": "Internal Server Error"})


@pytest.fixture
def shelves(embedded: Any, between: StorageBetween, tmp_path: Path) -> Iterator[Shelves]:
    ours = {"SUPABASE_URL": between.url, "SUPABASE_SERVICE_ROLE_KEY": between.keys.service_role_key}
    shelves = Shelves({**embedded.environment, **ours}, tmp_path)
    yield shelves
    shelves.catalogue.close()


@pytest.fixture
def datasets(shelves: Shelves, between: StorageBetween) -> list[Dataset]:
    return [dataset_of(shelves, between) for _ in range(15)]


def dataset_of(shelves: Shelves, between: StorageBetween) -> Dataset:
    """One the application stored itself."""
    id_, now = uuid4(), datetime.now(UTC)
    path = dataset_path(SUPABASE, shelves.user_id, id_)
    between.overwrite(path, gzip.compress(id_.bytes))
    dataset = Dataset(id_, shelves.user_id, "theirs", "chatml", "supabase", path, now, now)
    insert_as_the_application(shelves.catalogue, dataset)
    return dataset


def copied(shelves: Shelves, datasets: list[Dataset]) -> BatchResult:
    batch = Batch(1, tuple(Named(one.id, "x") for one in datasets), 0)
    return copy_batch(shelves.library, batch, LIMITS, by="a test")


def test_no_dataset_is_given_up_for_an_outage_however_many_runs_it_lasts(
    shelves: Shelves, between: StorageBetween, datasets: list[Dataset]
) -> None:
    between.befall("GET", DOWNLOAD, INTERNAL, 100_000)
    for _ in range(4):
        result = copied(shelves, datasets)
        assert "in a row" in result.ended_early
        assert {one.kind for one in result.failures} <= {"source_unavailable"}
    between.calm()
    seen = shelves.catalogue.migrations.candidates(Selection(dataset_ids=[one.id for one in datasets]))
    assert not any(one.given_up for one in seen)
    assert copied(shelves, datasets).copied == 15


def test_rows_without_bytes_are_told_from_the_sound_ones_among_which_they_are(
    shelves: Shelves, between: StorageBetween, datasets: list[Dataset]
) -> None:
    lost = datasets[4:7]
    for one in lost:
        between.befall("GET", f"{DOWNLOAD}training-datasets/{one.storage_path}$", INTERNAL, 100_000)
    result = copied(shelves, datasets)
    assert (result.copied, result.ended_early) == (12, "")
    assert {one.dataset_id: one.kind for one in result.failures} == {one.id: "source_missing" for one in lost}
