"""The servers whose stores keep the same contract, and how a test, or a process that it kills, reaches them."""

from __future__ import annotations

import hashlib
import io
import json
import os
import resource
import sys
import uuid
from dataclasses import asdict, dataclass
from typing import IO, Any

import boto3
from botocore.config import Config
from pydantic import SecretStr

from trainmaster.storage.bodies import hashed, measured
from trainmaster.storage.s3 import S3Store
from trainmaster.storage.store import ObjectStore
from trainmaster.storage.supabase import SupabaseStore
from trainmaster.storage.supabase_calls import Timing

HOSTED = {"SUPABASE_URL", "SUPABASE_SERVICE_ROLE_KEY"} <= os.environ.keys()
"""Whether whoever runs the tests names a Supabase project of theirs."""
LARGE = (7 << 20) + 3
"""Bytes that no store here takes in one piece."""


@dataclass(frozen=True)
class Server:
    """A server of objects. `provider` is "s3" or "supabase"; `key_id` means nothing to Supabase."""

    name: str
    provider: str
    url: str
    bucket: str
    key_id: str
    secret: str

    def store(self, url: str = "", *, seconds: float = 30, tries: int = 3, bucket: str = "") -> ObjectStore:
        """Its store, reached at `url` instead where that is given, waiting so many seconds for each of so many answers."""
        if self.provider == "supabase":
            timing = Timing(connect_seconds=seconds, answer_seconds=seconds, tries=tries, pause_seconds=0.05)
            return SupabaseStore(url or self.url, SecretStr(self.secret), bucket or self.bucket, timing=timing)
        client = self.client(url, seconds=seconds, tries=tries)
        return S3Store(client, bucket or self.bucket, part_size=5 << 20, multipart_from=6 << 20)

    def client(self, url: str = "", *, seconds: float = 30, tries: int = 3) -> Any:
        return boto3.client(
            "s3",
            endpoint_url=url or self.url,
            region_name="us-east-1",
            aws_access_key_id=self.key_id,
            aws_secret_access_key=self.secret,
            config=Config(
                connect_timeout=seconds, read_timeout=seconds, retries={"total_max_attempts": tries, "mode": "standard"}
            ),
        )

    def child(self, url: str, key: str, size: int) -> list[str]:
        """The command of a process that stores what `Noise` makes, reads it, and prints by how many KiB that made it grow."""
        return [sys.executable, __file__, json.dumps(asdict(self)), url, key, str(size)]


class Noise(io.RawIOBase):
    """A file of bytes that do not compress, as long as wanted, held nowhere."""

    PERIOD = hashlib.shake_256(b"noise").digest(65_521)

    def __init__(self, size: int) -> None:
        self._size, self._at = size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + (0, self._at, self._size)[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
        start = self._at % len(self.PERIOD)
        piece = self.PERIOD[start : start + min(len(buffer), self._size - self._at)]
        buffer[: len(piece)] = piece
        self._at += len(piece)
        return len(piece)


def body(size: int) -> IO[bytes]:
    return io.BufferedReader(Noise(size), 64 << 10)


def content(size: int) -> bytes:
    return body(size).read()


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def put(store: ObjectStore, key: str, data: bytes) -> bool:
    return store.put(key, io.BytesIO(data), size=len(data), sha256=sha256(data), content_type="application/gzip")


def read(store: ObjectStore, key: str, start: int = 0) -> bytes:
    with store.get(key, start=start) as chunks:
        return b"".join(chunks)


FOLDERS: list[str] = []
"""All that were given out, for who has to tidy up."""


def folder() -> str:
    """A prefix nobody else uses."""
    FOLDERS.append(f"{uuid.uuid4()}/datasets/")
    return FOLDERS[-1]


def _main(server: str, url: str, key: str, size: str) -> None:
    store = Server(**json.loads(server)).store(url)
    store.stat("warm/up")
    announced, _ = measured(body(int(size)))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    store.put(key, body(int(size)), size=int(size), sha256=announced, content_type="application/gzip")
    with store.get(key) as chunks:
        assert hashed(chunks)[0] == announced
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)


if __name__ == "__main__":
    _main(*sys.argv[1:])
