"""Checkpoints between a job's hosts and S3: restored before a start, copied away while it trains."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from boto3.exceptions import S3UploadFailedError
from botocore.exceptions import BotoCoreError, ClientError

from trainmaster.embedded.sagemaker.locations import Location
from trainmaster.embedded.sagemaker.training import trees
from trainmaster.embedded.sagemaker.training.objects import (
    CheckHalted,
    downloads_below,
    fetch,
    store_open,
)

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

SCAN_SECONDS = 0.5

Stamp = tuple[int, int]
"""Size and modification time of a file: while they change it is still being written."""

log = logging.getLogger(__name__)


def restore(s3: S3Client, source: Location, folder: Path, check_halted: CheckHalted) -> None:
    """Put every object below `source` into `folder`."""
    below = Location(source.bucket, source.key.rstrip("/") + "/" if source.key else "")
    fetch(s3, downloads_below(s3, below), folder, check_halted)


def stamps(root: Path, folder: Path) -> dict[str, Stamp]:
    """Every file below the folder, itself in the host's `root`, by its relative name."""
    return dict(_stamps(root, folder))


def _stamps(root: Path, folder: Path) -> Iterator[tuple[str, Stamp]]:
    for path in trees.walk(root, folder):
        if trees.holds_file(root, path):
            with suppress(OSError):  # removed meanwhile
                status = path.stat()
                yield str(path.relative_to(folder)), (status.st_size, status.st_mtime_ns)


def to_store(found: Mapping[str, Stamp], before: Mapping[str, Stamp], stored: Mapping[str, Stamp]) -> list[str]:
    """The files that are complete, being now as they were one scan before, and not yet stored so."""
    return [name for name, stamp in found.items() if before.get(name) == stamp != stored.get(name)]


class CheckpointSync:
    """Copies complete files of the hosts' checkpoint folders to S3 in the background, and deletes there what a host deletes.

    AWS's guide: "If a checkpoint is deleted in the SageMaker container, it will also be deleted in the S3 folder."
    """

    def __init__(self, s3: S3Client, target: Location, roots: Sequence[Path], folder: Path) -> None:
        """`folder` is the same, relative, below each of the hosts' roots."""
        self._s3, self._target, self._folder = s3, target, folder
        self._stored = {root: stamps(root, root / folder) for root in roots}
        self._seen: dict[Path, dict[str, Stamp]] = {root: {} for root in roots}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="checkpoints", daemon=True)
        self._thread.start()

    def finish(self) -> None:
        """Stop scanning and copy what is left, after the hosts have ended. Raises boto3's errors."""
        self.abandon()
        self._scan(last=True)

    def abandon(self) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(SCAN_SECONDS):
            try:
                self._scan(last=False)
            except (BotoCoreError, ClientError, S3UploadFailedError, OSError) as error:
                log.warning("checkpoints could not be copied to %s, trying again: %s", self._target, error)

    def _scan(self, *, last: bool) -> None:
        for root, stored in self._stored.items():
            found = stamps(root, root / self._folder)
            for name in to_store(found, found if last else self._seen[root], stored):
                if self._stop.is_set() and not last:
                    return
                with suppress(FileNotFoundError):  # deleted meanwhile
                    with trees.open_file(root, root / self._folder / name) as file:
                        store_open(self._s3, file, self._target.below(name))
                    stored[name] = found[name]
            for name in stored.keys() - found.keys():
                location = self._target.below(name)
                self._s3.delete_object(Bucket=location.bucket, Key=location.key)
                del stored[name]
            self._seen[root] = found
