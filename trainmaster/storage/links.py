"""Links by which a dataset can be downloaded, from whichever provider has it."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID

from trainmaster.catalog.datasets import Dataset
from trainmaster.catalog.hindrances import WRONG_AT
from trainmaster.errors import (
    DatasetMissingError,
    NotConfiguredError,
    ObjectMissingError,
    StorageUnavailableError,
    TrainmasterError,
    UnknownChoiceError,
)
from trainmaster.storage.library import SUFFIX, Library
from trainmaster.storage.store import LONGEST_LIFETIME, ObjectStore, StorageProvider

LIFETIME = timedelta(hours=2)

_Place = tuple[StorageProvider, str | None, str]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DownloadLink:
    """A link that anybody can use until it expires: it is shown to who asked, and neither logged nor kept."""

    url: str = field(repr=False)
    provider: StorageProvider
    file_name: str
    expires_at: datetime


def download_link(library: Library, dataset_id: UUID, user_id: UUID, expires_in: timedelta = LIFETIME) -> DownloadLink:
    """A link to the copy readers get first, or when that is gone, out of reach or known to be damaged to the other, as the log says.

    At least one second, at most seven days. Raises DatasetMissingError for an unknown dataset and for somebody else's alike;
    ObjectMissingError, StorageUnavailableError or NotConfiguredError when no copy can be had.
    """
    if not timedelta(seconds=1) <= expires_in <= LONGEST_LIFETIME:
        raise UnknownChoiceError(f"A link can be valid for 1 second to 7 days, not for {expires_in}.")
    dataset = library.catalogue.datasets.get(dataset_id, user_id)
    if dataset is None:
        raise DatasetMissingError(f"There is no dataset {dataset_id} of user {user_id}.")
    expires_at, name = datetime.now(UTC) + expires_in, file_name(dataset.name)
    failures: list[TrainmasterError] = []
    for provider, bucket, path in _sound_first(library, dataset):
        try:
            url = _store(library, provider, bucket, user_id).sign(path, expires_in, download_as=name)
        except (ObjectMissingError, StorageUnavailableError, NotConfiguredError) as error:
            _log.warning("Dataset %s cannot be had from %s: %s", dataset_id, provider, error)
            failures.append(error)
        else:
            if failures:
                _log.warning("Dataset %s: the link leads to the copy in %s instead.", dataset_id, provider)
            return DownloadLink(url, provider, name, expires_at)
    raise next(iter(failures), ObjectMissingError(f"Dataset {dataset_id} names no object of user {user_id}."))


def file_name(name: str) -> str:
    """What a browser saves a dataset as: its name, without what some file system or shell trips over."""
    plain = re.sub(r"[^\w.+ -]+", "_", name.removesuffix(".gz").removesuffix(".jsonl")).strip(". ")
    return (plain[:100].strip(". ") or "dataset") + SUFFIX


def _sound_first(library: Library, dataset: Dataset) -> Sequence[_Place]:
    """Each copy, that last which is known not to be what was catalogued."""
    copies = list(_copies(dataset))
    hindrance = library.catalogue.migrations.hindrances([dataset.id]).get(dataset.id)
    sound = [place for place in copies if hindrance not in WRONG_AT[place[0]]]
    if sound and copies[0] not in sound:
        _log.warning(
            "Dataset %s: its copy in %s was found wrong (%s), so the link leads to the one in %s if that can be had."
            " The same upload again puts right what is wrong.",
            dataset.id,
            copies[0][0],
            hindrance,
            sound[0][0],
        )
    return sorted(copies, key=lambda place: place not in sound)


def _copies(dataset: Dataset) -> Iterator[_Place]:
    """Provider, bucket and path of each copy, that first which readers get.

    Where the application stored it none is recorded: the row's own path counts if it is in the user's folder, and the bucket is
    unknown.
    """
    first = dataset.copy_at(dataset.storage_provider)
    if first is None and dataset.names_its_own:
        yield StorageProvider(dataset.storage_provider), None, dataset.storage_path
    for copy in sorted(dataset.copies, key=lambda copy: copy is not first):
        yield StorageProvider(copy.provider), copy.bucket, copy.path


def _store(library: Library, provider: StorageProvider, bucket: str | None, user_id: UUID) -> ObjectStore:
    return library.stores.at(provider, bucket) if bucket else library.stores.home(provider, user_id)
