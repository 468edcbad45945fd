"""Objects of a copy that came to nothing, out of S3 again."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from trainmaster.catalog.pending import PendingObject
from trainmaster.errors import LeaseLostError, TrainmasterError, UploadUnderWayError
from trainmaster.storage.library import Library

TAKEN_BACK_AT_ONCE = 8

_log = logging.getLogger(__name__)


def take_back(library: Library, claims: Iterable[PendingObject]) -> None:
    """Remove what was put under these claims; what others have by now stays theirs, what cannot be removed is left to the sweep."""
    with ThreadPoolExecutor(TAKEN_BACK_AT_ONCE, thread_name_prefix="take-back") as threads:
        list(threads.map(partial(_remove, library), claims))


def _remove(library: Library, claim: PendingObject) -> None:
    try:
        # Claimed anew: what somebody catalogued in the meantime is his.
        again = library.catalogue.pending.claim(
            provider=claim.provider,
            bucket=claim.bucket,
            path=claim.path,
            dataset_id=claim.dataset_id,
            user_id=claim.user_id,
            holder=claim.holder,
            lease=library.lease,
        )
        if again:
            library.remove(again)
    except (LeaseLostError, UploadUnderWayError):
        return
    except TrainmasterError as error:
        _log.warning("What was not catalogued of dataset %s is left to the sweep: %s", claim.dataset_id, error)
