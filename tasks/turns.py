"""Taking turns with all other runs, wherever they are carried out, by the limits that `trainmaster setup` makes."""

from __future__ import annotations

import logging

from prefect.concurrency.asyncio import ConcurrencySlotAcquisitionError
from prefect.concurrency.sync import rate_limit

_log = logging.getLogger(__name__)
LONGEST_WAIT = 120.0
"""Seconds. A limit keeps AWS from throttling us, whose throttling is waited out as well: no run fails for want of a turn."""


def wait_for_turn(limit: str) -> None:
    """Returns when the limit has room for one more, at once where there is no such limit, and after two minutes at the latest."""
    try:
        rate_limit(limit, timeout_seconds=LONGEST_WAIT, strict=True)
    except (ConcurrencySlotAcquisitionError, TimeoutError) as error:
        _log.debug("went on without a turn of %s: %s", limit, error)
