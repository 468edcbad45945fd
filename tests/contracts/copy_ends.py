"""What copies come from and go to, as the tests of both reach them."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

from object_stores import Server, sha256
from pydantic import SecretStr

from trainmaster.storage.ends.obstore_clients import Timeouts
from trainmaster.storage.ends.protocols import Destination, Part, Source
from trainmaster.storage.ends.s3_destination import S3Destination
from trainmaster.storage.ends.s3_source import S3Source
from trainmaster.storage.ends.supabase_source import SupabaseSource
from trainmaster.storage.supabase_s3 import SupabaseS3Source, supabase_s3_client

SMALLEST_PART = 5 << 20
SOON = Timeouts(connect_seconds=20, answer_seconds=2, request_seconds=20)
AT_ONCE = Timeouts(connect_seconds=20, answer_seconds=0.3, request_seconds=0.5)


@dataclass(frozen=True)
class Origin:
    """A source, and the server whose objects it reads."""

    server: Server
    s3_keys: tuple[str, str] | None = None
    """Of Supabase's S3 endpoint, where it is read by that."""

    def source(self, url: str = "", *, bucket: str = "", timeouts: Timeouts = Timeouts()) -> Source:  # noqa: B008 - frozen
        server, bucket = self.server, bucket or self.server.bucket
        if self.s3_keys:
            client = supabase_s3_client(url or server.url, *self.s3_keys, "us-east-1")
            return SupabaseS3Source(client, bucket, timeouts=timeouts)
        if server.provider == "supabase":
            return SupabaseSource(url or server.url, SecretStr(server.secret), bucket, timeouts=timeouts)
        return S3Source(server.client(url), bucket, timeouts=timeouts)

    @property
    def secrets(self) -> set[str]:
        """What nobody may be shown."""
        return {self.server.secret, *(self.s3_keys or ())[1:]}

    def put(self, key: str, data: bytes) -> None:
        """Whatever is there already."""
        store = self.server.store()
        store.delete(key)
        store.put(key, io.BytesIO(data), size=len(data), sha256=sha256(data), content_type="application/gzip")


@dataclass(frozen=True)
class Target:
    """A server to copy to. `checking`: it verifies the checksums it is sent."""

    server: Server
    checking: bool

    def destination(
        self,
        url: str = "",
        *,
        bucket: str = "",
        timeouts: Timeouts = Timeouts(),  # noqa: B008 - frozen
        tries: int = 3,
        **settings: Any,
    ) -> S3Destination:
        client = self.server.client(url, tries=tries, seconds=timeouts.request_seconds)
        return S3Destination(client, bucket or self.server.bucket, timeouts=timeouts, **settings)


def put(destination: Destination, key: str, data: bytes) -> str:
    return destination.put(key, memoryview(data), sha256=sha256(data), source_version='"of the source"')


def all_of(destination: Destination, key: str) -> bytes:
    return bytes(destination.read(key, 0, 1 << 30).data)


def upload(destination: Destination, key: str, data: bytes) -> tuple[str, list[Part]]:
    """An upload of two parts that is yet to be completed."""
    upload_id = destination.begin(key, source_version='"of the source"', sha256=sha256(data))
    pieces = [data[:SMALLEST_PART], data[SMALLEST_PART:]]
    return upload_id, [destination.put_part(key, upload_id, n, memoryview(each)) for n, each in enumerate(pieces, 1)]
