"""A dataset on its way from Supabase to S3, and what is written down about it while the engine moves its bytes."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from trainmaster.catalog.candidates import Candidate
from trainmaster.catalog.datasets import Copy
from trainmaster.catalog.pending import PendingObject
from trainmaster.catalog.settling import Settled
from trainmaster.errors import CatalogueUnavailableError
from trainmaster.storage.copy import BegunUpload, Copied, Transfer
from trainmaster.storage.library import Library, dropped_path
from trainmaster.storage.store import StorageProvider
from trainmaster.storage.stores import SUPABASE_BUCKET

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Errand:
    """One dataset whose object in S3 is claimed. `dropped` is whether examples that were dropped from it may lie beside it."""

    candidate: Candidate
    claim: PendingObject
    dropped: bool
    tried_before: bool

    @property
    def ends(self) -> tuple[str, str]:
        """The bucket in Supabase and the one in S3."""
        copy = self.candidate.supabase
        return (copy.bucket if copy else SUPABASE_BUCKET), self.claim.bucket

    @property
    def path(self) -> str:
        """Where it is in Supabase."""
        copy = self.candidate.supabase
        return copy.path if copy else self.candidate.storage_path

    def transfer(self) -> Transfer:
        """Of the dataset itself."""
        claim, copy = self.claim, self.candidate.supabase
        upload = None
        if claim.upload_id and claim.part_size and claim.source_version:
            upload = BegunUpload(claim.upload_id, claim.part_size, claim.source_version)
        return Transfer(
            key=self,
            source=self.path,
            destination=claim.path,
            size=self.candidate.size_bytes,
            sha256=copy.sha256 if copy else None,
            must_be_gzip=copy is None,
            upload=upload,
            tried_before=self.tried_before,
        )

    def transfer_of_dropped(self) -> Transfer:
        """Of what was dropped from it."""
        to = dropped_path(self.claim.path)
        return Transfer(key=self, source=dropped_path(self.path), destination=to, tried_before=self.tried_before)

    def settled(self, copied: Copied, by: str) -> Settled:
        """What the catalogue is to keep: the new copy; and of Supabase's what was not known of it, where that was seen."""
        now = datetime.now(UTC)
        in_s3 = Copy(
            provider=StorageProvider.S3,
            bucket=self.claim.bucket,
            path=self.claim.path,
            size_bytes=copied.size,
            sha256=copied.sha256,
            verified_at=now,
            verified_by=by,
            version=copied.version,
        )
        known = self.candidate.supabase
        if not copied.source_version or (known and known.version == copied.source_version):
            return Settled(self.claim, [in_s3], self.candidate)
        at_source = replace(
            in_s3,
            provider=StorageProvider.SUPABASE,
            bucket=self.ends[0],
            path=self.path,
            version=copied.source_version,
        )
        return Settled(self.claim, [in_s3, at_source], self.candidate)


class ClaimsOfErrands:
    """The engine's journal: an upload is known in the catalogue before its first part is sent."""

    def __init__(self, library: Library) -> None:
        self._library = library

    def begun(self, transfer: Transfer, upload: BegunUpload) -> None:
        """Raises LeaseLostError when somebody else has the claim. Of dropped examples nothing is kept: they are few."""
        claim = transfer.key.claim
        if transfer.destination == claim.path:
            self._library.catalogue.migrations.begun(
                claim,
                upload_id=upload.upload_id,
                part_size=upload.part_size,
                source_version=upload.source_version,
            )

    def require_ours(self, transfer: Transfer) -> None:
        """Raises LeaseLostError when somebody else has the claim."""
        self._library.catalogue.pending.renew(transfer.key.claim, self._library.lease)


@contextmanager
def renewing(library: Library, holder: str) -> Iterator[None]:
    """Keep all claims of a holder for as long as the block runs, however long that is."""
    done = threading.Event()
    renewal = threading.Thread(target=_renew, args=(library, holder, done), name="renew-claims", daemon=True)
    renewal.start()
    try:
        yield
    finally:
        done.set()
        renewal.join()


def _renew(library: Library, holder: str, done: threading.Event) -> None:
    while not done.wait(library.lease.total_seconds() / 4):
        try:
            library.catalogue.migrations.renew(holder, library.lease)
        except CatalogueUnavailableError as error:
            _log.warning("The claims of a batch could not be renewed: %s", error)
