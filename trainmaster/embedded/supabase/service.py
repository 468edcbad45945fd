"""Supabase Storage's HTTP API under `/storage/v1`: a WSGI application."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from waitress.channel import ClientDisconnected
from werkzeug.exceptions import HTTPException
from werkzeug.routing import Map, Rule
from werkzeug.wrappers import Request, Response

from trainmaster.embedded.faults import Faults
from trainmaster.embedded.supabase import buckets, errors, listing, resumable, s3, transfers
from trainmaster.embedded.supabase.calls import Call
from trainmaster.embedded.supabase.store import Store
from trainmaster.embedded.supabase.tokens import ANYBODY, Caller, Keys

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

_log = logging.getLogger(__name__)

DATASETS = "training-datasets"
"""The application's bucket: private, and there from the start."""

_PREFIX = "/storage/v1"


class Token(Enum):
    """Whether a call must say who calls."""

    NEEDED = "needed"
    OPTIONAL = "optional"
    NONE = "none"


@dataclass(frozen=True)
class Operation:
    """`name` is how faults know it; several addresses may share one."""

    name: str
    methods: str
    path: str
    answer: Callable[[Call], Response]
    token: Token = Token.NEEDED


def _resumable(path: str, token: Token) -> Iterable[Operation]:
    """With a token, or with the signature of an address that was signed for the upload."""
    one = f"{path}/<upload_id>"
    return (
        Operation("UploadOptions", "OPTIONS", path, resumable.upload_options, Token.NONE),
        Operation("UploadOptions", "OPTIONS", one, resumable.upload_options, Token.NONE),
        Operation("CreateUpload", "POST", path, resumable.create_upload, token),
        Operation("HeadUpload", "HEAD", one, resumable.head_upload, token),
        Operation("PatchUpload", "PATCH", one, resumable.patch_upload, token),
        Operation("DeleteUpload", "DELETE", one, resumable.delete_upload, token),
    )


_OPERATIONS = (
    Operation("ListBuckets", "GET", "/bucket", buckets.list_buckets),
    Operation("CreateBucket", "POST", "/bucket", buckets.create_bucket),
    Operation("GetBucket", "GET", "/bucket/<bucket_id>", buckets.get_bucket),
    Operation("UpdateBucket", "PUT", "/bucket/<bucket_id>", buckets.update_bucket),
    Operation("DeleteBucket", "DELETE", "/bucket/<bucket_id>", buckets.delete_bucket),
    Operation("EmptyBucket", "POST", "/bucket/<bucket_id>/empty", buckets.empty_bucket),
    Operation("PutObject", "POST PUT", "/object/<bucket_id>/<path:key>", transfers.put_object),
    Operation("GetObject", "GET", "/object/authenticated/<bucket_id>/<path:key>", transfers.get_object),
    Operation("GetObject", "GET", "/object/<bucket_id>/<path:key>", transfers.get_object, Token.OPTIONAL),
    Operation(
        "GetPublicObject", "GET", "/object/public/<bucket_id>/<path:key>", transfers.get_public_object, Token.NONE
    ),
    Operation("GetSignedObject", "GET", "/object/sign/<bucket_id>/<path:key>", transfers.get_signed_object, Token.NONE),
    Operation("GetObjectInfo", "GET", "/object/info/authenticated/<bucket_id>/<path:key>", transfers.get_object_info),
    Operation("GetObjectInfo", "GET", "/object/info/<bucket_id>/<path:key>", transfers.get_object_info, Token.OPTIONAL),
    Operation(
        "GetPublicObjectInfo",
        "GET",
        "/object/info/public/<bucket_id>/<path:key>",
        transfers.get_public_object_info,
        Token.NONE,
    ),
    Operation("SignObject", "POST", "/object/sign/<bucket_id>/<path:key>", transfers.sign_object),
    Operation("SignObjects", "POST", "/object/sign/<bucket_id>", transfers.sign_objects),
    Operation("SignUpload", "POST", "/object/upload/sign/<bucket_id>/<path:key>", transfers.sign_upload),
    Operation(
        "PutSignedObject", "PUT", "/object/upload/sign/<bucket_id>/<path:key>", transfers.put_signed_object, Token.NONE
    ),
    Operation("ListObjects", "POST", "/object/list/<bucket_id>", listing.list_objects),
    Operation("ListObjectsV2", "POST", "/object/list-v2/<bucket_id>", listing.list_objects_v2),
    Operation("MoveObject", "POST", "/object/move", buckets.move_object),
    Operation("CopyObject", "POST", "/object/copy", buckets.copy_object),
    Operation("DeleteObject", "DELETE", "/object/<bucket_id>/<path:key>", buckets.delete_object),
    Operation("DeleteObjects", "DELETE", "/object/<bucket_id>", buckets.delete_objects),
    Operation("S3Bucket", "GET POST PUT DELETE", "/s3/<bucket_id>", s3.bucket, Token.NONE),
    Operation("S3Object", "GET POST PUT DELETE", "/s3/<bucket_id>/<path:key>", s3.object_, Token.NONE),
    *_resumable("/upload/resumable", Token.NEEDED),
    *_resumable("/upload/resumable/sign", Token.NONE),
)


@cache
def _routes() -> Map:
    """Made at the first call: it takes longer than all else at the start."""
    rules = [Rule(f"{_PREFIX}{each.path}", endpoint=each, methods=each.methods.split()) for each in _OPERATIONS]
    return Map(rules, merge_slashes=False, strict_slashes=False)


class Supabase:
    """Its errors are always Storage's; tracebacks go to the log, tokens and signed addresses never do."""

    def __init__(self, folder: Path, keys: Keys, faults: Faults) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._store, self._keys, self._faults = Store(folder), keys, faults
        buckets.create_private_bucket(self._store, DATASETS)

    def close(self) -> None:
        self._store.close()

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        request = Request(environ)
        try:
            response = self._answer(request)
        except errors.StorageError as error:
            response = s3.refusal(error, request) if request.path.startswith(f"{_PREFIX}/s3/") else error.answer()
        except ClientDisconnected:
            raise
        except Exception:  # noqa: BLE001 — whatever else went wrong is ours; the client must be told in Storage's words
            _log.exception("%s %s failed", request.method, request.path)
            response = errors.internal("Internal Server Error").answer()
        return response(environ, start_response)

    def _answer(self, request: Request) -> Response:
        try:
            operation, where = _routes().bind_to_environ(request.environ).match()
        except HTTPException:
            message = f"Route {request.method}:{request.path} not found"
            raise errors.StorageError(404, "Not Found", message, http=404) from None
        cut_after = self._suffer(operation.name)
        call = Call(
            request, self._store, self._keys, self._caller(request, operation.token), cut_after=cut_after, **where
        )
        response: Response = operation.answer(call)
        return response if cut_after is None else _cut(response, cut_after)

    def _caller(self, request: Request, token: Token) -> Caller:
        authorization = request.headers.get("Authorization", "")
        if token is Token.NONE or (token is Token.OPTIONAL and not authorization):
            return ANYBODY
        if not authorization:
            raise errors.invalid_request("headers must have required property 'authorization'")
        return self._keys.caller(authorization)

    def _suffer(self, operation: str) -> int | None:
        fault = self._faults.take(f"supabase:{operation}")
        if fault is None:
            return None
        time.sleep(fault.latency)
        if fault.reset and fault.after_bytes is None:
            raise ClientDisconnected
        if fault.error:
            raise errors.StorageError(fault.status, fault.error, fault.message, http=fault.status)
        return fault.after_bytes


def _cut(response: Response, after: int) -> Response:
    """The answer as it says it is, but for its connection, which breaks after so many bytes of the body."""
    if response.content_length is None:
        response.content_length = response.calculate_content_length()
    return Response(_breaking(response, after), response.status, response.headers, direct_passthrough=True)


def _breaking(response: Response, left: int) -> Iterator[bytes]:
    try:
        for chunk in response.iter_encoded():
            yield chunk[:left]
            left -= len(chunk)
            if left <= 0:
                break
    finally:
        response.close()
    raise ClientDisconnected
