"""What botocore's errors say, as refusals: neither they nor their texts, which hold signed addresses, go any further."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, PartialCredentialsError, ProfileNotFound

from trainmaster.aws.clients import NO_CREDENTIALS
from trainmaster.aws.failures import code_of, is_passing, status_of
from trainmaster.errors import CredentialsMissingError, StorageUnavailableError
from trainmaster.storage.ends.end_failures import S3, Refusal, failure

T = TypeVar("T")


def told(at: str, call: Callable[[], T], *, creating: bool = False) -> T:
    """Its result. Errors of botocore end here but those that are bugs of ours: they are no context of the errors raised."""
    refusal = None
    try:
        return call()
    except (NoCredentialsError, PartialCredentialsError, ProfileNotFound):
        pass
    except ClientError as error:
        refusal = _refusal_of(error)
    except BotoCoreError as error:
        if not is_passing(error):
            raise
        refusal = Refusal(0)
    raise failure(at, refusal, S3, creating=creating) if refusal else CredentialsMissingError(NO_CREDENTIALS)


def member(at: str, answer: Mapping[str, Any], name: str) -> str:
    """What an answer has to hold. Raises StorageUnavailableError: a proxy may answer 200 with nothing, whatever was done."""
    found = answer.get(name)
    if not isinstance(found, str):
        raise StorageUnavailableError(f"{at}: S3 answered without {name}. Try again later.")
    return found


def _refusal_of(error: ClientError) -> Refusal:
    code, headers = code_of(error), error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    named = "" if code.isdecimal() else code  # of an answer without a body botocore makes the status its code
    return Refusal(
        status_of(error), named, error.response.get("Error", {}).get("Message", ""), seconds(headers.get("retry-after"))
    )


def seconds(retry_after: str | None) -> float | None:
    """Of a header Retry-After, where it is a number."""
    return float(retry_after) if retry_after and retry_after.isdecimal() else None
