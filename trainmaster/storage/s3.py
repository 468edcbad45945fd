"""Objects in S3: created once, verified at the destination, read in bounded memory."""

from __future__ import annotations

import base64
import hashlib
import logging
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, suppress
from datetime import timedelta
from typing import IO, TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError, FlexibleChecksumError
from urllib3.exceptions import HTTPError

from trainmaster.aws.failures import code_of, is_missing
from trainmaster.errors import (
    CorruptedUploadError,
    NameConflictError,
    ObjectChangedError,
    ObjectMissingError,
    StorageUnavailableError,
)
from trainmaster.storage.address import S3Address
from trainmaster.storage.bodies import CHUNK, AnnouncedBody, hashed
from trainmaster.storage.ends.protocols import NoBucketError
from trainmaster.storage.reading import Opened, resumed
from trainmaster.storage.s3_failures import s3_failures
from trainmaster.storage.store import StorageProvider, StoredObject, attachment, require_folder, require_lifetime

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import HeadObjectOutputTypeDef

PART, MULTIPART_FROM, MOST_PARTS = 16 << 20, 32 << 20, 10_000
TRIES = 4
_LOST_RACE = {"PreconditionFailed", "ConditionalRequestConflict", "NoSuchUpload"}
"""Somebody else created the object first; or, the last, cleaned up after having done so."""

_log = logging.getLogger(__name__)


class S3Store:
    """A bucket. Holds three parts at most (of 16 MiB; larger from 160 GB on) while storing, a chunk of 1 MiB while reading.

    `client` decides on timeouts and retries. It may be shared between threads, and so may this.
    """

    provider = StorageProvider.S3

    def __init__(
        self,
        client: S3Client,
        bucket: str,
        *,
        encryption: str | None = None,
        kms_key_id: str | None = None,
        part_size: int = PART,
        multipart_from: int = MULTIPART_FROM,
    ) -> None:
        self.bucket, self._client = bucket, client
        self._part_size, self._multipart_from = part_size, multipart_from
        key = {"SSEKMSKeyId": kms_key_id} if kms_key_id else {}
        self._encryption: dict[str, Any] = {"ServerSideEncryption": encryption, **key} if encryption else {}
        # Left to itself botocore signs URLs by version 2, which KMS-encrypted objects and newer regions refuse.
        client.meta.events.register("choose-signer.s3.GetObject", sign_urls_by_version_4, unique_id="trainmaster-v4")  # type: ignore[arg-type]

    def put(self, key: str, body: IO[bytes], *, size: int, sha256: str, content_type: str) -> bool:
        """Create an object of `size` bytes, S3 checking each part's SHA-256 on arrival; False when it was there already."""
        announced, token, checksum = AnnouncedBody(body, size=size, sha256=sha256), uuid.uuid4().hex, None
        create = self._create_in_parts if size >= self._multipart_from else self._create
        about = {
            "ContentType": content_type,
            "Metadata": {"sha256": sha256, "upload": token},
            **self._encryption,
        }
        with s3_failures(self._at(key)):
            for _ in range(TRIES):
                if self.stat(key):
                    break
                try:
                    checksum = create(key, announced, about)
                except ClientError as error:
                    if code_of(error) not in _LOST_RACE:
                        raise
            return self._verified(key, announced, token, checksum)

    def get(self, key: str, *, start: int = 0) -> AbstractContextManager[Iterator[bytes]]:
        """The bytes from `start` on. A cut connection is taken up where it broke; ObjectChangedError if by then it is another."""
        etag: dict[str, str] = {}

        def open_at(position: int) -> Opened:
            ranged = {"Range": f"bytes={position}-"} if position else {}
            with s3_failures(self._at(key), reading=True):
                try:
                    answer = self._client.get_object(Bucket=self.bucket, Key=key, **ranged, **etag)  # type: ignore[arg-type]
                except ClientError as error:
                    if code_of(error) == "InvalidRange":  # everything was read
                        return Opened(iter(()), lambda: None)
                    if code_of(error) == "PreconditionFailed":
                        raise ObjectChangedError(
                            f"{self._at(key)} was replaced while it was read. Start anew."
                        ) from None
                    raise
            etag["IfMatch"] = answer["ETag"]
            return Opened(self._chunks(key, answer["Body"]), answer["Body"].close)

        return resumed(open_at, start, tries=TRIES, backoff=0.1)

    def stat(self, key: str) -> StoredObject | None:
        """What is there, or None."""
        head = self._head(key)
        return _described(key, head) if head else None

    def sign(self, key: str, expires_in: timedelta, *, download_as: str = "") -> str:
        """A URL that anybody can GET; it also ends with the credentials it was signed with, where those are temporary."""
        seconds = require_lifetime(expires_in)
        if not self.stat(key):
            raise ObjectMissingError(f"{self._at(key)} is not there.")
        disposition = {"ResponseContentDisposition": attachment(download_as)} if download_as else {}
        with s3_failures(self._at(key)):
            return self._client.generate_presigned_url(
                "get_object", Params={"Bucket": self.bucket, "Key": key, **disposition}, ExpiresIn=seconds
            )

    def list(self, prefix: str) -> Iterator[StoredObject]:
        """All objects below a prefix that ends with a slash, a page of 1,000 at a time."""
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self.bucket, Prefix=require_folder(prefix)
        )
        with s3_failures(self._at(prefix)):
            for page in pages:
                for found in page.get("Contents", []):
                    yield StoredObject(found["Key"], found["Size"], found["ETag"], found["LastModified"])

    def delete(self, key: str) -> bool:
        """True when it was there and is gone, False when nothing was there but, perhaps, parts of broken uploads: they go too.

        Raises when they could not be made to: who is told tries again, and nobody else would.
        """
        with s3_failures(self._at(key)):
            if there := self.stat(key) is not None:
                self._client.delete_object(Bucket=self.bucket, Key=key)
            self._abort_all(key)
            return there

    def abort(self, key: str, upload_id: str) -> None:
        """The upload and its parts are gone afterwards; one nobody knows is gone already."""
        with s3_failures(self._at(key)):
            self._abort(key, upload_id)

    def _at(self, key: str) -> S3Address:
        return S3Address(self.bucket, key)

    def _head(self, key: str) -> HeadObjectOutputTypeDef | None:
        with s3_failures(self._at(key)):
            try:
                head = self._client.head_object(Bucket=self.bucket, Key=key, ChecksumMode="ENABLED")
            except ClientError as error:
                if not is_missing(error):
                    raise
                require_bucket(self._client, self.bucket)  # HEAD says 404 for either
                return None
        if not {"ETag", "LastModified", "ContentLength"} <= head.keys():  # a proxy may answer 200 with nothing
            raise StorageUnavailableError(f"{self._at(key)}: S3 described it by nothing. Try again later.")
        return head

    def _create(self, key: str, body: AnnouncedBody, about: dict[str, Any]) -> str:
        checksum = _base64(bytes.fromhex(body.sha256))
        self._client.put_object(
            Bucket=self.bucket,
            Key=key,
            Body=body.checked(),
            ContentLength=body.size,
            ChecksumSHA256=checksum,
            IfNoneMatch="*",
            **about,
        )
        return checksum

    def _create_in_parts(self, key: str, body: AnnouncedBody, about: dict[str, Any]) -> str:
        begun = self._client.create_multipart_upload(Bucket=self.bucket, Key=key, ChecksumAlgorithm="SHA256", **about)
        target: dict[str, Any] = {"Bucket": self.bucket, "Key": key, "UploadId": begun["UploadId"]}
        parts: list[Any] = []
        try:
            part_size = max(self._part_size, -(-body.size // MOST_PARTS))
            for number, piece in enumerate(body.pieces(part_size), start=1):
                checksum = _base64(hashlib.sha256(piece).digest())
                part = self._client.upload_part(**target, PartNumber=number, Body=piece, ChecksumSHA256=checksum)
                parts.append({"PartNumber": number, "ETag": part["ETag"], "ChecksumSHA256": checksum})
            self._client.complete_multipart_upload(**target, MultipartUpload={"Parts": parts}, IfNoneMatch="*")
        except BaseException:
            with suppress(
                ClientError, BotoCoreError
            ):  # the next who stores or deletes this key aborts what is left of it
                self._abort(key, begun["UploadId"])
            raise
        try:
            self._abort_all(key)
        except (ClientError, BotoCoreError) as error:
            _log.warning("Parts of broken uploads of %s may be left: %s", self._at(key), code_of(error) or error)
        digests = b"".join(base64.b64decode(part["ChecksumSHA256"]) for part in parts)
        return _base64(hashlib.sha256(digests).digest())

    def _abort_all(self, key: str) -> None:
        """Uploads of this key that died, or whose object is there or to go: none of them is to create it any more."""
        pages = self._client.get_paginator("list_multipart_uploads").paginate(Bucket=self.bucket, Prefix=key)
        for upload_id in [one["UploadId"] for page in pages for one in page.get("Uploads", []) if one["Key"] == key]:
            self._abort(key, upload_id)

    def _abort(self, key: str, upload_id: str) -> None:
        try:
            self._client.abort_multipart_upload(Bucket=self.bucket, Key=key, UploadId=upload_id)
        except ClientError as error:
            if code_of(error) != "NoSuchUpload":
                raise

    def _verified(self, key: str, body: AnnouncedBody, token: str, checksum: str | None) -> bool:
        """Whether what is there is ours (True) or as good (False); raises for anything else."""
        if not (head := self._head(key)):
            raise StorageUnavailableError(f"{self._at(key)} was sent and is not there. Try again later.")
        found, ours = _described(key, head), head["Metadata"].get("upload") == token
        there = head.get("ChecksumSHA256", "").partition("-")[0]  # "-N" follows in that of N parts
        as_sent = not (ours and checksum and there) or there == checksum
        if as_sent and found.size == body.size and self._sha256(found) == body.sha256:
            return ours
        if not ours:
            raise NameConflictError(
                f"{self._at(key)} holds {found.size} bytes with SHA-256 {found.sha256}, not the {body.size} bytes with"
                f" {body.sha256} to be stored. Nothing was replaced."
            )
        self.delete(key)
        raise CorruptedUploadError(
            f"{self._at(key)}: sent {body.size} bytes with SHA-256 {body.sha256}, S3 holds {found.size} bytes"
            f" with checksum {there or 'unknown'}. They were removed. Try again."
        )

    def _sha256(self, found: StoredObject) -> str:
        if found.sha256:
            return found.sha256
        with self.get(found.key) as chunks:
            return hashed(chunks)[0]

    def _chunks(self, key: str, body: Any) -> Iterator[bytes]:
        with s3_failures(self._at(key), reading=True):
            try:
                while chunk := body.read(CHUNK):
                    yield chunk
            except FlexibleChecksumError as error:
                raise CorruptedUploadError(f"{self._at(key)} does not have the checksum S3 keeps of it.") from error
            except HTTPError as error:  # botocore lets those of TLS pass as they are
                raise StorageUnavailableError(
                    f"{self._at(key)}: the connection to S3 broke ({type(error).__name__}). Try again later."
                ) from error


def require_bucket(s3: S3Client, bucket: str) -> None:
    """Raises NoBucketError when it does not exist, NotConfiguredError when it is not ours to use."""
    with s3_failures(S3Address(bucket, "")):
        try:
            s3.head_bucket(Bucket=bucket)
        except ClientError as error:
            if is_missing(error):
                raise NoBucketError(
                    f"S3 bucket {bucket!r} does not exist. Create it, or set TRAINMASTER_BUCKET"
                    " (TRAINMASTER_DATASET_BUCKET for datasets)."
                ) from error
            raise


def prefix_checksum(s3: S3Client, prefix: S3Address) -> tuple[str, int, int]:
    """A SHA-256 over names, sizes and ETags below a prefix, with the number of objects and their bytes."""
    digest, objects, size = hashlib.sha256(), 0, 0
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=prefix.bucket, Prefix=prefix.key):
        for found in page.get("Contents", []):
            digest.update(f"{found['Key']}\n{found['Size']}\n{found['ETag']}\n".encode())
            objects, size = objects + 1, size + found["Size"]
    return digest.hexdigest(), objects, size


def _described(key: str, head: HeadObjectOutputTypeDef) -> StoredObject:
    metadata = head["Metadata"]
    return StoredObject(
        key, head["ContentLength"], head["ETag"], head["LastModified"], metadata.get("sha256"), metadata
    )


def _base64(digest: bytes) -> str:
    return base64.b64encode(digest).decode()


def sign_urls_by_version_4(signature_version: Any, **_: Any) -> str | None:
    """A handler of botocore's event `choose-signer`."""
    query = isinstance(signature_version, str) and signature_version.endswith("-query")
    return "s3v4-query" if query else None
