"""How every boto3 client of ours is set up: bounded in time, retried by botocore with jitter."""

from __future__ import annotations

from typing import TYPE_CHECKING

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError

from trainmaster.errors import NotConfiguredError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

CONNECT_TIMEOUT, READ_TIMEOUT, ATTEMPTS = 10, 70, 8
"""Seconds, seconds and tries. InvokeEndpoint may take 60 s, so a read may take a little more."""
NO_CREDENTIALS = (
    "S3 was chosen, but no AWS credentials were found. Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE or"
    " a role for the worker, or name a prefect-aws block in TRAINMASTER_AWS_CREDENTIALS_BLOCK."
)


def client_config() -> Config:
    """Timeouts, and botocore's adaptive retries, which also slow down when AWS throttles."""
    return Config(
        connect_timeout=CONNECT_TIMEOUT,
        read_timeout=READ_TIMEOUT,
        retries={"mode": "adaptive", "total_max_attempts": ATTEMPTS},
        user_agent_extra="trainmaster",
    )


def default_s3_client(region: str) -> S3Client:
    """An S3 client of AWS's default chain. Raises NotConfiguredError when the chain holds no credentials."""
    try:
        session = boto3.Session(region_name=region)
        found = session.get_credentials()
    except BotoCoreError as error:
        raise NotConfiguredError(f"{NO_CREDENTIALS} ({error})") from error
    if found is None:
        raise NotConfiguredError(NO_CREDENTIALS)
    return session.client("s3", config=client_config())
