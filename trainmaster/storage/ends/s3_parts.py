"""Multipart uploads into an S3 bucket: parts proven by S3 on arrival, an object created of them only where none is."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from botocore import UNSIGNED
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.httpsession import URLLib3Session
from isal import isal_zlib

from trainmaster.storage.ends.end_failures import S3, failure
from trainmaster.storage.ends.obstore_clients import Timeouts, current_credentials, trusted_roots
from trainmaster.storage.ends.obstore_failures import answered
from trainmaster.storage.ends.protocols import Part, UploadGoneError
from trainmaster.storage.ends.s3_refusals import member, seconds, told

if TYPE_CHECKING:
    from botocore.awsrequest import AWSResponse
    from mypy_boto3_s3 import S3Client

CONTENT_TYPE = "application/gzip"
CHECKSUM = "x-amz-checksum-crc32"
"""Of all that S3 verifies the one a CPU has an instruction for and Python an implementation that lets other threads run."""
_SLICE = 256 << 10
"""Bytes handed to the socket at a time: each has a timeout of its own, so that a slow line is no dead one."""
_CONNECTIONS = 64
_UNSIGNED_BODY = Config(s3={"payload_signing_enabled": False})
"""The checksum is signed, and proves the body."""


class S3Parts:
    """The multipart uploads of a bucket. May be shared between threads."""

    def __init__(
        self, client: S3Client, bucket: str, *, encryption: str | None, kms_key_id: str | None, timeouts: Timeouts
    ) -> None:
        self.name, self.bucket, self._client = f"s3://{bucket}", bucket, client
        key = {"SSEKMSKeyId": kms_key_id} if kms_key_id else {}
        self._encryption: dict[str, Any] = {"ServerSideEncryption": encryption, **key} if encryption else {}
        self._http = URLLib3Session(
            verify=trusted_roots(client),  # type: ignore[arg-type] # stubs know less than botocore, here and below
            proxies=client.meta.config.proxies,  # type: ignore[attr-defined]
            timeout=(timeouts.connect_seconds, timeouts.answer_seconds),  # type: ignore[arg-type]
            max_pool_connections=_CONNECTIONS,
        )
        client.meta.events.register("choose-signer.s3.UploadPart", _signed_by_headers, unique_id="trainmaster-part")

    def at(self, key: str) -> str:
        return f"{self.name}/{key}"

    def begin(self, key: str, *, source_version: str, sha256: str | None = None) -> str:
        """Begin an upload, its id. What is recorded beside the object has to be known by now."""
        begin = partial(
            self._client.create_multipart_upload,
            ChecksumAlgorithm="CRC32",
            ChecksumType="FULL_OBJECT",  # or who resumes would need checksums of parts, which some servers do not list
            ContentType=CONTENT_TYPE,
            Metadata=recorded(source_version, sha256),
        )
        begun = told(self.at(key), lambda: begin(Bucket=self.bucket, Key=key, **self._encryption))
        return member(self.at(key), begun, "UploadId")

    def put_part(self, key: str, upload_id: str, number: int, body: memoryview) -> Part:
        """Send a part by one request; nothing is copied and no second checksum made, as botocore would over plain http."""
        return self._put_part(key, upload_id, number, body, _crc32(body))

    def parts(self, key: str, upload_id: str) -> Sequence[Part]:
        """What arrived, by number."""
        pages = self._client.get_paginator("list_parts")

        def listed() -> list[Part]:
            return [
                Part(found["PartNumber"], found["ETag"], found["Size"], found.get("ChecksumCRC32"))
                for page in pages.paginate(Bucket=self.bucket, Key=key, UploadId=upload_id)
                for found in page.get("Parts", [])
            ]

        return told(self.at(key), listed)

    def complete(self, key: str, upload_id: str, parts: Sequence[Part]) -> str:
        """Create the object of all parts, its tag. S3 checks the size of the whole, and its checksum where every part's is known.

        Raises CorruptedUploadError where they differ; then there is no object.
        """
        named: list[Any] = [
            {"PartNumber": part.number, "ETag": part.tag} | ({"ChecksumCRC32": part.checksum} if part.checksum else {})
            for part in parts
        ]
        whole: dict[str, Any] = {"MpuObjectSize": sum(part.size for part in parts), "ChecksumType": "FULL_OBJECT"}
        if checksum := _crc32_of_all(parts):
            whole["ChecksumCRC32"] = checksum
        complete = partial(
            self._client.complete_multipart_upload, MultipartUpload={"Parts": named}, IfNoneMatch="*", **whole
        )
        made = told(self.at(key), lambda: complete(Bucket=self.bucket, Key=key, UploadId=upload_id), creating=True)
        return member(self.at(key), made, "ETag")

    def abort(self, key: str, upload_id: str) -> None:
        """The upload and its parts are gone afterwards."""
        abort = partial(self._client.abort_multipart_upload, Bucket=self.bucket, Key=key, UploadId=upload_id)
        with suppress(UploadGoneError):
            told(self.at(key), abort)

    def uploads(self, key: str) -> Sequence[str]:
        """Ids of the uploads of exactly this key that are neither completed nor aborted."""
        pages = self._client.get_paginator("list_multipart_uploads")

        def listed() -> list[str]:
            return [
                found["UploadId"]
                for page in pages.paginate(Bucket=self.bucket, Prefix=key)
                for found in page.get("Uploads", [])
                if found["Key"] == key
            ]

        with suppress(UploadGoneError):  # so `rclone serve s3` says that there is none
            return told(self.at(key), listed)
        return []

    def delete(self, key: str) -> None:
        """No object is there afterwards."""
        told(self.at(key), lambda: self._client.delete_object(Bucket=self.bucket, Key=key))

    def _put_part(self, key: str, upload_id: str, number: int, body: memoryview, checksum: str) -> Part:
        answer = told(self.at(key), lambda: self._sent(key, upload_id, number, body, checksum))
        if answer.status_code == 200 and (tag := answer.headers.get("ETag")):
            return Part(number, tag, body.nbytes, checksum)
        said = answer.content[:4096].decode(errors="replace")
        refusal = answered(answer.status_code, said, seconds(answer.headers.get("Retry-After")))
        raise failure(self.at(key), refusal, S3)

    def _sent(self, key: str, upload_id: str, number: int, body: memoryview, checksum: str) -> AWSResponse:
        address = self._client.generate_presigned_url(
            "upload_part", Params={"Bucket": self.bucket, "Key": key, "UploadId": upload_id, "PartNumber": number}
        )
        request = AWSRequest("PUT", address, headers={CHECKSUM: checksum}, data=_slices(body))
        request.context["client_config"] = _UNSIGNED_BODY
        self._signer().add_auth(request)
        request.headers["Content-Length"] = str(body.nbytes)
        answer: AWSResponse = self._http.send(request.prepare())
        _ = answer.content  # read, so that its connection can be used again
        return answer

    def _signer(self) -> S3SigV4Auth:
        region = self._client.meta.region_name
        return S3SigV4Auth(current_credentials(self._client), "s3", "us-east-1" if region == "aws-global" else region)


def recorded(source_version: str, sha256: str | None) -> dict[str, str]:
    """What is kept beside an object."""
    return {"source-version": source_version} | ({"sha256": sha256} if sha256 else {})


def _signed_by_headers(signature_version: Any, **_: Any) -> Any:
    """A handler of botocore's event `choose-signer`: an address is all that is asked of it for parts.

    A signature in the address would be in the logs of urllib3, and of every proxy.
    """
    of_an_address = isinstance(signature_version, str) and signature_version.endswith("-query")
    return UNSIGNED if of_an_address else None


def _slices(body: memoryview) -> Iterator[memoryview]:
    for start in range(0, body.nbytes, _SLICE):
        yield body[start : start + _SLICE]


def _crc32(body: memoryview) -> str:
    return base64.b64encode(isal_zlib.crc32(body).to_bytes(4, "big")).decode()


def _crc32_of_all(parts: Sequence[Part]) -> str:
    """That of the whole object. Empty where one part's is unknown: some servers do not list them."""
    whole = 0
    for part in parts:
        if part.checksum is None:
            return ""
        whole = isal_zlib.crc32_combine(whole, int.from_bytes(base64.b64decode(part.checksum), "big"), part.size)
    return base64.b64encode(whole.to_bytes(4, "big")).decode()
