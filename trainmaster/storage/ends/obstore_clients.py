"""How obstore's connections are set up: bounded in time, never tried again unseen, through the proxies and roots of the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from botocore.exceptions import BotoCoreError
from obstore.store import S3Store

from trainmaster.aws.clients import NO_CREDENTIALS
from trainmaster.errors import CredentialsMissingError

if TYPE_CHECKING:
    from botocore.credentials import ReadOnlyCredentials
    from mypy_boto3_s3 import S3Client
    from obstore.store import ClientConfig, RetryConfig, S3Config, S3Credential

ONCE: RetryConfig = {"max_retries": 0}
_CREDENTIALS_LAST = timedelta(minutes=10)
"""How long obstore may keep what botocore gave it; it asks again five minutes before that. botocore renews earlier."""


@dataclass(frozen=True)
class Timeouts:
    """Seconds to connect, until the next byte of an answer, and for a whole request, which has to fit a slow part."""

    connect_seconds: float = 10
    answer_seconds: float = 60
    request_seconds: float = 600


def client_options(
    url: str, timeouts: Timeouts, *, headers: Mapping[str, str] | None = None, roots: str | bool | None = None
) -> ClientConfig:
    """For an address. Plain http is spoken only where it says so, not even after a redirect. `roots` is a file of certificates."""
    options: ClientConfig = {
        "allow_http": urlsplit(url).scheme == "http",
        "connect_timeout": timedelta(seconds=timeouts.connect_seconds),
        "read_timeout": timedelta(seconds=timeouts.answer_seconds),
        "timeout": timedelta(seconds=timeouts.request_seconds),
        "user_agent": "trainmaster",
    }
    if headers:
        options["default_headers"] = dict(headers)
    if roots is False:
        options["allow_invalid_certificates"] = True  # as the client it comes from was told to
    file = roots if isinstance(roots, str) else os.environ.get("SSL_CERT_FILE", "")
    if file and Path(file).is_file():
        options["root_certificate"] = Path(file).read_bytes()
    return options


def s3_objects(
    client: S3Client,
    bucket: str,
    timeouts: Timeouts,
    *,
    checksum: str | None = None,
    encryption: str | None = None,
    kms_key_id: str | None = None,
) -> S3Store:
    """A bucket by obstore, at the endpoint and with the credentials, always the current ones, of a boto3 client.

    Raises CredentialsMissingError when the client has none. Bodies are not signed: `checksum` is what the server proves them by.
    """
    endpoint, region = client.meta.endpoint_url, client.meta.region_name
    host = urlsplit(endpoint).hostname or ""
    by_host = host.endswith((".amazonaws.com", ".amazonaws.com.cn")) and "." not in bucket
    address = endpoint.replace("://", f"://{bucket}.", 1) if by_host else endpoint
    options = client_options(endpoint, timeouts, roots=trusted_roots(client))
    if proxy := (client.meta.config.proxies or {}).get(urlsplit(endpoint).scheme):  # type: ignore[attr-defined]
        options["proxy_url"] = proxy
    config: S3Config = {
        "endpoint": address,
        "aws_endpoint_url_s3": address,  # or that of the environment would win
        "region": "us-east-1" if region == "aws-global" else region,
        "virtual_hosted_style_request": by_host,
        "unsigned_payload": True,
        "skip_signature": False,
    }
    if checksum:
        config["checksum_algorithm"] = checksum
    if encryption:
        config["server_side_encryption"] = encryption
        if kms_key_id:
            config["sse_kms_key_id"] = kms_key_id
    return S3Store(
        bucket, config=config, client_options=options, retry_config=ONCE, credential_provider=_Credentials(client)
    )


class _Credentials:
    """What obstore signs by: what the boto3 client would sign by at this moment."""

    def __init__(self, client: S3Client) -> None:
        self._client = client
        self()

    def __call__(self) -> S3Credential:
        frozen = current_credentials(self._client)
        return {
            "access_key_id": str(frozen.access_key),
            "secret_access_key": str(frozen.secret_key),
            "token": frozen.token,
            "expires_at": datetime.now(UTC) + _CREDENTIALS_LAST,
        }


def current_credentials(client: S3Client) -> ReadOnlyCredentials:
    """What a client would sign by at this moment. Raises CredentialsMissingError when it has nothing to."""
    # botocore has no public way to them; a session of our own would not know the roles a block assumed.
    found = client._get_credentials()  # type: ignore[attr-defined]
    try:
        frozen: ReadOnlyCredentials | None = found.get_frozen_credentials() if found else None
    except BotoCoreError as error:
        raise CredentialsMissingError(f"{NO_CREDENTIALS} ({type(error).__name__})") from None
    if frozen is None:
        raise CredentialsMissingError(NO_CREDENTIALS)
    return frozen


def trusted_roots(client: S3Client) -> str | bool:
    """The file of certificates a client trusts, where it was given one: by an argument, AWS_CA_BUNDLE or its profile."""
    session = client._endpoint.http_session  # type: ignore[attr-defined] # nothing public knows
    found: str | bool = getattr(session, "_verify", True)
    return found
