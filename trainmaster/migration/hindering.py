"""Why a dataset could not be copied, as it is kept and told: the kind, the reason and what to do about it."""

from __future__ import annotations

from trainmaster.catalog.candidates import Candidate
from trainmaster.catalog.hindrances import HindranceKind
from trainmaster.errors import (
    CorruptedUploadError,
    DatasetRefusedError,
    NameConflictError,
    NotConfiguredError,
    ObjectChangedError,
    ObjectMissingError,
    StorageUnavailableError,
    TrainmasterError,
    WaitTimedOutError,
)
from trainmaster.migration.result import Failure
from trainmaster.storage.ends.protocols import NoRoomError
from trainmaster.storage.engine.transfers import End

NEXT_RUN = "The next run tries it again by itself."
_PUT_BACK = (
    "upload the dataset anew, under the same name; where S3 has a copy of it, `trainmaster datasets migrate rollback --dataset ID`"
    " puts that back; else delete the dataset."
)
_ADVICE: dict[HindranceKind, str] = {
    "source_missing": f"Restore the object in Supabase, or {_PUT_BACK}",
    "source_unsound": f"U{_PUT_BACK[1:]}",
    "source_changed": NEXT_RUN,
    "source_unavailable": NEXT_RUN,
    "destination": NEXT_RUN,
    "not_set_up": "Make the bucket, and let the worker use it. The next run goes on.",
    "conflict": "See who else writes to the bucket of datasets, and keep him from it. " + NEXT_RUN,
    "unexpected": NEXT_RUN,
}


_KINDS: tuple[tuple[type[TrainmasterError], HindranceKind], ...] = (
    (ObjectMissingError, "source_missing"),
    (ObjectChangedError, "source_changed"),
    (NameConflictError, "conflict"),
    (DatasetRefusedError, "source_unsound"),
    (CorruptedUploadError, "source_unsound"),
    (StorageUnavailableError, "source_unavailable"),
    (WaitTimedOutError, "source_unavailable"),
)
"""The first that fits."""
TO_BE_TAKEN_UP: frozenset[HindranceKind] = frozenset({"source_unavailable", "destination", "unexpected"})
"""Kinds after which the next try has a use for what was sent already."""
NOT_OURS: frozenset[HindranceKind] = frozenset({"source_missing", "conflict"})
"""Kinds after which nothing of ours is in S3: whatever is there is another program's."""
ENDS_ALL = (NotConfiguredError, NoRoomError)
"""What an end says when no other object would do better."""


def kind_of(error: TrainmasterError, end: End | None = None) -> HindranceKind:
    """What kept an object from being copied, or a dataset from anything else; `end` is the one that failed, if one did."""
    if end == "destination":
        return "destination"
    return next((kind for one, kind in _KINDS if isinstance(error, one)), "unexpected")


def reason_of(reason: TrainmasterError | str) -> str:
    """Why, without the advice that is for whoever stores a dataset: what is to be done about one that is stored is another thing."""
    return str(reason).removesuffix(" Upload the dataset anew.").rstrip(".")


def advice_on(kind: HindranceKind) -> str:
    """What to do about it."""
    return _ADVICE[kind]


def failure_of(candidate: Candidate, kind: HindranceKind, reason: TrainmasterError | str) -> Failure:
    """What people are told of it."""
    return Failure(candidate.id, candidate.name, kind, f"{reason_of(reason)}.", _ADVICE[kind])
