"""Whether a request was signed by somebody this AWS gave a key: the folder's own, or one that IAM or STS issued here."""

from __future__ import annotations

import hashlib
import hmac
import re
import time
from calendar import timegm
from dataclasses import dataclass
from typing import TYPE_CHECKING

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from moto.iam.models import iam_backends
from moto.sts.models import sts_backends
from werkzeug.wrappers import Request

from trainmaster.embedded.calls import Call, Protocol
from trainmaster.embedded.sagemaker.account import Account
from trainmaster.embedded.sagemaker.wire import AwsError

if TYPE_CHECKING:
    from http.client import HTTPMessage

_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256\s+Credential=(?P<key>[^/,\s]+)/(?P<day>\d{8})/(?P<region>[^/,\s]*)/(?P<service>[^/,\s]+)/aws4_request,"
    r"\s*SignedHeaders=(?P<headers>[^,\s]+),\s*Signature=(?P<signature>[0-9a-f]{64})"
)
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
        given = _AUTHORIZATION.fullmatch(request.headers.get("Authorization", "").strip())
        moment = request.headers.get("X-Amz-Date", "")
        if given is None or not moment.startswith(given["day"]):
            raise AwsError("IncompleteSignature", "The Authorization header is no Signature Version 4.", status=403)
        secret = self._secret(given["key"])
        if secret is None:
            code = "InvalidClientTokenId" if call.protocol in _QUERY else "UnrecognizedClientException"
            raise AwsError(code, "The security token included in the request is invalid.", status=403)
        signer = _Signer(Credentials(given["key"], secret), given["service"], given["region"])
        signed = set(given["headers"].split(";"))
        if not ({"host", "x-amz-date"} <= signed and signer.matches(request, signed, moment, given["signature"])):
            raise _mismatch(
                call,
                "The request signature we calculated does not match the signature you provided. Check your AWS Secret "
                "Access Key and signing method.",
            )
        if not _is_current(moment):
            raise _mismatch(call, f"Signature expired or not yet current: {moment} is not the time here.")

    def _secret(self, key: str) -> str | None:
        if key == self.account.access_key_id:
            return self.account.secret_access_key
        if issued := iam_backends[self.account.account_id]["aws"].access_keys.get(key):
            return str(issued.secret_access_key)
        role = sts_backends[self.account.account_id]["aws"].get_assumed_role_from_access_key(key)
        return str(role.secret_access_key) if role else None


class _Signer(SigV4Auth):
    """botocore's own signing, of exactly the headers the client signed."""

    def matches(self, request: Request, signed: set[str], moment: str, signature: str) -> bool:
        body = request.get_data()
        claimed = request.headers.get("X-Amz-Content-SHA256", "UNSIGNED-PAYLOAD")
        if claimed not in ("UNSIGNED-PAYLOAD", hashlib.sha256(body).hexdigest()):
            return False
        uri = request.environ.get("REQUEST_URI") or request.full_path.rstrip("?")
        again = AWSRequest(
            method=request.method,
            url=f"http://{request.host}{uri}",
            data=body,
            headers={name.lower(): value for name, value in request.headers.items() if name.lower() in signed},
        )
        again.context["timestamp"] = moment
        expected = self.signature(self.string_to_sign(again, self.canonical_request(again)), again)
        return hmac.compare_digest(expected, signature)

    def headers_to_sign(self, request: AWSRequest) -> HTTPMessage:
        return request.headers


def _mismatch(call: Call, message: str) -> AwsError:
    code = "SignatureDoesNotMatch" if call.protocol in _QUERY else "InvalidSignatureException"
    return AwsError(code, message, status=403)


def _is_current(moment: str) -> bool:
    try:
        signed = timegm(time.strptime(moment, "%Y%m%dT%H%M%SZ"))
    except ValueError:
        return False
    return abs(time.time() - signed) <= _SKEW_SECONDS
