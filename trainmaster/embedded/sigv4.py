"""Signature Version 4 in the Authorization header, made again with the secret of its key by botocore's own signing."""

from __future__ import annotations

import hashlib
import hmac
import re
from functools import lru_cache
from typing import TYPE_CHECKING

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from werkzeug.wrappers import Request

if TYPE_CHECKING:
    from http.client import HTTPMessage

AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256\s+Credential=(?P<key>[^/,\s]+)/(?P<day>\d{8})/(?P<region>[^/,\s]*)/(?P<service>[^/,\s]+)/aws4_request,"
    r"\s*SignedHeaders=(?P<headers>[^,\s]+),\s*Signature=(?P<signature>[0-9a-f]{64})"
)


class Signer(SigV4Auth):
    """Signs exactly the headers the client signed."""

    def matches(self, request: Request, signed: set[str], moment: str, signature: str) -> bool:
        """Whether a request with these signed headers, made at that moment, has this signature."""
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

    def signature(self, string_to_sign: str, request: AWSRequest) -> str:
        day = request.context["timestamp"][:8]
        key = _signing_key(self.credentials.secret_key, day, self._region_name, self._service_name)  # type: ignore[attr-defined]  # the stubs leave them out
        return hmac.digest(key, string_to_sign.encode(), "sha256").hex()

    def headers_to_sign(self, request: AWSRequest) -> HTTPMessage:
        return request.headers


@lru_cache(maxsize=256)
def _signing_key(secret: str, day: str, region: str, service: str) -> bytes:
    """The same for a day, and as dear as all else of a signature."""
    key = f"AWS4{secret}".encode()
    for part in (day, region, service, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key


class S3Signer(Signer):
    """S3 alone takes a path as it was sent."""

    def _normalize_url_path(self, path: str) -> str:
        return path
