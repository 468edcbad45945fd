"""Resumable uploads: TUS 1.0 with creation, creation with upload, termination and expiration."""

from __future__ import annotations

import base64
import binascii
import hashlib
import time
import uuid
from collections.abc import Callable
from functools import wraps
from http import HTTPStatus
from typing import Any

from waitress.channel import ClientDisconnected
from werkzeug.http import http_date
from werkzeug.wrappers import Response

from trainmaster.embedded.supabase import errors
from trainmaster.embedded.supabase.calls import Call, valid
from trainmaster.embedded.supabase.store import CHUNK, LARGEST_OBJECT, Described, Received, Row, on_disk
from trainmaster.embedded.supabase.tokens import Caller
from trainmaster.embedded.supabase.transfers import check_type, largest, parsed

PART = 6 << 20
"""Bytes of every chunk but the last."""
LASTS = 24 * 3600
"""Seconds an upload may take, from its creation."""

_BODY = "application/offset+octet-stream"
_EXTENSIONS = "creation,creation-with-upload,termination,expiration"


class Refusal(errors.StorageError):
    """Raised when an upload is refused: in plain text, with the true status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(status, HTTPStatus(status).phrase, message, http=status)

    def answer(self) -> Response:
        return _said(self.status, self.message)


def _refusing(answer: Callable[[Call], Response]) -> Callable[[Call], Response]:
    """Storage's refusals become those of TUS."""

    @wraps(answer)
    def guarded(call: Call) -> Response:
        try:
            if call.request.headers.get("Tus-Resumable") != "1.0.0":
                raise Refusal(412, "Tus-Resumable Required\n")
            return answer(call)
        except Refusal:
            raise
        except errors.StorageError as error:
            raise Refusal(error.status, error.message) from None

    return guarded


def upload_options(_: Call) -> Response:
    headers = {"Tus-Version": "1.0.0", "Tus-Extension": _EXTENSIONS, "Tus-Max-Size": str(LARGEST_OBJECT)}
    return _said(204, **headers)


@_refusing
def create_upload(call: Call) -> Response:
    """The address of the new upload is `https://` whatever it was asked at, as the real server's is."""
    length = _number(call, "Upload-Length", "Upload-Length or Upload-Defer-Length header required\n", status=400)
    metadata = _metadata(call.request.headers.get("Upload-Metadata", ""))
    bucket_id, key = metadata.get("bucketName", ""), metadata.get("objectName", "")
    if not bucket_id or not key:
        raise Refusal(400, "Invalid upload id")
    valid(key)
    bucket = call.store.bucket(bucket_id)
    if length > largest(bucket):
        raise Refusal(413, "Maximum size exceeded\n")
    described = _described(metadata)
    check_type(bucket, described.mimetype)
    caller, upsert = _permission(call, bucket_id, key)
    call.may_write(caller, bucket_id, key, upsert=upsert)
    _forget_expired(call)
    upload: Row = {
        "version": str(uuid.uuid4()),
        "bucket_id": bucket_id,
        "name": key,
        "owner": caller.user_id,
        "length": length,
        "received": 0,
        "parts": [],
        "metadata": {"mimetype": described.mimetype, "cacheControl": described.cache_control},
        "user_metadata": described.user_metadata,
        "given": call.request.headers.get("Upload-Metadata", ""),
        "expires_at": time.time() + LASTS,
    }
    (call.store.incoming / upload["version"]).touch()
    call.store.write("uploads", upload)
    if call.request.headers.get("Content-Type") == _BODY or not length:
        upload = _take(call, upload)
    sign = "/sign" if call.request.path.endswith("/sign") else ""
    upload_id = base64.urlsafe_b64encode(f"{bucket_id}/{key}/{upload['version']}".encode()).decode().rstrip("=")
    location = f"https://{call.request.host}/storage/v1/upload/resumable{sign}/{upload_id}"
    return _said(201, Location=location, **_progress(upload))


@_refusing
def head_upload(call: Call) -> Response:
    upload = _upload(call)
    given = {"Upload-Metadata": upload["given"]} if upload["given"] else {}
    progress = {"Upload-Length": str(upload["length"]), "Cache-Control": "no-store", **_progress(upload), **given}
    return _said(200, **progress)


@_refusing
def patch_upload(call: Call) -> Response:
    if call.request.headers.get("Content-Type") != _BODY:
        raise Refusal(403, "Invalid Content-Type\n")
    offset = _number(call, "Upload-Offset", "Upload-Offset header required\n", status=403)
    found = _upload(call)
    caller, upsert = _permission(call, found["bucket_id"], found["name"])
    call.may_write(caller, found["bucket_id"], found["name"], upsert=upsert)
    with call.store.uploading(found["version"]):
        upload = _upload(call)  # another may have added to it meanwhile
        if offset != upload["received"]:
            raise Refusal(409, "Upload-Offset conflict\n")
        if upload["received"] < upload["length"]:
            upload = _take(call, upload)
        return _said(204, **_progress(upload))


@_refusing
def delete_upload(call: Call) -> Response:
    found = _upload(call)
    caller, _ = _permission(call, found["bucket_id"], found["name"])
    call.may_write(caller, found["bucket_id"], found["name"], upsert=True)
    with call.store.uploading(found["version"]):
        upload = _upload(call)
        if upload["received"] == upload["length"]:
            raise Refusal(400, "Cannot terminate an already completed upload")
        _forget(call, upload)
    return _said(204)


def _take(call: Call, upload: Row) -> Row:
    """Add the request's body to an upload, which becomes an object with its last byte."""
    size, left = call.request.content_length or 0, upload["length"] - upload["received"]
    if size > left:
        raise Refusal(413, "upload's size exceeded\n")
    if size != PART and not (size == left and size < PART):
        raise Refusal(400, f"Every chunk but the last is of {PART} bytes; this one is of {size}\n")
    wanted = min(size, call.cut_after) if call.cut_after is not None else size
    path, md5 = call.store.incoming / upload["version"], hashlib.md5(usedforsecurity=False)
    with path.open("r+b") as file:
        file.truncate(upload["received"])  # what a killed process had written but not recorded
        file.seek(upload["received"])
        for start in range(0, wanted, CHUNK):
            chunk = call.request.stream.read(min(CHUNK, wanted - start))
            md5.update(chunk)
            file.write(chunk)
        on_disk(file)
    taken = {**upload, "received": upload["received"] + wanted, "parts": [*upload["parts"], md5.hexdigest()]}
    if taken["received"] < taken["length"]:
        call.store.write("uploads", taken)
    else:
        metadata = upload["metadata"]
        described = Described(metadata["mimetype"], metadata["cacheControl"], upload["user_metadata"])
        received = Received(path, upload["length"], _etag(taken["parts"]))
        call.store.add(upload["bucket_id"], upload["name"], upload["owner"], received, described, finishing=taken)
        path.unlink()
    if call.cut_after is not None:
        raise ClientDisconnected
    return taken


def _etag(parts: list[str]) -> str:
    """As S3 makes it of several parts: no digest of the whole."""
    return f"{hashlib.md5(bytes.fromhex(''.join(parts)), usedforsecurity=False).hexdigest()}-{len(parts)}"


def _upload(call: Call) -> Row:
    try:
        decoded = base64.urlsafe_b64decode(call.upload_id + "=" * (-len(call.upload_id) % 4)).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise Refusal(400, "Invalid upload id") from None
    path, _, version = decoded.rpartition("/")
    found = call.store.rows("select * from uploads where version = ?", version)
    if not found or path != f"{found[0]['bucket_id']}/{found[0]['name']}":
        raise Refusal(404, "The file for this url was not found\n")
    if found[0]["expires_at"] < time.time():
        raise Refusal(410, "The file for this url no longer exists\n")
    return found[0]


def _permission(call: Call, bucket_id: str, key: str) -> tuple[Caller, bool]:
    """Who uploads, and whether to replace what is there: by the caller's token, or by that of a signed address."""
    if "/upload/resumable/sign" not in call.request.path:
        return call.caller, call.request.headers.get("x-upsert") == "true"
    signature = call.request.headers.get("x-signature")
    if not signature:
        raise errors.invalid_signature("Missing x-signature header")
    claims = call.keys.verified("upload", f"{bucket_id}/{key}", signature)
    return Caller("service_role", claims.get("owner")), bool(claims["upsert"])


def _metadata(header: str) -> dict[str, str]:
    try:
        pairs = (pair.strip().partition(" ") for pair in header.split(",") if pair.strip())
        return {name: base64.b64decode(value, validate=True).decode() for name, _, value in pairs}
    except (binascii.Error, UnicodeDecodeError):
        message = "Upload-Metadata is invalid. It MUST consist of one or more comma-separated key-value pairs\n"
        raise Refusal(400, message) from None


def _described(metadata: dict[str, str]) -> Described:
    seconds = metadata.get("cacheControl", "")
    cache_control = f"max-age={seconds}" if seconds.isdecimal() else "no-cache"
    mimetype = metadata.get("contentType") or "application/octet-stream"
    return Described(mimetype, cache_control, parsed(metadata.get("metadata")))


def _progress(upload: Row) -> dict[str, str]:
    done = upload["received"] == upload["length"]
    expires = {} if done else {"Upload-Expires": http_date(upload["expires_at"])}
    return {"Upload-Offset": str(upload["received"]), **expires}


def _number(call: Call, header: str, lacking: str, *, status: int) -> int:
    given = call.request.headers.get(header, "")
    if not given.isdecimal():
        raise Refusal(status, lacking)
    return int(given)


def _forget_expired(call: Call) -> None:
    for upload in call.store.rows("select * from uploads where expires_at < ?", time.time()):
        _forget(call, upload)


def _forget(call: Call, upload: Row) -> None:
    call.store.delete("uploads", version=upload["version"])
    (call.store.incoming / upload["version"]).unlink(missing_ok=True)


def _said(status: int, body: str = "", **headers: Any) -> Response:
    response = Response(body, status=status, headers={**headers, "Tus-Resumable": "1.0.0"})
    if not body:
        del response.headers["Content-Type"]
    return response
