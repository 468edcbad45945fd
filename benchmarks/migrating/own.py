"""The engine of this project as a program: `own.py <job.json>`. Every object is verified; anything else than all copied is an error."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from pydantic import SecretStr

from benchmarks.migrating.ends import S3End, read
from benchmarks.migrating.started import tell_started
from trainmaster.storage.copy import Copied, Transfer, copy_objects
from trainmaster.storage.ends.protocols import Source
from trainmaster.storage.ends.s3_destination import S3Destination
from trainmaster.storage.ends.s3_source import S3Source
from trainmaster.storage.ends.supabase_source import SupabaseSource


def main() -> int:
    job = json.loads(Path(sys.argv[1]).read_text())
    came_from, destination = read(job["ends"])
    source: Source = (
        S3Source(came_from.client(), came_from.bucket)
        if isinstance(came_from, S3End)
        else SupabaseSource(came_from.url, SecretStr(came_from.key), came_from.bucket)
    )
    transfers = [Transfer(path, path, copy_path, size, sha256) for path, copy_path, size, sha256 in job["transfers"]]
    into = S3Destination(destination.client(), destination.bucket)
    tell_started()
    results = list(copy_objects(source, into, transfers))
    wrong = [each for each in results if not (isinstance(each, Copied) and each.sent)]
    if wrong or len(results) != len(transfers):
        print(f"{len(results)} of {len(transfers)}", wrong[:3], file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
