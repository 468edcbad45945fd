"""The file a user named, brought to where it can be read: a path on the worker, an object in S3, an address on the web."""

from __future__ import annotations

import re
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

import httpx
from boto3.exceptions import Boto3Error
from boto3.s3.transfer import TransferConfig
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

from trainmaster.aws.failures import code_of, is_missing, is_passing
from trainmaster.errors import DatasetRefusedError, NotConfiguredError, StorageUnavailableError
from trainmaster.storage.address import S3Address
from trainmaster.storage.web import WebLimits, download, shown_address

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_SCHEME = re.compile(r"^([a-zA-Z][a-zA-Z0-9+.-]*)://")
_OWN_FOLDER = re.compile(r"^([0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12})/(datasets|private)/", re.IGNORECASE)
_TRANSFER = TransferConfig(max_concurrency=4)
"""Four parts of 8 MiB are in memory at most."""


@dataclass(frozen=True)
class Source:
    """A file to be checked: where it can be read, what it is called, and where it came from as the catalogue may keep it."""

    path: Path
    name: str
    uri: str


def fetch(
    file: str,
    folder: Path,
    *,
    user_id: str,
    limits: WebLimits,
    s3: Callable[[], S3Client],
    only_below: Path | None = None,
) -> Source:
    """The source, downloaded into the folder unless it is on this machine already.

    `file` is a path as it stands (nothing in it is expanded; below `only_below`, if that is given, links followed),
    `s3://bucket/key` or `https://…`. Raises DatasetRefusedError for what is not there, no regular file, empty, too large, or not the user's to read; StorageUnavailableError when later may do.
    """
    scheme = _SCHEME.match(file)
    match scheme.group(1).lower() if scheme else "":
        case "":
            return _local(file, only_below)
        case "s3":
            return _from_s3(file, folder, user_id=user_id, limits=limits, s3=s3())
        case "https" | "http":
            to = folder / "source"
            download(file, to, limits)
            address = httpx.URL(file)
            _require_content(to, shown_address(address))
            return Source(to, _last_part(address.path), shown_address(address))
        case other:
            raise DatasetRefusedError(
                f"Nothing is fetched by {other}://. Write a path on the worker, s3:// or https://."
            )


def _local(file: str, only_below: Path | None) -> Source:
    path = Path(file)
    try:
        if only_below and not path.resolve().is_relative_to(only_below.resolve()):
            raise DatasetRefusedError(
                f"{file} is not below {only_below}, and only what is there may be uploaded by path."
            )
        status = path.stat()  # before it is opened: opening a FIFO would wait for ever
        if not stat.S_ISREG(status.st_mode):
            what = "folder" if stat.S_ISDIR(status.st_mode) else "device, pipe or socket"
            raise DatasetRefusedError(f"{file} is a {what}; wanted a file.")
        path.open("rb").close()
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise DatasetRefusedError(
            f"{file} cannot be read on the worker: {why}. Give the path of a file there, or s3:// or https://."
        ) from error
    _require_content(path, file)
    return Source(path, path.name, file)


def _require_content(path: Path, shown: str) -> None:
    if path.stat().st_size == 0:
        raise DatasetRefusedError(f"{shown} is empty: 0 bytes. Give a file with examples.")


def _from_s3(file: str, folder: Path, *, user_id: str, limits: WebLimits, s3: S3Client) -> Source:
    try:
        address = S3Address.parse("s3" + file[2:])
    except ValueError as error:
        raise DatasetRefusedError(f"{error}.") from error
    owner = _OWN_FOLDER.match(address.key)
    if owner and owner.group(1).lower() != user_id.lower():
        raise DatasetRefusedError(f"There is no dataset of yours at {address}.")
    to = folder / "source"
    try:
        size = s3.head_object(Bucket=address.bucket, Key=address.key)["ContentLength"]
        if size > limits.largest:
            raise DatasetRefusedError(
                f"{address} has {size:,} bytes; at most {limits.largest:,} are fetched. Split the file, or set"
                " TRAINMASTER_LARGEST_FETCH_BYTES on the worker."
            )
        s3.download_file(address.bucket, address.key, str(to), Config=_TRANSFER)
    except (BotoCoreError, ClientError, Boto3Error) as error:
        raise _meaning(error, address) from error
    _require_content(to, str(address))
    return Source(to, _last_part(address.key), str(address))


def _meaning(error: Exception, address: S3Address) -> Exception:
    """What S3's answer says to who named the object."""
    if isinstance(error, NoCredentialsError):
        return NotConfiguredError(
            f"{address} cannot be fetched: AWS is not configured. Set AWS_REGION and credentials in the environment of the"
            " worker; on a laptop: `trainmaster embedded --print-env`."
        )
    if is_missing(error):
        return DatasetRefusedError(f"There is nothing at {address}. Check the bucket and the key.")
    if is_passing(error) or isinstance(error, Boto3Error):
        return StorageUnavailableError(f"{address} could not be fetched after every retry. Try again later.")
    return DatasetRefusedError(
        f"{address} cannot be read: S3 answered {code_of(error) or type(error).__name__}. Let the worker's role read it."
    )


def _last_part(path: str) -> str:
    return unquote(path.rstrip("/").rpartition("/")[2]) or "dataset"
