"""How every boto3 client of ours is set up: bounded in time, retried by botocore with jitter."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError

from trainmaster.errors import NotConfiguredError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

CONNECT_TIMEOUT, READ_TIMEOUT, ATTEMPTS = 10, 70, 8
"""Seconds, seconds and tries. InvokeEndpoint may take 60 s, so a read may take a little more."""
_WHERE_FROM = (
    "no AWS credentials were found. Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE or"
    " a role for the worker, or name a prefect-aws block in TRAINMASTER_AWS_CREDENTIALS_BLOCK."
)
NO_CREDENTIALS = f"S3 was chosen, but {_WHERE_FROM}"


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
    client: S3Client = _default_session(region, NO_CREDENTIALS).client("s3", config=client_config())
    return client


def default_clients(region: str) -> Callable[[str], Any]:
    """From the name of a service to its client, of AWS's default chain. Raises NotConfiguredError as `default_s3_client`."""
    session = _default_session(region, f"Training runs on AWS, but {_WHERE_FROM}")
    return lambda service: session.client(service, config=client_config())  # type: ignore[call-overload]


def _default_session(region: str, without_credentials: str) -> boto3.Session:
    try:
        session = boto3.Session(region_name=region)
        found = session.get_credentials()
    except BotoCoreError as error:
        raise NotConfiguredError(f"{without_credentials} ({error})") from error
    if found is None:
        raise NotConfiguredError(without_credentials)
    return session
