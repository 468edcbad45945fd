"""What S3's errors mean for who stores and reads objects there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
)

from trainmaster.aws.clients import NO_CREDENTIALS
from trainmaster.aws.failures import code_of, is_missing, is_passing, status_of
from trainmaster.errors import (
    CorruptedUploadError,
    CredentialsMissingError,
    NotConfiguredError,
    ObjectMissingError,
    StorageUnavailableError,
)
from trainmaster.storage.address import S3Address
from trainmaster.storage.ends.protocols import NoBucketError

_OTHER_BYTES = {"BadDigest", "InvalidDigest", "XAmzContentChecksumMismatch", "XAmzContentSHA256Mismatch"}


@contextmanager
def s3_failures(address: S3Address, *, reading: bool = False) -> Iterator[None]:
    """Raises our errors for botocore's, with the address and what to do; those that are bugs of ours stay as they are."""
    try:
        yield
    except (NoCredentialsError, PartialCredentialsError, ProfileNotFound) as error:
        raise CredentialsMissingError(NO_CREDENTIALS) from error
    except (ClientError, BotoCoreError) as error:
        code = code_of(error)
        if code in _OTHER_BYTES:
            raise CorruptedUploadError(f"{address}: S3 got other bytes than were sent ({code}). Try again.") from error
        if is_passing(error):
            raise StorageUnavailableError(
                f"{address}: S3 does not answer as it should ({code or type(error).__name__}). Try again later."
            ) from error
        if code == "NoSuchBucket":
            raise NoBucketError(
                f"S3 bucket {address.bucket!r} does not exist. Create it, or set TRAINMASTER_BUCKET"
                " (TRAINMASTER_DATASET_BUCKET for datasets)."
            ) from error
        if status_of(error) in (401, 403) or code.startswith("KMS."):
            raise NotConfiguredError(
                f"{address}: AWS refused it ({code}). Allow the worker's credentials s3:GetObject, s3:PutObject,"
                " s3:DeleteObject, s3:AbortMultipartUpload, s3:ListBucket and s3:ListBucketMultipartUploads there, and the use of the KMS key if there is one."
            ) from error
        if reading and is_missing(error):
            raise ObjectMissingError(f"{address} is not there.") from error
        raise
