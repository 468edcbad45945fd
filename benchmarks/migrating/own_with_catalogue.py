"""A migration without Prefect as a program: `own_with_catalogue.py <datasets>` copies that many, as rows of the catalogue name them.

Batches are cut, claimed, copied and catalogued as those of a run are, as many at work as a run has by default.
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor

from benchmarks.migrating.started import tell_started
from trainmaster.migration.batches import batches
from trainmaster.migration.copying import copy_batch, limits_of
from trainmaster.migration.request import MigrateDatasetsRequest
from trainmaster.settings import Settings
from trainmaster.storage.library import open_library


def main() -> int:
    request, expected = MigrateDatasetsRequest(), int(sys.argv[1])
    with open_library(Settings()) as library, ThreadPoolExecutor(request.workers) as threads:
        tell_started()
        results = list(
            threads.map(
                lambda batch: copy_batch(library, batch, limits_of(request, batch.among), by="benchmark"),
                batches(library, request),
            )
        )
    copied = sum(result.copied for result in results)
    if copied != expected:
        print(
            f"{copied} of {expected}",
            [failure for result in results for failure in result.failures][:3],
            file=sys.stderr,
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
