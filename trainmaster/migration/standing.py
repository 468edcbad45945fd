"""How the object that a dataset was copied from stands today to what was recorded then."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from trainmaster.catalog.datasets import Copy
from trainmaster.migration.proving import version_at
from trainmaster.storage.ends.protocols import Source, Version, same_tag


class Standing(Enum):
    """What a look tells: the same object, another, none; or as large as it was, which is all that can be told without reading."""

    UNCHANGED = "unchanged"
    REPLACED = "replaced"
    GONE = "gone"
    UNSURE = "unsure"


@dataclass(frozen=True)
class Seen:
    """How it stands, and the version that does; empty where nothing is there."""

    standing: Standing
    tag: str = ""


def standing_of(source: Source, copy: Copy) -> Seen:
    """By one cheap request, whose failures are tried again. Raises StorageUnavailableError and NotConfiguredError."""
    found = version_at(source, copy.path)
    if found is None:
        return Seen(Standing.GONE)
    return Seen(_standing(found, copy), found.tag)


def _standing(found: Version, copy: Copy) -> Standing:
    if found.size != copy.size_bytes:
        return Standing.REPLACED
    if copy.version:
        return Standing.UNCHANGED if same_tag(found.tag, copy.version) else Standing.REPLACED
    # What was recorded beside it may have been handed on to another object: that alone is no proof.
    return Standing.REPLACED if found.sha256 not in (None, copy.sha256) else Standing.UNSURE
