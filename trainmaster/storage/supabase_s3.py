"""Supabase Storage by its S3 endpoint, which reads parts of large objects faster than its HTTP API."""

from __future__ import annotations

from typing import TYPE_CHECKING

import boto3
from botocore.config import Config

from trainmaster.aws.clients import client_config
from trainmaster.errors import ObjectMissingError
from trainmaster.storage.ends.end_failures import SUPABASE_S3, Refusal, failure
from trainmaster.storage.ends.obstore_clients import Timeouts
from trainmaster.storage.ends.protocols import NoBucketError, Piece, Version
from trainmaster.storage.ends.s3_source import S3Source
from trainmaster.storage.s3 import require_bucket
from trainmaster.storage.supabase_calls import storage_base

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


class SupabaseS3Source(S3Source):
    """A bucket of a Supabase project to copy from. That endpoint says of an absent bucket what it says of an absent object."""

    def __init__(
        self,
        client: S3Client,
        bucket: str,
        *,
        timeouts: Timeouts = Timeouts(),  # noqa: B008 - frozen
    ) -> None:
        super().__init__(client, bucket, timeouts=timeouts, whose=SUPABASE_S3)

    def look(self, path: str) -> Version:
        """What is there now, with the SHA-256 recorded beside it, if one is."""
        try:
            return super().look(path)
        except NoBucketError:
            pass  # which is told there as of S3
        raise self._no_bucket()

    def read(self, path: str, start: int, length: int, version: Version | None = None) -> Piece:
        """Bytes of the version asked for, by one request."""
        try:
            return super().read(path, start, length, version)
        except ObjectMissingError:
            if self._has_bucket():
                raise
        raise self._no_bucket()

    def _has_bucket(self) -> bool:
        try:
            require_bucket(self._client, self.bucket)
        except NoBucketError:
            return False
        return True

    def _no_bucket(self) -> Exception:
        return failure(self.name, Refusal(404, "NoSuchBucket"), SUPABASE_S3)


def supabase_s3_client(url: str, key_id: str, secret: str, region: str) -> S3Client:
    """A client of a Supabase project's S3 endpoint, which knows no bucket by its host."""
    config = client_config().merge(Config(s3={"addressing_style": "path"}, signature_version="s3v4"))
    client: S3Client = boto3.Session(aws_access_key_id=key_id, aws_secret_access_key=secret, region_name=region).client(
        "s3", endpoint_url=f"{storage_base(url)}/s3", config=config
    )
    return client
