"""Batches of datasets on their way from Supabase to S3, as far as the catalogue is concerned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

from catalogues import LEASE, copy_of, insert_as_the_application, new_dataset

from trainmaster.catalog.candidates import Candidate, Selection
from trainmaster.catalog.catalogue import Catalogue
from trainmaster.catalog.claiming import Claims, Wanted
from trainmaster.catalog.datasets import Dataset
from trainmaster.catalog.pending import PendingObject
from trainmaster.catalog.settling import Settled


def in_supabase(catalogue: Catalogue, user: UUID, count: int = 1) -> Sequence[Candidate]:
    """Datasets of a user, stored there by us, by id."""
    made = [catalogue.datasets.insert(new_dataset(user)).id for _ in range(count)]
    return seen(catalogue, *made)


def of_the_application(catalogue: Catalogue, user: UUID, **changed: Any) -> Candidate:
    """One that it stored itself: no copy is recorded."""
    dataset: Dataset = replace(new_dataset(user), copies=(), **changed)
    insert_as_the_application(catalogue, dataset)
    return seen(catalogue, dataset.id)[0]


def in_both(catalogue: Catalogue, user: UUID, count: int = 1) -> Sequence[Candidate]:
    """Datasets that were copied to S3, by id; readers are sent to Supabase still."""
    found = in_supabase(catalogue, user, count)
    catalogue.migrations.copied(copies(claimed(catalogue, found).held, found), by="a test")
    return seen(catalogue, *(one.id for one in found))


def promoted(catalogue: Catalogue, user: UUID, count: int = 1) -> Sequence[Candidate]:
    """Datasets in both, of which readers get the copy in S3, by id."""
    found = in_both(catalogue, user, count)
    catalogue.migrations.promote(found, by="a test")
    return seen(catalogue, *(one.id for one in found))


def seen(catalogue: Catalogue, *dataset_ids: UUID) -> Sequence[Candidate]:
    """These as they are now, by id."""
    return catalogue.migrations.candidates(Selection(dataset_ids=dataset_ids))


def to_s3(candidates: Sequence[Candidate]) -> Sequence[Wanted]:
    """The objects they are to be copied to."""
    return [(one, "s3", "user-bucket", f"{one.user_id}/datasets/{one.id}.jsonl.gz") for one in candidates]


def claimed(
    catalogue: Catalogue, candidates: Sequence[Candidate], holder: str = "mine", lease: timedelta = LEASE
) -> Claims:
    return catalogue.migrations.claim(to_s3(candidates), holder=holder, lease=lease)


def copies(held: Sequence[PendingObject], candidates: Sequence[Candidate]) -> Sequence[Settled]:
    """As if they had been copied; Supabase's copy with them where it was unknown."""
    by_id = {one.id: one for one in candidates}
    return [settled(claim, by_id[claim.dataset_id]) for claim in held]


def settled(claim: PendingObject, candidate: Candidate, **changed: Any) -> Settled:
    """A claim on an object in S3 that has the dataset's bytes by now; `changed` is what its copy has else."""
    new = copy_of(
        candidate.id, candidate.user_id, "s3", bucket=claim.bucket, path=claim.path, version="etag-1", **changed
    )
    if candidate.supabase:
        return Settled(claim, [new], candidate)
    theirs = copy_of(candidate.id, candidate.user_id, path=candidate.storage_path, version="v1")
    return Settled(claim, [new, theirs], candidate)
