"""The datasets of all users as one thing to pass on: rows in the catalogue, objects in stores, and what holds the two together.

An object is catalogued, or claimed (pending), or not there. A claim on a dataset's object covers the dropped examples beside it:
whoever removes the object removes them too, first, so that they are never there alone.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, cast
from uuid import UUID, uuid4

from trainmaster.catalog.catalogue import Catalogue, open_catalogue
from trainmaster.catalog.pending import PendingObject
from trainmaster.errors import CatalogueUnavailableError, LeaseLostError, ObjectChangedError, ObjectMissingError
from trainmaster.settings import Settings
from trainmaster.storage.ends.protocols import same_tag
from trainmaster.storage.store import ObjectStore, StorageProvider
from trainmaster.storage.stores import Stores

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from trainmaster.storage.s3 import S3Store

LEASE = timedelta(minutes=2)
"""How long after its uploader's last sign of life an object may be removed, or taken over by the next try."""
SUFFIX, DROPPED_SUFFIX = ".jsonl.gz", ".dropped.jsonl.gz"

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Library:
    """Where datasets are kept. `lease` is how long a claim holds without renewal."""

    catalogue: Catalogue
    stores: Stores
    lease: timedelta = LEASE

    def store_of(self, claim: PendingObject) -> ObjectStore:
        return self.stores.at(StorageProvider(claim.provider), claim.bucket)

    @contextmanager
    def renewing(self, claim: PendingObject) -> Iterator[None]:
        """Keep a claim for as long as the block runs, however long that is."""
        done = threading.Event()
        renewal = threading.Thread(target=self._renew, args=(claim, done), name="renew-claim", daemon=True)
        renewal.start()
        try:
            yield
        finally:
            done.set()
            renewal.join()

    def remove(self, claim: PendingObject) -> bool:
        """Remove a claimed object with what is beside it, and give the claim up; True when something was there.

        Raises LeaseLostError when somebody else has taken the claim over: what becomes of the object is up to them; and
        ObjectChangedError, the claim given up, when it is written down which version is to go and that is gone.
        """
        store, removed = self.store_of(claim), False
        if self._was_replaced(claim):
            self.catalogue.pending.release(claim)
            raise ObjectChangedError(f"{claim.uri} was replaced since it was to be removed, so it is left alone.")
        with self.renewing(claim):
            if claim.upload_id and claim.provider == StorageProvider.S3:
                cast("S3Store", store).abort(claim.path, claim.upload_id)
            for path in (dropped_path(claim.path), claim.path):
                # At the last moment: who slept through his lease must not remove what another has put there since.
                claim = self.catalogue.pending.renew(claim, self.lease)
                removed |= store.delete(path)
        self.catalogue.pending.release(claim)
        return removed

    def _was_replaced(self, claim: PendingObject) -> bool:
        if claim.provider != StorageProvider.SUPABASE or claim.source_version is None:
            return False
        try:
            found = self.stores.source(StorageProvider.SUPABASE, claim.bucket).look(claim.path)
        except ObjectMissingError:
            return False
        return not same_tag(found.tag, claim.source_version)

    def _renew(self, claim: PendingObject, done: threading.Event) -> None:
        while not done.wait(self.lease.total_seconds() / 4):
            try:
                self.catalogue.pending.renew(claim, self.lease)
            except LeaseLostError:
                return  # whoever settles the claim is told
            except CatalogueUnavailableError as error:
                _log.warning("A claim could not be renewed: %s", error)


@contextmanager
def open_library(settings: Settings, s3_client: Callable[[], S3Client] | None = None) -> Iterator[Library]:
    """The library as it is configured; its stores are looked for when they are wanted. Raises NotConfiguredError."""
    catalogue = open_catalogue(settings.catalogue_url, settings.state_dir)
    try:
        yield Library(catalogue, Stores(settings, s3_client))
    finally:
        catalogue.close()


def dataset_path(provider: StorageProvider, user_id: UUID, dataset_id: UUID) -> str:
    """Where a dataset's bytes lie in the bucket of a provider, as the application that shares the tables has it."""
    folder = "private" if provider is StorageProvider.SUPABASE else "datasets"
    return f"{user_id}/{folder}/{dataset_id}{SUFFIX}"


def dropped_path(path: str) -> str:
    """Where the examples that were dropped from a dataset lie: beside it."""
    return path.removesuffix(SUFFIX) + DROPPED_SUFFIX


def new_holder() -> str:
    """The name of one attempt, as nobody else has; people see from it where the attempt runs."""
    return f"{socket.gethostname()}:{os.getpid()}:{uuid4().hex[:12]}"
