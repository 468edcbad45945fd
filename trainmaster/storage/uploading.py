"""Checked datasets into stores and catalogue: exactly once, and nothing half-way.

Each copy takes three steps: the object is claimed, put and verified, and catalogued in the transaction that settles the claim.
Whoever dies in between leaves a claim that runs out, and `sweep` removes what lies under it. The id follows from the content, so
the same upload again goes on where the last one ended.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid5

from trainmaster.catalog.datasets import Copy, Dataset
from trainmaster.catalog.pending import PendingObject
from trainmaster.datasets.report import DatasetReport, Written
from trainmaster.datasets.request import StoredCopy, UploadedDataset
from trainmaster.datasets.showing.machine import as_json
from trainmaster.errors import (
    CatalogueUnavailableError,
    LeaseLostError,
    TrainmasterError,
    UploadUnderWayError,
)
from trainmaster.storage.library import Library, dataset_path, dropped_path, new_holder
from trainmaster.storage.store import ObjectStore, StorageProvider

CONTENT_TYPE = "application/gzip"
_NAMESPACE = UUID("5d0f7f5e-6a0b-4c39-9f0a-3c1c8f6f2a51")
_KEPT = (
    "container", "detection", "bad_examples", "problem_counts", "note_counts", "statistics", "normalised", "dropped"
)  # fmt: skip
_START_ANEW = (UploadUnderWayError, LeaseLostError, CatalogueUnavailableError)
"""Another copy would help none of these; the same upload a little later does."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class NewDataset:
    """A dataset that was found sound, and the files of it that are to be stored."""

    user_id: UUID
    name: str
    description: str
    source_uri: str
    report: DatasetReport
    normalised: Path
    dropped: Path | None = None

    @property
    def id(self) -> UUID:
        """The same for the same user, name, format and content. What was dropped from it is content: it is kept as well."""
        parts = [self.user_id, self.name, self.written.sha256, self.report.detection.format]
        if self.report.dropped:
            parts.append(self.report.dropped.sha256)
        return uuid5(_NAMESPACE, json.dumps([str(part) for part in parts]))

    @property
    def written(self) -> Written:
        if self.report.normalised is None:
            raise ValueError(f"{self.report.name} was refused; there is nothing to store")
        return self.report.normalised

    def catalogued(self, copy: Copy) -> Dataset:
        """The catalogue's row, with its first copy."""
        now, statistics = datetime.now(UTC), self.report.statistics
        return Dataset(
            id=self.id,
            user_id=self.user_id,
            name=self.name,
            description=self.description or None,
            format=self.report.detection.format,
            storage_provider=copy.provider,
            storage_path=copy.path,
            created_at=now,
            updated_at=now,
            file_size_bytes=self.written.size,
            total_examples=statistics.total_examples,
            avg_input_length=statistics.avg_input_length,
            avg_output_length=statistics.avg_output_length,
            metadata=self._metadata(),
            copies=[copy],
        )

    def _metadata(self) -> Mapping[str, Any]:
        """The report's figures, without the problems themselves: those quote the user's text."""
        report = as_json(self.report)
        kept = {name: report[name] for name in _KEPT}
        return {**kept, "source": {**report["source"], "uri": self.source_uri}}


def upload(library: Library, new: NewDataset, providers: Sequence[StorageProvider]) -> UploadedDataset:
    """Store and catalogue a dataset at each provider in turn; what is there already is left alone and moves no byte.

    Readers get the copy of the first provider that worked when the dataset was new. One that fails while another has the bytes
    is a warning of the result; when none has, its error is raised. UploadUnderWayError, LeaseLostError,
    CatalogueUnavailableError, StorageUnavailableError: the same upload may work later.
    """
    found = library.catalogue.datasets.get(new.id, new.user_id)
    dataset, sent, failures = found, set[StorageProvider](), dict[StorageProvider, TrainmasterError]()
    for provider in providers:
        try:
            dataset, was_sent = _ensure_copy(library, new, dataset, provider)
        except _START_ANEW:
            raise
        except TrainmasterError as error:
            _log.warning("Dataset %s: no copy in %s. %s", new.id, provider, error)
            failures[provider] = error
        else:
            sent |= {provider} if was_sent else set()
    if dataset is None or len(failures) == len(providers):
        raise next(iter(failures.values()))
    warnings = [_missing_copy(provider, error) for provider, error in failures.items()]
    return uploaded(dataset, sent=sent, found=found is not None, warnings=[*warnings, *_left_as_it_was(dataset, new)])


def uploaded(dataset: Dataset, *, sent: set[StorageProvider], found: bool, warnings: Sequence[str]) -> UploadedDataset:
    """What is said of a catalogued dataset."""
    about = dataset.metadata or {}
    return UploadedDataset(
        dataset_id=str(dataset.id),
        name=dataset.name,
        format=dataset.format,
        storage_provider=dataset.storage_provider,
        copies=[
            StoredCopy(provider=copy.provider, uri=copy.uri, sent=copy.provider in sent)
            for copy in sorted(dataset.copies, key=lambda copy: copy.provider != dataset.storage_provider)
        ],
        examples=dataset.total_examples or 0,
        dropped_examples=(about.get("dropped") or {}).get("examples", 0),
        size=dataset.file_size_bytes or 0,
        sha256=(about.get("normalised") or {}).get("sha256", ""),
        found=found,
        warnings=list(warnings),
    )


@dataclass(frozen=True)
class _Attempt:
    """One try, under a name of its own, to have the bytes of a dataset in one store."""

    library: Library
    store: ObjectStore
    path: str
    new: NewDataset
    holder: str

    def claim(self) -> PendingObject | None:
        """None when the catalogue vouches for the object."""
        return self.library.catalogue.pending.claim(
            provider=self.store.provider,
            bucket=self.store.bucket,
            path=self.path,
            dataset_id=self.new.id,
            user_id=self.new.user_id,
            holder=self.holder,
            lease=self.library.lease,
        )

    def put(self, claim: PendingObject | None) -> bool:
        """True when the dataset itself was sent. What was dropped goes first: a dataset never lacks it."""
        with self.library.renewing(claim) if claim else nullcontext():
            if self.new.dropped and self.new.report.dropped:
                self._put_file(self.new.dropped, self.new.report.dropped, dropped_path(self.path))
            return self._put_file(self.new.normalised, self.new.written, self.path)

    def catalogue(self, dataset: Dataset | None, claim: PendingObject | None) -> Dataset:
        """Vouch for what was put, and settle the claim on it."""
        datasets, written = self.library.catalogue.datasets, self.new.written
        copy = Copy(
            provider=self.store.provider,
            bucket=self.store.bucket,
            path=self.path,
            size_bytes=written.size,
            sha256=written.sha256,
            verified_at=datetime.now(UTC),
            verified_by=f"trainmaster upload {self.holder}",
        )
        if dataset is None:
            dataset = datasets.insert(self.new.catalogued(copy), claims=[claim] if claim else [])
            if dataset.copy_at(copy.provider):
                return dataset  # else another run, with another provider, was faster
        return datasets.add_copy(self.new.id, self.new.user_id, copy, claim=claim)

    def take_back(self) -> None:
        """Remove what was put, unless somebody else has it by now; what cannot be removed is left to the sweep."""
        try:
            if claim := self.claim():
                self.library.remove(claim)
        except TrainmasterError as error:
            _log.warning(
                "What an upload left in %s is removed when its claim has run out: %s", self.store.provider, error
            )

    def _put_file(self, file: Path, written: Written, path: str) -> bool:
        with file.open("rb") as body:
            return self.store.put(path, body, size=written.size, sha256=written.sha256, content_type=CONTENT_TYPE)


def _ensure_copy(
    library: Library, new: NewDataset, dataset: Dataset | None, provider: StorageProvider
) -> tuple[Dataset, bool]:
    """The dataset with a copy at the provider, and whether that was sent just now."""
    there = dataset.copy_at(provider) if dataset else None
    store = library.stores.at(provider, there.bucket) if there else library.stores.home(provider, new.user_id)
    path = there.path if there else dataset_path(provider, new.user_id, new.id)
    attempt = _Attempt(library, store, path, new, new_holder())
    claim = attempt.claim()
    try:
        if claim is None:
            dataset = library.catalogue.datasets.get(new.id, new.user_id)
            if dataset and store.stat(path):
                return dataset, False
        sent = attempt.put(claim)  # without a claim: what was lost of a catalogued dataset is put back
        return attempt.catalogue(dataset, claim), sent
    except BaseException:
        attempt.take_back()
        raise


def _missing_copy(provider: StorageProvider, error: TrainmasterError) -> str:
    return f"There is no copy in {provider}: {error} Run the same upload again to add it; nothing else is sent again."


def _left_as_it_was(dataset: Dataset, new: NewDataset) -> list[str]:
    if (dataset.description or "") == new.description:
        return []
    return [f"It was catalogued before as {dataset.description or ''!r}; that description was left as it is."]
