"""Addresses of things in S3."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

S3Uri = Annotated[str, Field(pattern=r"^s3://[a-z0-9][a-z0-9.-]{2,62}/.+$")]


@dataclass(frozen=True)
class S3Address:
    """A bucket and a key or prefix in it."""

    bucket: str
    key: str

    @classmethod
    def parse(cls, uri: str) -> S3Address:
        """Raises ValueError for anything but s3://bucket/key."""
        bucket, slash, key = uri.removeprefix("s3://").partition("/")
        if not uri.startswith("s3://") or not bucket or not slash:
            raise ValueError(f"{uri!r} is not an S3 address; write s3://bucket/key")
        return cls(bucket, key)

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.key}"
