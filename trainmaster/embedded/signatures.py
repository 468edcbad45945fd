"""Whether a request was signed by somebody this AWS gave a key: the folder's own, or one that IAM or STS issued here."""

from __future__ import annotations

import time
from calendar import timegm
from dataclasses import dataclass
from functools import lru_cache

from botocore.credentials import Credentials
from moto.iam.models import iam_backends
from moto.sts.models import sts_backends

from trainmaster.embedded.calls import Call, Protocol
from trainmaster.embedded.sagemaker.account import Account
from trainmaster.embedded.sagemaker.wire import AwsError
from trainmaster.embedded.sigv4 import AUTHORIZATION, Signer

_SKEW_SECONDS = 300
"""As on AWS."""
_QUERY = (Protocol.XML, Protocol.EC2)


@dataclass(frozen=True)
class Signatures:
    """Checks Signature Version 4 in the Authorization header; addresses signed in their query are S3's alone."""

    account: Account

    def check(self, call: Call) -> None:
        """Raises AWS's refusal of a key nobody issued, a signature that is wrong, and one of another time."""
        request = call.request
        given = AUTHORIZATION.fullmatch(request.headers.get("Authorization", "").strip())
        moment = request.headers.get("X-Amz-Date", "")
        if given is None or not moment.startswith(given["day"]):
            raise AwsError("IncompleteSignature", "The Authorization header is no Signature Version 4.", status=403)
        secret = self._secret(given["key"])
        if secret is None:
            code = "InvalidClientTokenId" if call.protocol in _QUERY else "UnrecognizedClientException"
            raise AwsError(code, "The security token included in the request is invalid.", status=403)
        signer = Signer(Credentials(given["key"], secret), given["service"], given["region"])
        signed = set(given["headers"].split(";"))
        if not ({"host", "x-amz-date"} <= signed and signer.matches(request, signed, moment, given["signature"])):
            raise _mismatch(
                call,
                "The request signature we calculated does not match the signature you provided. Check your AWS Secret "
                "Access Key and signing method.",
            )
        if not is_current(moment):
            raise _mismatch(call, f"Signature expired or not yet current: {moment} is not the time here.")

    def _secret(self, key: str) -> str | None:
        if key == self.account.access_key_id:
            return self.account.secret_access_key
        if issued := iam_backends[self.account.account_id]["aws"].access_keys.get(key):
            return str(issued.secret_access_key)
        role = sts_backends[self.account.account_id]["aws"].get_assumed_role_from_access_key(key)
        return str(role.secret_access_key) if role else None


def _mismatch(call: Call, message: str) -> AwsError:
    code = "SignatureDoesNotMatch" if call.protocol in _QUERY else "InvalidSignatureException"
    return AwsError(code, message, status=403)


def is_current(moment: str) -> bool:
    """Whether a signature of that moment is still, and already, good."""
    signed = _epoch(moment)
    return signed is not None and abs(time.time() - signed) <= _SKEW_SECONDS


@lru_cache(maxsize=1024)
def _epoch(moment: str) -> int | None:
    try:
        return timegm(time.strptime(moment, "%Y%m%dT%H%M%SZ"))
    except ValueError:
        return None
