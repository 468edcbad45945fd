"""How the object that a dataset was copied from stands today to what was recorded then."""

from __future__ import annotations

from enum import Enum

from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from trainmaster.catalog.datasets import Copy
from trainmaster.errors import ObjectMissingError, StorageUnavailableError
from trainmaster.storage.ends import Source, Version

TRIES, LONGEST_PAUSE = 5, 30.0


class Standing(Enum):
    """What a look tells: the same object, another, none; or as large as it was, which is all that can be told without reading."""

    UNCHANGED = "unchanged"
    REPLACED = "replaced"
    GONE = "gone"
    UNSURE = "unsure"


def standing_of(source: Source, copy: Copy) -> Standing:
    """By one cheap request, whose failures are tried again. Raises StorageUnavailableError and NotConfiguredError."""
    found = version_at(source, copy.path)
    if found is None:
        return Standing.GONE
    if found.size != copy.size_bytes:
        return Standing.REPLACED
    # What we recorded beside an object when we put it goes when somebody else puts another.
    if found.sha256 == copy.sha256 or found.tag == copy.version:
        return Standing.UNCHANGED
    return Standing.REPLACED if copy.version or found.sha256 else Standing.UNSURE


def version_at(source: Source, path: str) -> Version | None:
    """What is there now, or None."""
    attempts = Retrying(
        stop=stop_after_attempt(TRIES),
        wait=wait_random_exponential(multiplier=0.5, max=LONGEST_PAUSE),
        retry=retry_if_exception_type(StorageUnavailableError),
        reraise=True,
    )
    try:
        return attempts(source.look, path)
    except ObjectMissingError:
        return None
