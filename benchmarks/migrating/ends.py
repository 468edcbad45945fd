"""What is copied from and to: addresses and keys of one bucket of a server, and what its tools are told of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import boto3
from botocore.config import Config

from trainmaster.aws.clients import client_config

REGION = "us-east-1"


@dataclass(frozen=True)
class S3End:
    """A bucket of an S3-compatible server."""

    url: str
    access_key_id: str
    secret_access_key: str
    bucket: str

    def client(self) -> Any:
        """A boto3 client."""
        return boto3.client(
            "s3",
            endpoint_url=self.url,
            region_name=REGION,
            aws_access_key_id=self.access_key_id,
            aws_secret_access_key=self.secret_access_key,
            config=client_config().merge(Config(s3={"addressing_style": "path"})),
        )


@dataclass(frozen=True)
class SupabaseEnd:
    """A bucket of Supabase Storage, over its HTTP API."""

    url: str
    key: str
    bucket: str


End = S3End | SupabaseEnd


def written(source: End, destination: S3End) -> str:
    """Both as JSON, for another process."""
    kind = "s3" if isinstance(source, S3End) else "supabase"
    return json.dumps({"kind": kind, "source": asdict(source), "destination": asdict(destination)})


def read(text: str) -> tuple[End, S3End]:
    found: Mapping[str, Any] = json.loads(text)
    kind = S3End if found["kind"] == "s3" else SupabaseEnd
    return kind(**found["source"]), S3End(**found["destination"])
