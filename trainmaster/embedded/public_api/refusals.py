"""What API Gateway refuses by itself, and how an API words it by its gateway responses."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from werkzeug.wrappers import Response


@dataclass(frozen=True)
class Refusal:
    """Why a request goes no further; `kind` is the response type it is worded by."""

    kind: str
    status: int
    message: str


class RequestRefusedError(Exception):
    """Raised when API Gateway answers a request itself."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


@dataclass(frozen=True)
class Wording:
    """A gateway response: status, headers and body of its own; a status of None leaves AWS's."""

    status: str | int | None
    headers: Mapping[str, str]
    templates: Mapping[str, str]


FORBIDDEN = Refusal("ACCESS_DENIED", 403, "Forbidden")
NO_SUCH_PATH = Refusal("MISSING_AUTHENTICATION_TOKEN", 403, "Missing Authentication Token")
NO_KEY = Refusal("INVALID_API_KEY", 403, "Forbidden")
THROTTLED = Refusal("THROTTLED", 429, "Too Many Requests")
QUOTA_EXCEEDED = Refusal("QUOTA_EXCEEDED", 429, "Limit Exceeded")
TOO_LARGE = Refusal("REQUEST_TOO_LARGE", 413, "Request Entity Too Large")
MISCONFIGURED = Refusal("API_CONFIGURATION_ERROR", 500, "Internal server error")
FUNCTION_FAILED = Refusal("DEFAULT_5XX", 502, "Internal server error")
TOO_SLOW = Refusal("INTEGRATION_TIMEOUT", 504, "Endpoint request timed out")


def answered(refusal: Refusal, wordings: Mapping[str, Wording], request_id: str) -> Response:
    """The refusal by its own gateway response, else by that of all 4xx or 5xx, else in AWS's words."""
    general = "DEFAULT_4XX" if refusal.status < 500 else "DEFAULT_5XX"
    wording = wordings.get(refusal.kind) or wordings.get(general)
    plain = json.dumps({"message": refusal.message})
    if wording is None:
        response = Response(plain, status=refusal.status, content_type="application/json")
    else:
        template = wording.templates.get("application/json")
        body = plain if template is None else _filled(template, refusal, request_id)
        status = int(wording.status) if wording.status and refusal.kind in wordings else refusal.status
        response = Response(body, status=status, content_type="application/json")
        for name, value in wording.headers.items():
            response.headers[name.removeprefix("gatewayresponse.header.")] = _mapped(value, request_id)
    response.headers["x-amzn-ErrorType"] = {403: "ForbiddenException", 429: "TooManyRequestsException"}.get(
        refusal.status, "BadRequestException" if refusal.status < 500 else "InternalServerErrorException"
    )
    return response


def _filled(template: str, refusal: Refusal, request_id: str) -> str:
    known: dict[str, Any] = {
        "$context.error.messageString": json.dumps(refusal.message),
        "$context.error.message": refusal.message,
        "$context.error.responseType": refusal.kind,
        "$context.requestId": request_id,
    }
    for name, value in known.items():
        template = template.replace(name, value)
    return template


def _mapped(value: str, request_id: str) -> str:
    return request_id if value == "context.requestId" else value.strip("'")
