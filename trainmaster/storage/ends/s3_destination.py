"""An S3 bucket as copies are put into it: created once, each body proven by S3 itself against a checksum of ours."""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import obstore

from trainmaster.errors import (
    CorruptedUploadError,
    ObjectChangedError,
    ObjectMissingError,
    RefusedError,
    StorageUnavailableError,
    TrainmasterError,
)
from trainmaster.storage.ends.end_failures import S3, Refusal, failure
from trainmaster.storage.ends.obstore_clients import Timeouts, s3_objects
from trainmaster.storage.ends.obstore_reading import Reader, require_exact, unquoted
from trainmaster.storage.ends.protocols import (
    AlreadyThereError,
    Checks,
    Held,
    Part,
    Piece,
    Source,
    UploadGoneError,
    Version,
)
from trainmaster.storage.ends.s3_parts import CONTENT_TYPE, S3Parts, recorded
from trainmaster.storage.ends.s3_refusals import told
from trainmaster.storage.ends.s3_source import S3Source, place_of
from trainmaster.storage.s3 import require_bucket

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from obstore import Attributes
    from obstore.store import S3Store

_WRONG_CRC32 = base64.b64encode(bytes(4)).decode()
_WRONG = {"CRC64NVME": base64.b64encode(bytes(8)).decode(), "SHA256": base64.b64encode(bytes(32)).decode()}
"""Checksums that the probe does not have, of the kinds obstore can send, the cheapest first."""
_PROBE = b"Does this server check what it is sent?"
LARGEST_COPY, COPIED_PART = 5 << 30, 1 << 30
"""Bytes: what one CopyObject takes (AWS), and how much of a larger one is copied by a request."""


class S3Destination(S3Parts):
    """A bucket to copy into. May be shared between threads.

    `client` decides how often small calls (begin, complete, list, delete) are tried again; bodies are sent once per call.
    """

    lists = True

    def __init__(
        self,
        client: S3Client,
        bucket: str,
        *,
        encryption: str | None = None,
        kms_key_id: str | None = None,
        probe_folder: str = "",
        largest_copy: int = LARGEST_COPY,
        copied_part: int = COPIED_PART,
        timeouts: Timeouts = Timeouts(),  # noqa: B008 - frozen
    ) -> None:
        super().__init__(client, bucket, encryption=encryption, kms_key_id=kms_key_id, timeouts=timeouts)
        self.place, self._probe = place_of(client), f"{probe_folder}checksums"
        self._largest_copy, self._copied_part = largest_copy, copied_part
        self._chosen: dict[str, Any] = {"encryption": encryption, "kms_key_id": kms_key_id}
        # The clock of an answer begins with the request: a body may take as long as the whole request is given.
        self._timeouts = replace(timeouts, answer_seconds=timeouts.request_seconds)
        self._lock = threading.Lock()
        self._checks: Checks | None = None
        self._reader = Reader(self._objects(None), self.name, self._failure, conditional=True)
        self._store = self._objects("CRC64NVME")

    def __repr__(self) -> str:
        return f"S3Destination({self.name})"

    def checks(self) -> Checks:
        """What S3 verifies: found out by sending it little objects, and a part, with checksums that are wrong."""
        with self._lock:
            if self._checks is None:
                known = next((name for name in _WRONG if self._refuses(name)), None)
                if known != "CRC64NVME":
                    self._store = self._objects(known)
                self._checks = Checks(objects=known is not None, parts=self._refuses_part())
            return self._checks

    def look(self, key: str) -> Held | None:
        """What is there, or None. Raises NotConfiguredError when the bucket is gone."""
        try:
            version, beside = self._reader.describe(key)
        except ObjectMissingError:
            require_bucket(self._client, self.bucket)  # HEAD says 404 for either
            return None
        return Held(version.size, version.tag, beside.get("sha256"), beside.get("source-version"))

    def listing(self, paths: Sequence[str]) -> dict[str, Version]:
        """Those of one folder that ListObjectsV2 shows, from the first of them on."""
        return self._reader.listing(paths)

    def read(self, key: str, start: int, length: int, version: Version | None = None) -> Piece:
        """Bytes of the version asked for, by one request."""
        return self._reader.piece(key, start, length, version)

    def put(self, key: str, body: memoryview, *, sha256: str, source_version: str) -> str:
        """Create an object by one request, its tag."""
        require_exact(self.at(key), key)
        beside: Attributes = {"Content-Type": CONTENT_TYPE, **recorded(source_version, sha256)}

        def put() -> str | None:
            sent = obstore.put(self._store, key, body, attributes=beside, mode="create", use_multipart=False)
            return sent["e_tag"]

        return unquoted(put, lambda refusal: failure(self.at(key), refusal, S3, creating=True)) or ""

    def can_copy_from(self, source: Source) -> bool:
        """Whether the source is of the same account and region."""
        return isinstance(source, S3Source) and source.place == self.place

    def copy_from(self, source: Source, path: str, version: Version, key: str, *, sha256: str | None = None) -> str:
        """Create an object from one of `source`, at AWS's servers, its tag."""
        if not isinstance(source, S3Source) or not self.can_copy_from(source):
            raise ValueError(f"{source.name} is not where {self.name} is; its bytes have to be read.")
        origin = Origin(source.bucket, path, version)
        try:
            if version.size > self._largest_copy:
                return self._copy_in_parts(origin, key, sha256)
            return self._copy_whole(origin, key, sha256)
        except ObjectChangedError:
            if self.look(key):  # S3 answers the same where the source changed and where the destination is taken
                raise AlreadyThereError(f"{self.at(key)} is there already.") from None
            raise

    def _copy_whole(self, origin: Origin, key: str, sha256: str | None) -> str:
        copy = partial(
            self._client.copy_object,
            MetadataDirective="REPLACE",
            ContentType=CONTENT_TYPE,
            Metadata=recorded(origin.version.tag, sha256),
            IfNoneMatch="*",
        )
        asked = {"Bucket": self.bucket, "Key": key, **origin.unchanged(), **self._encryption}
        return _quoted(told(self.at(key), lambda: copy(**asked))["CopyObjectResult"]["ETag"])

    def _copy_in_parts(self, origin: Origin, key: str, sha256: str | None) -> str:
        upload_id = self.begin(key, source_version=origin.version.tag, sha256=sha256)
        parts: list[Part] = []
        try:
            for number, (start, stop) in enumerate(origin.ranges(self._copied_part), start=1):
                copy = partial(
                    self._client.upload_part_copy,
                    Bucket=self.bucket,
                    Key=key,
                    UploadId=upload_id,
                    PartNumber=number,
                    CopySourceRange=f"bytes={start}-{stop - 1}",
                )
                made = told(self.at(key), partial(copy, **origin.unchanged()))["CopyPartResult"]
                parts.append(Part(number, _quoted(made["ETag"]), stop - start, made.get("ChecksumCRC32")))
            return self.complete(key, upload_id, parts)
        except BaseException:
            with suppress(TrainmasterError):  # what failed is what is told; the engine aborts what is left of a key
                self.abort(key, upload_id)
            raise

    def _failure(self, key: str, refusal: Refusal) -> TrainmasterError:
        return failure(self.at(key), refusal, S3)

    def _objects(self, checksum: str | None) -> S3Store:
        return s3_objects(self._client, self.bucket, self._timeouts, checksum=checksum, **self._chosen)

    def _refuses(self, algorithm: str) -> bool:
        """Whether an object whose checksum is wrong is refused for that; one that is taken is removed."""
        key = self._probe
        wrong: dict[str, Any] = {f"Checksum{algorithm}": _WRONG[algorithm]}
        try:
            asked = {"Bucket": self.bucket, "Key": key, "Body": _PROBE, **wrong, **self._encryption}
            told(self.at(key), lambda: self._client.put_object(**asked))
        except CorruptedUploadError:
            return True
        except RefusedError as error:
            if type(error) is not RefusedError:  # no permission, no bucket; else it does not know the algorithm
                raise
            return False
        self.delete(key)
        return False

    def _refuses_part(self) -> bool:
        key = self._probe
        with suppress(RefusedError):  # where uploads cannot be listed
            for left in self.uploads(key):  # by somebody who was killed at this
                self.abort(key, left)
        upload_id = self.begin(key, source_version="probe")
        try:
            self._put_part(key, upload_id, 1, memoryview(_PROBE), _WRONG_CRC32)
        except CorruptedUploadError:
            return True
        except UploadGoneError:
            raise StorageUnavailableError(f"{self.at(key)}: somebody else looks at the same time. Try again.") from None
        finally:
            self.abort(key, upload_id)
        return False


@dataclass(frozen=True)
class Origin:
    """What is copied at the servers, as long as it is that version."""

    bucket: str
    path: str
    version: Version

    def unchanged(self) -> dict[str, Any]:
        return {
            "CopySource": {"Bucket": self.bucket, "Key": self.path},
            "CopySourceIfMatch": self.version.tag,
        }

    def ranges(self, part: int) -> Iterator[tuple[int, int]]:
        for start in range(0, self.version.size, part):
            yield start, min(start + part, self.version.size)


def _quoted(tag: str) -> str:
    """As everybody else writes ETags; some servers leave the quotes out of what they answer to copies."""
    return f'"{tag.strip(chr(34))}"'
