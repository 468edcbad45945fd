"""How every boto3 client of ours is set up: bounded in time, retried by botocore with jitter."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError

from trainmaster.errors import CredentialsMissingError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_log = logging.getLogger(__name__)

CONNECT_TIMEOUT, READ_TIMEOUT, ATTEMPTS = 10, 70, 8
"""Seconds, seconds and tries. InvokeEndpoint may take 60 s, so a read may take a little more."""
CONNECT_SECONDS, ANSWER_SECONDS, HURRIED_CONNECTIONS = 2, 20, 40
"""Seconds, seconds, and as many calls at once as the HTTP API has threads."""
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


class Clients:
    """From the name of a service to its client, each made once, until `renew`. Safe to share between threads."""

    def __init__(self, make: Callable[[str], Any]) -> None:
        self._make = make
        self._made: dict[str, Any] = {}
        self._stale: set[str] = set()
        self._lock = threading.Lock()

    def __call__(self, service: str) -> Any:
        with self._lock:
            if service not in self._made:
                self._made[service] = self._make(service)
            elif service in self._stale:
                self._made[service] = self._anew(service)
            return self._made[service]

    def renew(self) -> None:
        """Make each client anew when it is next wanted: the session of a role that was assumed has ended."""
        with self._lock:
            self._stale.update(self._made)

    def _anew(self, service: str) -> Any:
        try:
            made = self._make(service)
        except Exception as error:  # noqa: BLE001 - whatever credentials come from may be away for a while, as AWS may
            _log.warning("the client of %s could not be made anew: %s", service, error)
            return self._made[service]  # by which AWS says again that its token has expired
        self._stale.discard(service)
        return made


def renew(client: Callable[[str], Any]) -> None:
    """Of clients that can be renewed; others renew their credentials themselves, or have none that expire."""
    if isinstance(client, Clients):
        client.renew()


def default_s3_client(region: str) -> S3Client:
    """An S3 client of AWS's default chain. Raises CredentialsMissingError when the chain holds none."""
    client: S3Client = _default_session(region, NO_CREDENTIALS).client("s3", config=client_config())
    return client


def hurried_config(attempts: int) -> Config:
    """For calls somebody waits for: each try is answered within ANSWER_SECONDS or given up."""
    return Config(
        connect_timeout=CONNECT_SECONDS,
        read_timeout=ANSWER_SECONDS,
        retries={"mode": "standard", "total_max_attempts": attempts},
        max_pool_connections=HURRIED_CONNECTIONS,
        user_agent_extra="trainmaster",
    )


def impatient_client(service: str, region: str) -> Any:
    """A client of AWS's default chain that tries once. Raises CredentialsMissingError."""
    session = _default_session(region, f"{service} is asked on AWS, but {_WHERE_FROM}")
    return session.client(service, config=hurried_config(1))  # type: ignore[call-overload]


def hurried_clients(region: str) -> Callable[[str], Any]:
    """As `default_clients`, for a server whose callers wait and can ask again: three tries. S3, which moves bytes, has its time."""
    session = _default_session(region, f"The HTTP API asks AWS, but {_WHERE_FROM}")
    config = hurried_config(3)
    return lambda service: session.client(service, config=client_config() if service == "s3" else config)  # type: ignore[call-overload]


def default_clients(region: str) -> Callable[[str], Any]:
    """From the name of a service to its client, of AWS's default chain. Raises CredentialsMissingError as `default_s3_client`."""
    session = _default_session(region, f"Training runs on AWS, but {_WHERE_FROM}")
    return lambda service: session.client(service, config=client_config())  # type: ignore[call-overload]


def _default_session(region: str, without_credentials: str) -> boto3.Session:
    try:
        session = boto3.Session(region_name=region)
        found = session.get_credentials()
    except BotoCoreError as error:
        raise CredentialsMissingError(f"{without_credentials} ({error})") from error
    if found is None:
        raise CredentialsMissingError(without_credentials)
    return session
