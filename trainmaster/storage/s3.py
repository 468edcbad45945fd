"""Objects in S3: stored once, verified at the destination, read in bounded memory."""

from __future__ import annotations

import base64
import hashlib
from typing import IO, TYPE_CHECKING

from botocore.exceptions import ClientError

from trainmaster.aws.failures import is_missing
from trainmaster.errors import CorruptedUploadError, DatasetRefusedError, NotConfiguredError
from trainmaster.storage.address import S3Address

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

CHUNK = 1 << 20
LARGEST_PUT = 5 << 30
"""S3 takes no more than 5 GiB in one PutObject."""


def require_bucket(s3: S3Client, bucket: str) -> None:
    """Raises NotConfiguredError when the bucket does not exist or is not ours to use."""
    try:
        s3.head_bucket(Bucket=bucket)
    except ClientError as error:
        if is_missing(error):
            raise NotConfiguredError(
                f"S3 bucket {bucket!r} does not exist. Create it, or set TRAINMASTER_BUCKET."
            ) from error
        raise


def store(s3: S3Client, body: IO[bytes], address: S3Address, *, content_type: str) -> bool:
    """Put a seekable stream of at most 5 GiB, unless those very bytes are there; True when something was sent.

    S3 itself checks the SHA-256 on arrival and refuses other bytes; afterwards the object is looked at once more.
    """
    digest, size = _measure(body)
    if size > LARGEST_PUT:
        raise DatasetRefusedError(f"{address} would have {size} bytes; one upload may have {LARGEST_PUT}.")
    if _stored(s3, address) == (digest, size):
        return False
    body.seek(0)
    s3.put_object(
        Bucket=address.bucket,
        Key=address.key,
        Body=body,
        ContentLength=size,
        ContentType=content_type,
        ChecksumSHA256=base64.b64encode(bytes.fromhex(digest)).decode(),
        Metadata={"sha256": digest},
    )
    if (found := _stored(s3, address)) != (digest, size):
        s3.delete_object(Bucket=address.bucket, Key=address.key)
        raise CorruptedUploadError(f"{address}: sent {size} bytes with SHA-256 {digest}, S3 holds {found}. Try again.")
    return True


def prefix_checksum(s3: S3Client, prefix: S3Address) -> tuple[str, int, int]:
    """A SHA-256 over names, sizes and ETags below a prefix, with the number of objects and their bytes."""
    digest, objects, size = hashlib.sha256(), 0, 0
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=prefix.bucket, Prefix=prefix.key):
        for found in page.get("Contents", []):
            digest.update(f"{found['Key']}\n{found['Size']}\n{found['ETag']}\n".encode())
            objects, size = objects + 1, size + found["Size"]
    return digest.hexdigest(), objects, size


def _stored(s3: S3Client, address: S3Address) -> tuple[str, int] | None:
    try:
        head = s3.head_object(Bucket=address.bucket, Key=address.key)
    except ClientError as error:
        if is_missing(error):
            return None
        raise
    return head["Metadata"].get("sha256", ""), head["ContentLength"]


def _measure(body: IO[bytes]) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    body.seek(0)
    while chunk := body.read(CHUNK):
        digest.update(chunk)
        size += len(chunk)
    return digest.hexdigest(), size
