"""What a job left in S3 though it did not complete: checkpoints to go on from, and parts of its model and output."""

from __future__ import annotations

from collections.abc import Mapping
from heapq import nlargest
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError
from pydantic import BaseModel, ConfigDict

from trainmaster.aws.failures import is_missing
from trainmaster.storage.address import S3Address

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

LISTED = 50
"""Objects named, the newest; the others are counted."""
MOST_PAGES = 20
"""Of 1,000 objects each: a user's own prefix of checkpoints may hold anything."""


class Listing(BaseModel):
    """Objects below an S3 address: the newest by key and size, how many and how many bytes there are in all.

    `is_complete` is false where only the first 20,000 were counted; `problem` says why nothing is known.
    """

    model_config = ConfigDict(frozen=True)

    uri: str = ""
    newest: tuple[tuple[str, int], ...] = ()
    count: int = 0
    size_bytes: int = 0
    is_complete: bool = True
    problem: str = ""

    def sentence(self) -> str:
        """For people: what is there."""
        if self.problem:
            return f"{self.uri} cannot be listed: {self.problem}"
        more = "" if self.is_complete else "at least "
        return (
            f"{more}{self.count} object{'' if self.count == 1 else 's'}, {self.size_bytes / 1e6:,.1f} MB, at {self.uri}"
        )


class Leftovers(BaseModel):
    """What a job left: its checkpoints, and what it uploaded of model and output."""

    model_config = ConfigDict(frozen=True)

    checkpoints: Listing = Listing()
    artifacts: Listing = Listing()

    def sentence(self) -> str:
        """For people; "" when there is nothing."""
        named = {"checkpoints": self.checkpoints, "artifacts": self.artifacts}
        return "; ".join(f"{what}: {one.sentence()}" for what, one in named.items() if one.count or one.problem)


def leftovers(s3: S3Client, description: Mapping[str, Any]) -> Leftovers:
    """Never fails for S3's sake: what cannot be listed says so. At most 40 calls."""
    checkpoints = (description.get("CheckpointConfig") or {}).get("S3Uri", "")
    output = (description.get("OutputDataConfig") or {}).get("S3OutputPath", "")
    artifacts = f"{output.rstrip('/')}/{description['TrainingJobName']}/output/" if output else ""
    return Leftovers(checkpoints=_listed(s3, checkpoints), artifacts=_listed(s3, artifacts))


def _listed(s3: S3Client, uri: str) -> Listing:
    if not uri:
        return Listing()
    uri = f"{uri.rstrip('/')}/"  # or `run-1` would list those of `run-10` too
    newest: list[tuple[Any, str, int]] = []
    count = size = 0
    try:
        address = S3Address.parse(uri)
        pages = s3.get_paginator("list_objects_v2").paginate(
            Bucket=address.bucket, Prefix=address.key, PaginationConfig={"MaxItems": MOST_PAGES * 1000}
        )
        for page in pages:
            found = [(one["LastModified"], one["Key"], one["Size"]) for one in page.get("Contents", [])]
            newest = nlargest(LISTED, newest + found)
            count, size = count + len(found), size + sum(one[2] for one in found)
    except (ClientError, BotoCoreError, ValueError) as error:
        return Listing(uri=uri) if is_missing(error) else Listing(uri=uri, problem=str(error))
    return Listing(
        uri=uri,
        newest=tuple((key, bytes_) for _, key, bytes_ in newest),
        count=count,
        size_bytes=size,
        is_complete=count < MOST_PAGES * 1000,
    )
