"""A job's input channels: which objects belong to which host, and their download to /opt/ml/input/data/<channel>."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from trainmaster.embedded.sagemaker.locations import Location
from trainmaster.embedded.sagemaker.training.objects import (
    CheckHalted,
    Download,
    downloads_below,
    fetch,
)
from trainmaster.embedded.sagemaker.wire import Json

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

MANIFEST_BYTES = 16 * 2**20

T = TypeVar("T")


class ManifestError(ValueError):
    """Raised when a ManifestFile is not a list of `{"prefix": "s3://…"}` and relative names."""


def shard(items: Iterable[T], index: int, count: int) -> Iterator[T]:
    """The share of host `index` of `count` under ShardedByS3Key: every item goes to exactly one host."""
    return islice(items, index, None, count)


def manifest_entries(text: str) -> list[Download]:
    """What a ManifestFile lists: each entry's object, stored under its name relative to the manifest's prefix."""
    try:
        entries = json.loads(text)
    except ValueError as error:
        raise ManifestError(f"the manifest is not JSON: {error}") from None
    first = entries[0] if isinstance(entries, list) and entries else None
    if not isinstance(first, dict) or not isinstance(first.get("prefix"), str):
        raise ManifestError('the manifest must be a JSON list that begins with {"prefix": "s3://…"}')
    names = entries[1:]
    if bad := [name for name in names if not isinstance(name, str)]:
        raise ManifestError(f"the manifest's entries must be strings, not {bad[0]!r}")
    try:
        return [Download(Location.parse(first["prefix"] + name), name.lstrip("/")) for name in names]
    except ValueError as error:
        raise ManifestError(str(error)) from None


def source(channel: Json) -> tuple[str, Location]:
    """A channel's S3DataType and location."""
    data = channel["DataSource"]["S3DataSource"]
    return data["S3DataType"], Location.parse(data["S3Uri"])


def read_manifest(s3: S3Client, location: Location) -> list[Download]:
    """Raises ManifestError for one that cannot be read as a manifest, botocore's ClientError when there is none."""
    body = s3.get_object(Bucket=location.bucket, Key=location.key)["Body"].read(MANIFEST_BYTES + 1)
    if len(body) > MANIFEST_BYTES:
        raise ManifestError(f"the manifest is larger than {MANIFEST_BYTES >> 20} MiB")
    return manifest_entries(body.decode("utf-8", "replace"))


def downloads(s3: S3Client, channel: Json) -> Iterator[Download]:
    kind, location = source(channel)
    if kind == "ManifestFile":
        yield from read_manifest(s3, location)
        return
    yield from downloads_below(s3, location)


def download(s3: S3Client, channel: Json, folder: Path, *, index: int, count: int, check_halted: CheckHalted) -> None:
    """Put host `index`'s share of the channel into `folder`. Raises ManifestError, OSError, botocore's and boto3's errors."""
    wanted = downloads(s3, channel)
    if channel["DataSource"]["S3DataSource"].get("S3DataDistributionType") == "ShardedByS3Key":
        wanted = shard(wanted, index, count)
    folder.mkdir(parents=True, exist_ok=True)
    fetch(s3, wanted, folder, check_halted)


def described(channels: Sequence[Json], input_mode: str) -> dict[str, Json]:
    """The contents of inputdataconfig.json."""
    return {
        channel["ChannelName"]: {
            "TrainingInputMode": channel.get("InputMode", input_mode),
            "S3DistributionType": channel["DataSource"]["S3DataSource"].get(
                "S3DataDistributionType", "FullyReplicated"
            ),
            "RecordWrapperType": channel.get("RecordWrapperType", "None"),
            **({"ContentType": channel["ContentType"]} if "ContentType" in channel else {}),
        }
        for channel in channels
    }
