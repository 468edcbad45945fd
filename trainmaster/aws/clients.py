"""How every boto3 client of ours is set up: bounded in time, retried by botocore with jitter."""

from __future__ import annotations

from botocore.config import Config

CONNECT_TIMEOUT, READ_TIMEOUT, ATTEMPTS = 10, 70, 8
"""Seconds, seconds and tries. InvokeEndpoint may take 60 s, so a read may take a little more."""


def client_config() -> Config:
    """Timeouts, and botocore's adaptive retries, which also slow down when AWS throttles."""
    return Config(
        connect_timeout=CONNECT_TIMEOUT,
        read_timeout=READ_TIMEOUT,
        retries={"mode": "adaptive", "total_max_attempts": ATTEMPTS},
        user_agent_extra="trainmaster",
    )
