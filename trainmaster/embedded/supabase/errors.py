"""Refusals in Supabase Storage's words: mostly HTTP 400, whatever the status that stands as a string in the body."""

from __future__ import annotations

import json

from werkzeug.wrappers import Response

GATEWAY_ERRORS = frozenset({502, 504})
"""What the proxy before Storage answers in its place, in HTML."""


class StorageError(Exception):
    """Raised when a call is refused. `status` is the one in the body, `http` that of the answer."""

    def __init__(self, status: int, error: str, message: str, *, http: int = 400) -> None:
        super().__init__(message)
        self.status, self.error, self.message, self.http = status, error, message, http

    def answer(self) -> Response:
        if self.http in GATEWAY_ERRORS:
            page = f"<html><head><title>{self.http} {self.error}</title></head></html>\n"
            return Response(page, status=self.http, content_type="text/html")
        body = {"statusCode": str(self.status), "error": self.error, "message": self.message}
        return Response(json.dumps(body), status=self.http, content_type="application/json; charset=utf-8")


def no_such_bucket() -> StorageError:
    return StorageError(404, "Bucket not found", "Bucket not found")


def no_such_object() -> StorageError:
    return StorageError(404, "not_found", "Object not found")


def already_there() -> StorageError:
    return StorageError(409, "Duplicate", "The resource already exists")


def denied(message: str = "new row violates row-level security policy") -> StorageError:
    return StorageError(403, "Unauthorized", message)


def invalid_key(key: str) -> StorageError:
    return StorageError(400, "InvalidKey", f"Invalid key: {key}")


def invalid_jwt(message: str) -> StorageError:
    return StorageError(400, "InvalidJWT", message)


def invalid_signature(message: str = "Invalid signature") -> StorageError:
    return StorageError(400, "InvalidSignature", message)


def invalid_request(message: str) -> StorageError:
    """A member or header that is missing or malformed."""
    return StorageError(400, "Error", message)


def too_large() -> StorageError:
    return StorageError(413, "Payload too large", "The object exceeded the maximum allowed size")


def wrong_type(mimetype: str) -> StorageError:
    return StorageError(415, "invalid_mime_type", f"mime type {mimetype} is not supported")


def internal(message: str) -> StorageError:
    return StorageError(500, "Internal", message, http=500)
