"""Which AWS call an HTTP request is, and errors written in that call's protocol."""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import Self
from urllib.parse import parse_qs
from xml.sax.saxutils import escape

from werkzeug.wrappers import Request, Response

from trainmaster.embedded.sagemaker.wire import AwsError

_SCOPE = re.compile(r"(?:Credential=)?[^/,\s]+/\d{8}/(?P<region>[^/]*)/(?P<service>[^/,\s]+)/aws4_request")
_INVOCATION = re.compile(
    r"/endpoints/(?P<endpoint>[^/]+)/(?P<how>invocations|async-invocations|invocations-response-stream)"
)
_INVOKE = {
    "invocations": "InvokeEndpoint",
    "async-invocations": "InvokeEndpointAsync",
    "invocations-response-stream": "InvokeEndpointWithResponseStream",
}
_CBOR_OPERATION = re.compile(r"/service/[^/]+/operation/(?P<operation>\w+)")

_REST_XML = frozenset({"cloudfront", "route53"})


class Protocol(Enum):
    JSON = "json"
    REST_JSON = "rest-json"
    XML = "query and rest-xml"
    EC2 = "ec2"
    S3 = "s3"
    CBOR = "smithy-rpc-v2-cbor"


@dataclass(frozen=True)
class Call:
    """One request to AWS. `service` is the name it was signed for, empty when unsigned; `operation` may be empty."""

    request: Request
    service: str
    operation: str
    protocol: Protocol
    endpoint: str = ""

    @classmethod
    def of(cls, request: Request) -> Self:
        scope = _SCOPE.search(request.headers.get("Authorization", "")) or _SCOPE.search(
            request.args.get("X-Amz-Credential", "")
        )
        service = scope["service"].lower() if scope else ""
        if target := request.headers.get("X-Amz-Target"):
            return cls(request, service, target.rpartition(".")[2], Protocol.JSON)
        if request.headers.get("smithy-protocol"):
            found = _CBOR_OPERATION.fullmatch(request.path)
            return cls(request, service, found["operation"] if found else "", Protocol.CBOR)
        if invocation := _INVOCATION.fullmatch(request.path):
            return cls(request, service, _INVOKE[invocation["how"]], Protocol.REST_JSON, invocation["endpoint"])
        if service == "s3":
            return cls(request, service, "", Protocol.S3)
        action = request.args.get("Action") or _form_action(request)
        if action:
            return cls(request, service, action, Protocol.EC2 if service == "ec2" else Protocol.XML)
        return cls(request, service, "", Protocol.XML if service in _REST_XML else Protocol.REST_JSON)

    @property
    def target(self) -> str:
        """The X-Amz-Target without its operation, such as `SageMaker`."""
        return self.request.headers.get("X-Amz-Target", "").rpartition(".")[0]

    @cached_property
    def parameters(self) -> dict[str, list[str]]:
        """Of a query call: from the address and the form alike."""
        return parse_qs(f"{self.request.query_string.decode()}&{self.request.get_data(as_text=True)}")

    def refused(self, error: AwsError) -> Response:
        """The error as this call's client reads it."""
        request_id = str(uuid.uuid4())
        response = Response(status=error.status)
        response.headers["x-amzn-RequestId"] = request_id
        code, message = escape(error.code), escape(error.message)
        side = "Sender" if error.status < 500 else "Receiver"
        match self.protocol:
            case Protocol.JSON | Protocol.REST_JSON:
                response.data = error.body()
                response.content_type = (
                    "application/x-amz-json-1.1" if self.protocol is Protocol.JSON else "application/json"
                )
                response.headers["x-amzn-ErrorType"] = error.code
            case Protocol.CBOR:
                response.data = _cbor({"__type": error.code, "message": error.message})
                response.content_type = "application/cbor"
                response.headers["smithy-protocol"] = "rpc-v2-cbor"
            case Protocol.EC2:
                response.data = (
                    f"<Response><Errors><Error><Code>{code}</Code><Message>{message}</Message></Error></Errors>"
                    f"<RequestID>{request_id}</RequestID></Response>"
                )
                response.content_type = "text/xml"
            case Protocol.S3:
                response.data = (
                    f"<Error><Code>{code}</Code><Message>{message}</Message><RequestId>{request_id}</RequestId></Error>"
                )
                response.content_type = "application/xml"
            case Protocol.XML:
                response.data = (
                    f"<ErrorResponse><Error><Type>{side}</Type><Code>{code}</Code><Message>{message}</Message></Error>"
                    f"<RequestId>{request_id}</RequestId></ErrorResponse>"
                )
                response.content_type = "text/xml"
        return response


def _form_action(request: Request) -> str:
    if request.mimetype != "application/x-www-form-urlencoded":
        return ""
    return parse_qs(request.get_data(as_text=True)).get("Action", [""])[0]


def _cbor(members: dict[str, str]) -> bytes:
    """A map of texts (RFC 8949), all that an error needs of the format."""

    def head(major: int, size: int) -> bytes:
        return bytes([major << 5 | 25]) + size.to_bytes(2, "big")

    def text(value: str) -> bytes:
        encoded = value.encode()[:0xFFFF]
        return head(3, len(encoded)) + encoded

    return head(5, len(members)) + b"".join(text(key) + text(value) for key, value in members.items())
