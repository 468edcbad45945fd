"""Checked datasets into stores and catalogue: exactly once, nothing half-way, and what went wrong since put again.

Each copy takes three steps: the object is claimed, put and verified, and catalogued in the transaction that settles the claim.
Whoever dies in between leaves a claim that runs out, and `sweep` removes what lies under it. The id follows from the content, so
the same upload again goes on where the last one ended.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypedDict
from uuid import UUID, uuid5

from trainmaster.catalog.datasets import REPORTED, Copy, Dataset
from trainmaster.catalog.hindrances import WRONG_AT
from trainmaster.catalog.pending import PendingObject
from trainmaster.datasets.report import DatasetReport, Written
from trainmaster.datasets.request import StoredCopy, UploadedDataset
from trainmaster.datasets.showing.machine import as_json
from trainmaster.errors import (
    CatalogueUnavailableError,
    LeaseLostError,
    NameConflictError,
    TrainmasterError,
    UploadUnderWayError,
)
from trainmaster.migration.proving import version_at
from trainmaster.storage.library import Library, dataset_path, dropped_path, new_holder
from trainmaster.storage.mending import CONTENT_TYPE, File, is_as_verified, mend
from trainmaster.storage.store import ObjectStore, StorageProvider

__all__ = ["CONTENT_TYPE", "NewDataset", "upload", "uploaded"]
_NAMESPACE = UUID("5d0f7f5e-6a0b-4c39-9f0a-3c1c8f6f2a51")
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
        kept = {name: report[name] for name in REPORTED}
        return {**kept, "source": {**report["source"], "uri": self.source_uri}}


def upload(library: Library, new: NewDataset, providers: Sequence[StorageProvider]) -> UploadedDataset:
    """Store and catalogue a dataset at each provider in turn; what is there, and is what it was, moves no byte.

    Of a dataset that is catalogued every copy is looked at, and put again where it is missing or other, which the result says.
    Readers get the copy of the first provider that worked when the dataset was new. One that fails while another has the bytes
    is a warning of the result; when none has, its error is raised. UploadUnderWayError, LeaseLostError,
    CatalogueUnavailableError, StorageUnavailableError: the same upload may work later. NameConflictError: the dataset was given
    other bytes since.
    """
    found = library.catalogue.datasets.get(new.id, new.user_id)
    dataset, sent, failures = found, set[StorageProvider](), dict[StorageProvider, TrainmasterError]()
    warnings: list[str] = []
    for provider in providers:
        try:
            ensured = _ensure_copy(library, new, dataset, provider)
        except _START_ANEW:
            raise
        except TrainmasterError as error:
            _log.warning("Dataset %s: no copy in %s. %s", new.id, provider, error)
            failures[provider] = error
        else:
            dataset = ensured.dataset
            sent |= {provider} if ensured.sent else set()
            warnings += _put_again(provider, ensured)
    if dataset is None or len(failures) == len(providers):
        raise next(iter(failures.values()))
    warnings += [_missing_copy(provider, error) for provider, error in failures.items()]
    for provider in {StorageProvider(copy.provider) for copy in dataset.copies} - set(providers):
        try:
            ensured = _ensure_copy(library, new, dataset, provider)
        except TrainmasterError as error:
            _log.warning("Dataset %s: its copy in %s may not be sound. %s", new.id, provider, error)
            warnings.append(f"The copy in {provider} may not be sound: {error}")
        else:
            dataset = ensured.dataset
            sent |= {provider} if ensured.sent else set()
            warnings += _put_again(provider, ensured)
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
class _Ensured:
    """A dataset that has a sound copy at a provider: whether it was sent just now, and what was wrong with the one before."""

    dataset: Dataset
    sent: bool = False
    wrong: str = ""


class _Claimed(TypedDict):
    provider: str
    bucket: str
    path: str
    dataset_id: UUID
    user_id: UUID
    holder: str
    lease: timedelta


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
        return self.library.catalogue.pending.claim(**self._claimed())

    def put(self, claim: PendingObject) -> bool:
        """True when the dataset itself was sent."""
        with self.library.renewing(claim):
            return [file.put(self.store) for file in self._files()][-1]

    def may_be_damaged(self, dataset: Dataset) -> bool:
        """Whether what lies there was found wrong: what is recorded beside it is no proof then, catalogued or let go for that."""
        found = self.library.catalogue.migrations.hindrances([dataset.id])
        return found.get(dataset.id) in WRONG_AT[self.store.provider]

    def mend(self) -> _Ensured:
        """Of an object that is there already: looked at, and if it may be another read, and if it is put again."""
        dataset, catalogue = self._catalogued(), self.library.catalogue
        recorded, provider = dataset.copy_at(self.store.provider), self.store.provider
        if recorded and not self.may_be_damaged(dataset) and is_as_verified(self.library, recorded):
            return _Ensured(dataset)
        claim = catalogue.pending.hold(**self._claimed())
        with self.library.renewing(claim):
            if self._catalogued().copy_at(provider) != recorded:
                raise UploadUnderWayError(f"Dataset {dataset.id} was changed at this moment. Try again later.")
            mended = mend(self.library, self.store, recorded or self._copy(), self._files(), claim)
            copy = replace(mended.copy, verified_by=self._by)
        dataset = catalogue.datasets.add_copy(dataset.id, dataset.user_id, copy, claim=claim)
        catalogue.migrations.remedied(dataset.id, provider, mended.since)
        return _Ensured(dataset, sent=bool(mended.wrong), wrong=mended.wrong)

    def catalogue(self, dataset: Dataset | None, claim: PendingObject) -> Dataset:
        """Vouch for what was put, and settle the claim on it."""
        datasets = self.library.catalogue.datasets
        there = version_at(self.library.stores.source(self.store.provider, self.store.bucket), self.path)
        copy = replace(self._copy(), version=there.tag if there else None)
        if dataset is None:
            dataset = datasets.insert(self.new.catalogued(copy), claims=[claim])
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

    @property
    def _by(self) -> str:
        return f"trainmaster upload {self.holder}"

    def _claimed(self) -> _Claimed:
        return {
            "provider": self.store.provider,
            "bucket": self.store.bucket,
            "path": self.path,
            "dataset_id": self.new.id,
            "user_id": self.new.user_id,
            "holder": self.holder,
            "lease": self.library.lease,
        }

    def _catalogued(self) -> Dataset:
        """The dataset as it is now. Raises UploadUnderWayError when it is gone, NameConflictError when it has other bytes."""
        dataset = self.library.catalogue.datasets.get(self.new.id, self.new.user_id)
        if dataset is None:
            raise UploadUnderWayError(f"Dataset {self.new.id} was deleted at this moment. Try again later.")
        for copy in dataset.copies:
            if (copy.sha256, copy.size_bytes) != (self.new.written.sha256, self.new.written.size):
                raise NameConflictError(
                    f"Dataset {dataset.id} ({dataset.name!r}) was given other bytes since it was first uploaded: {copy.uri}"
                    f" has SHA-256 {copy.sha256}, this upload {self.new.written.sha256}. Upload it under another name, or"
                    " delete that dataset first."
                )
        return dataset

    def _files(self) -> Sequence[File]:
        """What was dropped goes first: a dataset never lacks it."""
        files = [File(self.path, self.new.normalised, self.new.written)]
        if self.new.dropped and self.new.report.dropped:
            files.insert(0, File(dropped_path(self.path), self.new.dropped, self.new.report.dropped))
        return files

    def _copy(self) -> Copy:
        place, written = (self.store.provider, self.store.bucket, self.path), self.new.written
        return Copy(*place, written.size, written.sha256, verified_at=datetime.now(UTC), verified_by=self._by)


def _ensure_copy(library: Library, new: NewDataset, dataset: Dataset | None, provider: StorageProvider) -> _Ensured:
    """A sound copy at the provider: there, put, or put again."""
    there = dataset.copy_at(provider) if dataset else None
    store = library.stores.at(provider, there.bucket) if there else library.stores.home(provider, new.user_id)
    path = there.path if there else dataset_path(provider, new.user_id, new.id)
    attempt = _Attempt(library, store, path, new, new_holder())
    claim = attempt.claim()
    try:
        if claim is None or (dataset and attempt.may_be_damaged(dataset)):
            return attempt.mend()
        sent = attempt.put(claim)
        return _Ensured(attempt.catalogue(dataset, claim), sent)
    except BaseException:
        attempt.take_back()
        raise


def _put_again(provider: StorageProvider, ensured: _Ensured) -> list[str]:
    return [f"The copy in {provider} was put again: {ensured.wrong}."] if ensured.wrong else []


def _missing_copy(provider: StorageProvider, error: TrainmasterError) -> str:
    return f"There is no copy in {provider}: {error} Run the same upload again to add it; nothing else is sent again."


def _left_as_it_was(dataset: Dataset, new: NewDataset) -> list[str]:
    if (dataset.description or "") == new.description:
        return []
    return [f"It was catalogued before as {dataset.description or ''!r}; that description was left as it is."]
