"""A process that migrates all there is to migrate, and ends when nothing is left. Killed without warning, any number of times."""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from benchmarks.soaking.cargo import PART
from trainmaster.catalog.candidates import Selection
from trainmaster.migration.batches import batches
from trainmaster.migration.copying import copy_batch
from trainmaster.migration.request import MigrateDatasetsRequest
from trainmaster.settings import Settings
from trainmaster.storage.copy import CopyLimits
from trainmaster.storage.library import Library, open_library

DONE, BROKEN = 0, 1
LEASE = timedelta(seconds=3)
"""Short, so that nobody waits long for the claims of one that was killed."""
LOOKS_AGAIN_AFTER = 0.3
BATCH = 60
LIMITS = CopyLimits(part_bytes=PART, in_flight_bytes=64 << 20)


def carry(environment: Mapping[str, str], log: Path) -> None:
    """The whole life of a carrier; its exit code says how it ended."""
    os.environ.update(environment)
    with log.open("a", encoding="utf-8") as file:
        os.dup2(file.fileno(), sys.stdout.fileno())
        os.dup2(file.fileno(), sys.stderr.fileno())
    code = DONE
    try:
        with open_library(Settings()) as library:
            _carry(replace(library, lease=LEASE))
    except Exception:  # noqa: BLE001 - told in its log, and by its exit code
        traceback.print_exc()
        code = BROKEN
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _carry(library: Library) -> None:
    """One run after the other, as a schedule would start them, until all is in S3; raises when a dataset fails."""
    everything, request = Selection(), MigrateDatasetsRequest()
    while library.catalogue.migrations.candidates(everything, limit=1, only="copy"):
        for batch in batches(library, request, most_datasets=BATCH):
            result = copy_batch(library, batch, LIMITS, by="the soak")
            print(result.sentence(), flush=True)
            if result.failures or result.ended_early:
                raise RuntimeError(f"{result.ended_early} {result.failures}")
        time.sleep(LOOKS_AGAIN_AFTER)
