"""S3 objects of a job: where they are, which belong to it, and their way to disk and back, in bounded memory."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from boto3.s3.transfer import TransferConfig
from botocore.exceptions import BotoCoreError

from trainmaster.embedded.sagemaker.locations import Location

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

CheckHalted = Callable[[], None]
"""Called often while bytes move; raises to give up."""

_TRANSFER = TransferConfig(max_concurrency=4)
_FILES_AT_ONCE = 4
_WINDOW = 512
_SMALL = 2**20


@dataclass(frozen=True)
class Download:
    """One object and the path below the target folder its bytes go to."""

    location: Location
    name: str
    size: int | None = None


def downloads_below(s3: S3Client, prefix: Location) -> Iterator[Download]:
    """Objects whose keys start with the prefix, in S3's order; those that only mark a folder are left out."""
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=prefix.bucket, Prefix=prefix.key):
        for found in page.get("Contents", []):
            key = found["Key"]
            if not key.endswith("/"):
                yield Download(Location(prefix.bucket, key), name_below(prefix.key, key), found["Size"])


def name_below(prefix: str, key: str) -> str:
    """The file name AWS gives an object of a channel: the key without the prefix's folder."""
    if not prefix or prefix.endswith("/"):
        return key[len(prefix) :]
    if key.startswith(prefix + "/"):
        return key[len(prefix) + 1 :]
    return key[prefix.rfind("/") + 1 :]


def fetch(s3: S3Client, downloads: Iterable[Download], folder: Path, check_halted: CheckHalted) -> None:
    """Put each object at its name below `folder`. Raises OSError when a name is no path there; whatever check_halted raises."""
    root = os.path.realpath(folder)

    def one(download: Download) -> None:
        check_halted()
        target = Path(os.path.realpath(folder / download.name))
        if os.path.commonpath([root, target]) != root or str(target) == root:
            raise OSError(f"{download.location} cannot be stored as {download.name!r}")
        target.parent.mkdir(parents=True, exist_ok=True)
        _to_disk(s3, download, target, check_halted)

    waiting = iter(downloads)
    with ThreadPoolExecutor(_FILES_AT_ONCE, thread_name_prefix="download") as pool:
        # In windows: a channel may have millions of objects.
        while window := [pool.submit(one, download) for download in islice(waiting, _WINDOW)]:
            try:
                for each in window:
                    each.result()
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise


def _to_disk(s3: S3Client, download: Download, target: Path, check_halted: CheckHalted) -> None:
    bucket, key = download.location.bucket, download.location.key
    if download.size is not None and download.size <= _SMALL:
        # A managed transfer costs three times a plain request, which is what many small files take.
        try:
            with closing(s3.get_object(Bucket=bucket, Key=key)["Body"]) as body, target.open("wb") as file:
                shutil.copyfileobj(body, file)
        except BotoCoreError:
            pass  # it broke off: the managed transfer tries again and again
        else:
            return
    s3.download_file(bucket, key, str(target), Callback=lambda _: check_halted(), Config=_TRANSFER)


def store(s3: S3Client, path: Path, location: Location) -> None:
    """Upload a file."""
    s3.upload_file(str(path), location.bucket, location.key, Config=_TRANSFER)


def store_open(s3: S3Client, file: BinaryIO, location: Location) -> None:
    """Upload an open file from where it stands to its end."""
    s3.upload_fileobj(file, location.bucket, location.key, Config=_TRANSFER)
