"""Objects of an S3 bucket as copies are made of them: read by obstore, a request each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from trainmaster.errors import ObjectMissingError, TrainmasterError
from trainmaster.storage.ends.end_failures import S3, Refusal, Whose, failure
from trainmaster.storage.ends.obstore_clients import Timeouts, s3_objects
from trainmaster.storage.ends.obstore_reading import Reader
from trainmaster.storage.ends.protocols import Piece, Version
from trainmaster.storage.s3 import require_bucket

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


class S3Source:
    """A bucket to copy from: AWS's, or Supabase's by its S3 endpoint. May be shared between threads.

    `place` tells whose servers and account it is: what is at the same place can be copied there.
    """

    lists = True

    def __init__(
        self,
        client: S3Client,
        bucket: str,
        *,
        timeouts: Timeouts = Timeouts(),  # noqa: B008 - frozen
        whose: Whose = S3,
    ) -> None:
        self.name = f"s3://{bucket}" if whose is S3 else f"supabase-s3:{bucket}"
        self.bucket, self.place, self._whose, self._client = bucket, place_of(client), whose, client
        self._reader = Reader(s3_objects(client, bucket, timeouts), self.name, self._failure, conditional=True)

    def __repr__(self) -> str:
        return f"S3Source({self.name})"

    def look(self, path: str) -> Version:
        """What is there now, with the SHA-256 recorded beside it, if one is."""
        try:
            return self._reader.describe(path)[0]
        except ObjectMissingError:
            require_bucket(self._client, self.bucket)  # HEAD says 404 for either
            raise

    def listing(self, paths: Sequence[str]) -> dict[str, Version]:
        """Those of one folder that ListObjectsV2 shows, from the first of them on."""
        return self._reader.listing(paths)

    def read(self, path: str, start: int, length: int, version: Version | None = None) -> Piece:
        """Bytes of the version asked for, by one request."""
        return self._reader.piece(path, start, length, version)

    def _failure(self, path: str, refusal: Refusal) -> TrainmasterError:
        return failure(f"{self.name}/{path}", refusal, self._whose)


def place_of(client: S3Client) -> tuple[str, str, str]:
    """Endpoint, region and key id: who has all three in common shares an account and a region."""
    credentials = client._get_credentials()  # type: ignore[attr-defined] # nothing public knows
    return client.meta.endpoint_url, client.meta.region_name, credentials.access_key if credentials else ""
