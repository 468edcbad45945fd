"""Datasets out of the catalogue and the stores; and whatever deaths half-way left behind."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from trainmaster.catalog.pending import PendingObject
from trainmaster.errors import DatasetMissingError, LeaseLostError, TrainmasterError, UploadUnderWayError
from trainmaster.storage.library import Library, new_holder
from trainmaster.storage.store import StorageProvider

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Removed:
    """The objects that were removed, and for those that could not be: where each is, and why."""

    objects: Sequence[str]
    left: Sequence[str]


def delete_dataset(library: Library, dataset_id: UUID, user_id: UUID) -> Removed:
    """Take a dataset out of the catalogue, then remove its objects; what cannot be removed now, a later sweep removes.

    Raises DatasetMissingError when this user has no such dataset, any more or at all.
    """
    datasets = library.catalogue.datasets
    dataset = datasets.get(dataset_id, user_id)
    if dataset is None:
        raise DatasetMissingError(f"There is no dataset {dataset_id} of user {user_id}.")
    provider = StorageProvider(dataset.storage_provider)
    unrecorded = dataset.copy_at(provider) is None
    buckets = {provider.value: library.stores.home(provider, user_id).bucket} if unrecorded else {}
    claims = datasets.delete(dataset_id, user_id, holder=new_holder(), lease=library.lease, buckets=buckets)
    return _remove(library, claims)


def sweep(library: Library, limit: int = 100, *, sparing: UUID | None = None) -> Removed:
    """Remove objects that no row vouches for and nobody works on any more, of all users, the longest abandoned first.

    What a migration left in S3 stays for two days, so that the next one goes on with it (`PendingObjects.expired`). Those of
    the dataset `sparing` are left to who is about to upload it: they may be whole.
    """
    holder, claims = new_holder(), list[PendingObject]()
    pending = library.catalogue.pending
    for found in pending.expired(limit):
        if found.dataset_id == sparing:
            continue
        try:
            claim = pending.claim(
                provider=found.provider,
                bucket=found.bucket,
                path=found.path,
                dataset_id=found.dataset_id,
                user_id=found.user_id,
                holder=holder,
                lease=library.lease,
            )
        except UploadUnderWayError:
            continue  # somebody took it up again a moment ago
        claims += [claim] if claim else []
    return _remove(library, claims)


def _remove(library: Library, claims: Sequence[PendingObject]) -> Removed:
    objects, left = list[str](), list[str]()
    for claim in claims:
        try:
            if library.remove(claim):
                objects.append(claim.uri)
        except LeaseLostError as error:
            _log.warning("%s is in other hands: %s", claim.uri, error)
        except TrainmasterError as error:
            _log.warning("%s is left for a later sweep: %s", claim.uri, error)
            left.append(f"{claim.uri}: {error}")
    return Removed(objects, left)
