"""Supabase's newer bytes made a dataset's own, in one transaction that races with nothing."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from catalogues import LEASE, copy_of, new_dataset

from trainmaster.catalog.candidates import Candidate, Selection
from trainmaster.catalog.catalogue import Catalogue
from trainmaster.catalog.datasets import REPORTED, Copy, Dataset
from trainmaster.catalog.retaking import retake


def seen(catalogue: Catalogue, dataset: Dataset) -> Candidate:
    [found] = catalogue.migrations.candidates(Selection(dataset_ids=[dataset.id]))
    return found


def newer(dataset: Dataset) -> Copy:
    return copy_of(dataset.id, dataset.user_id, size_bytes=8, sha256="7" * 64, version="second")


@pytest.mark.parametrize("first", ["supabase", "s3"])
def test_it_is_the_only_copy_and_what_readers_get_and_the_object_in_s3_is_ours_to_remove(
    first: str, catalogue: Catalogue
) -> None:
    dataset = new_dataset(uuid.uuid4(), (first, *({"supabase", "s3"} - {first})))
    catalogue.datasets.insert(dataset)
    found = seen(catalogue, dataset)
    catalogue.migrations.hindered([(dataset.id, "source_changed", "replaced", "copy it again", found.updated_at)])
    [claim] = retake(catalogue.database, found, newer(dataset), holder="mine", lease=LEASE, by="a test") or []
    after = seen(catalogue, dataset)
    assert (after.supabase, after.s3, after.hindrance) == (newer(dataset), None, None)
    assert (after.storage_provider, after.storage_path) == ("supabase", newer(dataset).path)
    assert after.updated_at > found.updated_at
    assert (claim.provider, claim.path, claim.holder) == ("s3", copy_of(dataset.id, dataset.user_id, "s3").path, "mine")
    assert catalogue.pending.renew(claim, LEASE)
    [move] = catalogue.migrations.moves(dataset.id)
    assert (move.phase, move.by) == ("rollback", "a test")


def test_the_row_tells_of_the_newer_bytes_what_is_known_and_nothing_of_the_older_ones(catalogue: Catalogue) -> None:
    reported = {name: {"examples": 3, "sha256": "old"} for name in (*REPORTED, "source")}
    figures = {"file_size_bytes": 9, "total_examples": 3, "avg_input_length": 1.5, "avg_output_length": 2.5}
    dataset = new_dataset(uuid.uuid4(), ("supabase", "s3"), metadata={"role": "train", **reported}, **figures)
    catalogue.datasets.insert(dataset)
    retake(catalogue.database, seen(catalogue, dataset), newer(dataset), holder="mine", lease=LEASE, by="a test")
    after = catalogue.datasets.get(dataset.id, dataset.user_id)
    assert after
    assert after.metadata == {"role": "train", "normalised": {"sha256": "7" * 64, "size": 8}}
    assert [getattr(after, name) for name in figures] == [8, None, None, None]


@pytest.mark.parametrize("metadata", [None, "a note", ["of", "the application"], {}])
def test_metadata_that_anybody_wrote_does_not_keep_it_from_being_retaken(metadata: Any, catalogue: Catalogue) -> None:
    dataset = new_dataset(uuid.uuid4(), ("supabase", "s3"), metadata=metadata)
    catalogue.datasets.insert(dataset)
    assert retake(catalogue.database, seen(catalogue, dataset), newer(dataset), holder="mine", lease=LEASE, by="a test")
    after = catalogue.datasets.get(dataset.id, dataset.user_id)
    assert after
    kept = metadata if isinstance(metadata, str | list) else {"normalised": {"sha256": "7" * 64, "size": 8}}
    assert after.metadata == kept


def test_what_a_crash_leaves_in_s3_is_found_by_the_sweep(catalogue: Catalogue) -> None:
    dataset = new_dataset(uuid.uuid4(), ("supabase", "s3"))
    catalogue.datasets.insert(dataset)
    retake(
        catalogue.database,
        seen(catalogue, dataset),
        newer(dataset),
        holder="mine",
        lease=-timedelta(days=3),
        by="a test",
    )
    assert dataset.id in {each.dataset_id for each in catalogue.pending.expired(1000)}


def promoted(catalogue: Catalogue, dataset: Dataset) -> None:
    catalogue.migrations.promote([seen(catalogue, dataset)], by="other")


def deleted(catalogue: Catalogue, dataset: Dataset) -> None:
    catalogue.datasets.delete(dataset.id, dataset.user_id, holder="other", lease=LEASE, buckets={})


def verified_again(catalogue: Catalogue, dataset: Dataset) -> None:
    copy = copy_of(dataset.id, dataset.user_id, "s3")
    catalogue.datasets.add_copy(dataset.id, dataset.user_id, replace(copy, verified_by="somebody else"))


@pytest.mark.parametrize("meanwhile", [promoted, deleted, verified_again])
def test_nothing_is_changed_where_somebody_else_was_at_it(
    meanwhile: Callable[[Catalogue, Dataset], None], catalogue: Catalogue
) -> None:
    dataset = new_dataset(uuid.uuid4(), ("supabase", "s3"))
    catalogue.datasets.insert(dataset)
    found = seen(catalogue, dataset)
    meanwhile(catalogue, dataset)
    before = catalogue.datasets.get(dataset.id, dataset.user_id)
    assert retake(catalogue.database, found, newer(dataset), holder="mine", lease=LEASE, by="a test") is None
    assert catalogue.datasets.get(dataset.id, dataset.user_id) == before
