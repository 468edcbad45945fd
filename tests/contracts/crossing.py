"""Datasets of one user at Supabase and a bucket of his own in S3, each behind a passage in which calls may come to grief."""

from __future__ import annotations

import gzip
import random
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import boto3
import httpx
from botocore.config import Config
from pydantic import SecretStr

from benchmarks.soaking.passage import Passage
from trainmaster.storage.ends.obstore_clients import Timeouts
from trainmaster.storage.ends.s3_destination import S3Destination
from trainmaster.storage.ends.supabase_source import SupabaseSource
from trainmaster.storage.store import StorageProvider
from trainmaster.storage.stores import SUPABASE_BUCKET

PART = 5 << 20
"""The least S3 takes as a part of several."""
AT_SUPABASE, AT_S3 = StorageProvider.SUPABASE, StorageProvider.S3


def packed(size: int, seed: object = 0) -> bytes:
    """Whole gzip of at least so many bytes."""
    return gzip.compress(random.Random(f"{seed}").randbytes(size), 0, mtime=0)  # noqa: S311 - repeatable


@dataclass
class Crossing:
    """`environment` is that of the embedded AWS and Supabase; with `shelves` one comes by the passages, else straight."""

    straight: Mapping[str, str]
    folder: Path
    user_id: UUID = field(default_factory=uuid4)

    def __post_init__(self) -> None:
        environment = self.straight
        self.source, self.destination = (Passage(environment[name]) for name in ("SUPABASE_URL", "AWS_ENDPOINT_URL_S3"))
        self.bucket = f"crossing-{uuid4().hex[:12]}"
        self.environment = {
            **environment,
            "SUPABASE_URL": self.source.url,
            "AWS_ENDPOINT_URL_S3": self.destination.url,
            "TRAINMASTER_BUCKET": self.bucket,
        }
        self.s3 = self._client(environment["AWS_ENDPOINT_URL_S3"], tries=3)
        self.make_bucket()
        key = environment["SUPABASE_SERVICE_ROLE_KEY"]
        self._supabase = httpx.Client(
            base_url=f"{environment['SUPABASE_URL']}/storage/v1/object/{SUPABASE_BUCKET}/",
            headers={"Authorization": f"Bearer {key}", "apikey": key, "x-upsert": "true"},
            timeout=60,
        )

    def close(self) -> None:
        self._supabase.close()
        self.source.close()
        self.destination.close()

    def calm(self) -> None:
        self.source.calm()
        self.destination.calm()

    def ends(self, timeouts: Timeouts) -> tuple[SupabaseSource, S3Destination]:
        """What a copy goes between, by the passages; a call is tried once."""
        key = SecretStr(self.straight["SUPABASE_SERVICE_ROLE_KEY"])
        source = SupabaseSource(self.source.url, key, SUPABASE_BUCKET, timeouts=timeouts)
        client = self._client(self.destination.url, tries=1, seconds=timeouts.answer_seconds)
        return source, S3Destination(client, self.bucket, timeouts=timeouts)

    def send(self, path: str, data: bytes) -> str:
        """Put, or replaced, at Supabase."""
        self._supabase.post(path, content=data, headers={"Content-Type": "application/gzip"}).raise_for_status()
        return path

    def lose(self, path: str) -> None:
        self._supabase.delete(path).raise_for_status()

    def lose_bytes(self, path: str) -> None:
        """Of an object at Supabase whose row stays."""
        folder = Path(self.straight["TRAINMASTER_STATE_DIR"]) / "supabase"
        with closing(sqlite3.connect(folder / "storage.db")) as database:
            (version,) = database.execute("select version from objects where name = ?", (path,)).fetchone()
        (found,) = [file for file in (folder / "objects").rglob("*") if file.is_file() and version in str(file)]
        found.unlink()

    def make_bucket(self) -> None:
        self.s3.create_bucket(Bucket=self.bucket)

    def delete_bucket(self) -> None:
        """With all that is in it, and all that somebody puts there meanwhile."""
        while True:
            for key in self.at_s3():
                self.s3.delete_object(Bucket=self.bucket, Key=key)
            try:
                self.s3.delete_bucket(Bucket=self.bucket)
            except self.s3.exceptions.ClientError as error:
                if error.response["Error"]["Code"] != "BucketNotEmpty":
                    raise
            else:
                return

    def at_s3(self, below: str = "") -> dict[str, bytes]:
        """Every object in the bucket."""
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=below)
        keys = [found["Key"] for page in pages for found in page.get("Contents", [])]
        return {key: self.s3.get_object(Bucket=self.bucket, Key=key)["Body"].read() for key in keys}

    def uploads(self, below: str = "") -> list[str]:
        """Keys of multipart uploads that were begun and neither completed nor aborted."""
        found = self.s3.list_multipart_uploads(Bucket=self.bucket, Prefix=below).get("Uploads", [])
        return [each["Key"] for each in found]

    def _client(self, url: str, *, tries: int, seconds: float = 30) -> Any:
        environment = self.straight
        return boto3.client(
            "s3",
            endpoint_url=url,
            region_name=environment["AWS_REGION"],
            aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
            config=Config(retries={"total_max_attempts": tries}, read_timeout=seconds),
        )
