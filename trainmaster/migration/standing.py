"""How the object that a dataset was copied from stands today to what was recorded then."""

from __future__ import annotations

from enum import Enum

from trainmaster.catalog.datasets import Copy
from trainmaster.migration.proving import same_tag, version_at
from trainmaster.storage.ends import Source


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
    if found.sha256 == copy.sha256 or same_tag(found.tag, copy.version or ""):
        return Standing.UNCHANGED
    return Standing.REPLACED if copy.version or found.sha256 else Standing.UNSURE
