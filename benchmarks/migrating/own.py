"""The engine of this project as a program: `own.py <job.json>`. Every object is verified; anything else than all copied is an error.

Prints, as JSON, the seconds from its start until it could begin: what a worker has behind it when it migrates.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

from pydantic import SecretStr

from benchmarks.migrating.ends import S3End, read
from trainmaster.storage.copy import Copied, Transfer, copy_objects
from trainmaster.storage.ends import Source
from trainmaster.storage.s3_destination import S3Destination
from trainmaster.storage.s3_source import S3Source
from trainmaster.storage.supabase_source import SupabaseSource


def main() -> int:
    job = json.loads(Path(sys.argv[1]).read_text())
    came_from, destination = read(job["ends"])
    source: Source = (
        S3Source(came_from.client(), came_from.bucket)
        if isinstance(came_from, S3End)
        else SupabaseSource(came_from.url, SecretStr(came_from.key), came_from.bucket)
    )
    transfers = [
        Transfer(
            key=each["path"],
            source=each["path"],
            destination=each["path"],
            size=each["size"],
            sha256=each["sha256"] or None,
        )
        for each in job["made"]
    ]
    began = _age()
    results = list(copy_objects(source, S3Destination(destination.client(), destination.bucket), transfers))
    copied = [each for each in results if isinstance(each, Copied) and each.sent]
    if len(copied) != len(transfers):
        print([each for each in results if each not in copied][:3], file=sys.stderr)
        return 1
    print(json.dumps({"began": began}))
    return 0


def _age() -> float:
    """Seconds this process has lived, its interpreter's start included."""
    started = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
    return time.clock_gettime(time.CLOCK_BOOTTIME) - started


if __name__ == "__main__":
    sys.exit(main())
