"""The engine of this project as a program: `own.py <job.json>`. Every object is verified; anything else than all copied is an error."""

from __future__ import annotations

import gc
import json
import sys
from pathlib import Path

from pydantic import SecretStr

from benchmarks.migrating.ends import End, S3End, read
from benchmarks.migrating.started import tell_started
from trainmaster.storage.copy import Copied, Transfer, copy_objects
from trainmaster.storage.ends.protocols import Source
from trainmaster.storage.ends.s3_destination import S3Destination
from trainmaster.storage.ends.s3_source import S3Source


def main() -> int:
    job = json.loads(Path(sys.argv[1]).read_text())
    came_from, destination = read(job["ends"])
    source = _source(came_from)
    transfers = [
        Transfer(path, path, copy_path, size, sha256) for path, copy_path, size, sha256 in sorted(job["transfers"])
    ]
    into = S3Destination(destination.client(), destination.bucket)
    gc.freeze()  # nothing so far is ever garbage, nor worth being looked through again, in the end least of all
    tell_started()
    results = list(copy_objects(source, into, transfers))
    wrong = [each for each in results if not (isinstance(each, Copied) and each.sent)]
    if wrong or len(results) != len(transfers):
        print(f"{len(results)} of {len(transfers)}", wrong[:3], file=sys.stderr)
        return 1
    return 0


def _source(end: End) -> Source:
    if isinstance(end, S3End):
        return S3Source(end.client(), end.bucket)
    from trainmaster.storage.ends.supabase_source import SupabaseSource  # noqa: PLC0415 - its HTTP client takes a while to load

    return SupabaseSource(end.url, SecretStr(end.key), end.bucket)


if __name__ == "__main__":
    sys.exit(main())
