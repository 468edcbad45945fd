"""What an AWS error means for us, told by its code, never by its text."""

from __future__ import annotations

from botocore.exceptions import (
    ClientError,
    CredentialRetrievalError,
    HTTPClientError,
    IncompleteReadError,
)
from botocore.exceptions import (
    ConnectionError as BotoConnectionError,
)

_PASSING_CODES = {
    "ThrottlingException", "Throttling", "TooManyRequestsException", "RequestLimitExceeded", "SlowDown", "RequestTimeout",
    "InternalFailure", "InternalServerError", "InternalServerException", "ServiceUnavailable", "ServiceUnavailableException",
}  # fmt: skip
_EXPIRED_CODES = {"ExpiredToken", "ExpiredTokenException", "RequestExpired"}
_MISSING_CODES = {"ResourceNotFound", "ResourceNotFoundException", "NoSuchKey", "NoSuchBucket", "404"}
_DENIED_CODES = {"AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "AuthorizationError", "403"}
_TAKEN_CODES = {"ResourceInUse", "ResourceInUseException"}


def code_of(error: BaseException) -> str:
    """AWS's error code, or "" for anything else."""
    return error.response.get("Error", {}).get("Code", "") if isinstance(error, ClientError) else ""


def status_of(error: BaseException) -> int:
    """The HTTP status AWS answered with, or 0."""
    return error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0) if isinstance(error, ClientError) else 0


def is_passing(error: BaseException) -> bool:
    """True for throttling, server faults, expired tokens and network cuts: the same call may work later."""
    if isinstance(error, ClientError):
        known = code_of(error) in _PASSING_CODES or is_expired(error)
        return known or status_of(error) == 429 or status_of(error) >= 500
    return isinstance(error, BotoConnectionError | HTTPClientError | IncompleteReadError | CredentialRetrievalError)


def is_expired(error: BaseException) -> bool:
    """True when the credentials were good and are no longer: a client made anew may have new ones."""
    return code_of(error) in _EXPIRED_CODES


def is_missing(error: BaseException) -> bool:
    """True when a thing that was described or read does not exist; SageMaker's Describes say so by ValidationException.

    Never for a change: there ValidationException may as well be a refusal.
    """
    return code_of(error) in _MISSING_CODES or code_of(error) == "ValidationException"


def is_denied(error: BaseException) -> bool:
    """True when our credentials may not do it; others', or a policy changed, may."""
    return code_of(error) in _DENIED_CODES


def is_taken(error: BaseException) -> bool:
    """True when a name to be created exists already."""
    return code_of(error) in _TAKEN_CODES


def is_refusal(error: BaseException) -> bool:
    """True when AWS said no to a call and will say no again: what was to be made was not."""
    return 400 <= status_of(error) < 500 and not is_passing(error)
