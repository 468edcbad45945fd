"""The examples that were dropped from a dataset: they lie beside its bytes, and go where those go.

The catalogue says nothing of them. So nothing takes them away in one store unless the other has the same, read in both.
"""

from __future__ import annotations

from dataclasses import dataclass

from trainmaster.catalog.candidates import Candidate
from trainmaster.catalog.datasets import Copy
from trainmaster.errors import CorruptedUploadError, DatasetRefusedError, ObjectMissingError
from trainmaster.migration.findings import source_of
from trainmaster.migration.proving import Reading, read_whole, version_at
from trainmaster.migration.rounds import Round
from trainmaster.storage.ends.protocols import Version
from trainmaster.storage.library import dropped_path
from trainmaster.storage.seekable import stream_of
from trainmaster.storage.store import StorageProvider
from trainmaster.storage.uploading import CONTENT_TYPE


@dataclass(frozen=True)
class Beside:
    """What is wrong with what lies beside a copy, or nothing; and how many bytes were read, in a rehearsal would be."""

    wrong: str = ""
    read: int = 0


def taken_along(round_: Round, candidate: Candidate, source: Copy, destination: Copy) -> Beside:
    """See to it that what lies beside one copy lies beside the other: it is copied there, unless something else is there.

    Raises ObjectMissingError and ObjectChangedError when somebody was at it meanwhile.
    """
    path, there = dropped_path(source.path), dropped_path(destination.path)
    wanted, found = version_at(source_of(round_, source), path), version_at(source_of(round_, destination), there)
    if wanted is None:
        return Beside()
    size = wanted.size + (found.size if found else 0)
    round_.begin_reading(size)
    differ = f"{_beside(destination)} are other dropped examples than {_beside(source)}"
    if found and found.size != wanted.size:
        return Beside(differ, 0 if round_.rehearsed else size)
    if round_.rehearsed:
        return Beside(read=size)
    reading = _read(round_, source, wanted)
    if found is None:
        _put(round_, candidate, source, destination, reading)
        return Beside(read=size)
    same = _read(round_, destination, found).sha256 == reading.sha256
    return Beside("" if same else differ, size)


def rotten(round_: Round, copy: Copy) -> Beside:
    """Read what lies beside a copy, if anything does: whether it is whole gzip, and has the SHA-256 that was recorded with it.

    What is wrong is read once more: one bad reading is no damage.
    """
    there = version_at(source_of(round_, copy), dropped_path(copy.path))
    if there is None:
        return Beside()
    round_.begin_reading(there.size)
    if round_.rehearsed or not (wrong := _wrong(round_, copy, there)):
        return Beside(read=there.size)
    return Beside(wrong and _wrong(round_, copy, there), 2 * there.size)


def _wrong(round_: Round, copy: Copy, version: Version) -> str:
    try:
        found = _read(round_, copy, version, must_be_gzip=True)
    except (ObjectMissingError, CorruptedUploadError, DatasetRefusedError) as error:
        return str(error)
    if version.sha256 in (None, found.sha256):
        return ""
    return f"{_beside(copy)} are dropped examples with SHA-256 {found.sha256}; {version.sha256} was recorded"


def _read(round_: Round, copy: Copy, version: Version, *, must_be_gzip: bool = False) -> Reading:
    path = dropped_path(copy.path)
    return read_whole(source_of(round_, copy), path, round_.pace, version, must_be_gzip=must_be_gzip)


def _put(round_: Round, candidate: Candidate, source: Copy, destination: Copy, reading: Reading) -> None:
    """Nothing is claimed for it: no row vouches for what lies beside a copy, so that a sweep might take what was just put."""
    library, path = round_.library, dropped_path(destination.path)
    store = library.stores.at(StorageProvider(destination.provider), destination.bucket)
    origin = library.stores.at(StorageProvider(source.provider), source.bucket)
    with stream_of(origin, dropped_path(source.path), round_.pace.take) as body:
        store.put(path, body, size=reading.size, sha256=reading.sha256, content_type=CONTENT_TYPE)
    if library.catalogue.datasets.get(candidate.id, candidate.user_id) is None:
        store.delete(path)  # whoever deleted the dataset may have been here before it was put


def _beside(copy: Copy) -> str:
    return f"beside {copy.uri}"
