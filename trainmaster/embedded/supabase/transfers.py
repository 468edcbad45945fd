"""Bytes in and out: uploads, downloads, what is known of an object, and addresses that carry their own permission."""

from __future__ import annotations

import base64
import json
import tempfile
from contextlib import suppress
from datetime import datetime
from typing import IO, Annotated, Any
from urllib.parse import quote

from pydantic import BaseModel, Field
from waitress.channel import ClientDisconnected
from werkzeug.http import http_date, parse_options_header, parse_range_header
from werkzeug.wrappers import Request, Response
from werkzeug.wsgi import wrap_file

from trainmaster.embedded.supabase import errors
from trainmaster.embedded.supabase.calls import Call, said
from trainmaster.embedded.supabase.store import CHUNK, LARGEST_OBJECT, Described, Row
from trainmaster.embedded.supabase.tokens import ANYBODY, SIGNED_UPLOADS_LAST, Caller


class Signing(BaseModel):
    expires_in: Annotated[int, Field(alias="expiresIn", ge=1)]


class ManySignings(Signing):
    paths: Annotated[list[str], Field(min_length=1)]


def put_object(call: Call) -> Response:
    upsert = call.request.method == "PUT" or call.request.headers.get("x-upsert") == "true"
    row = _uploaded(call, call.caller, upsert=upsert)
    return said({"Id": row["id"], "Key": call.path})


def put_signed_object(call: Call) -> Response:
    claims = call.keys.verified("upload", call.path, _token(call))
    return said(
        {"Key": _key(_uploaded(call, Caller("service_role", claims.get("owner")), upsert=bool(claims["upsert"])))}
    )


def get_object(call: Call) -> Response:
    """Of a private bucket to whoever may see it, of a public one to anybody."""
    _readable(call)
    return _bytes(call)


def get_public_object(call: Call) -> Response:
    if not call.store.bucket(call.bucket_id)["public"]:
        raise errors.no_such_bucket()
    return _bytes(call)


def get_signed_object(call: Call) -> Response:
    claims = call.keys.verified("download", call.path, _token(call))
    response = _bytes(call)
    response.headers["Expires"] = http_date(claims["exp"])
    return response


def get_object_info(call: Call) -> Response:
    row = _readable(call)
    return _info(row)


def get_public_object_info(call: Call) -> Response:
    if not call.store.bucket(call.bucket_id)["public"]:
        raise errors.no_such_bucket()
    return _info(_there(call))


def sign_object(call: Call) -> Response:
    seconds = call.body(Signing).expires_in
    call.visible(call.key)
    return said({"signedURL": _signed_url(call, call.key, seconds)})


def sign_objects(call: Call) -> Response:
    """One answer per path; those that are not there, or another's, have an error instead of an address."""
    asked = call.body(ManySignings)

    def signed(path: str) -> dict[str, str | None]:
        if call.caller.may_touch(path) and call.store.object(call.bucket_id, path):
            return {"error": None, "path": path, "signedURL": _signed_url(call, path, asked.expires_in)}
        missing = "Either the object does not exist or you do not have access to it"
        return {"error": missing, "path": path, "signedURL": None}

    return said([signed(path) for path in asked.paths])


def sign_upload(call: Call) -> Response:
    upsert = call.request.headers.get("x-upsert") == "true"
    call.store.bucket(call.bucket_id)
    call.may_write(call.caller, call.bucket_id, call.key, upsert=upsert)
    token = call.keys.signed("upload", call.path, SIGNED_UPLOADS_LAST, owner=call.caller.user_id, upsert=upsert)
    return said({"url": f"/object/upload/sign/{call.path}?token={token}", "token": token})


def largest(bucket: Row) -> int:
    """Bytes an object of this bucket may have."""
    limit = bucket["file_size_limit"]
    return min(LARGEST_OBJECT, LARGEST_OBJECT if limit is None else limit)


def check_type(bucket: Row, mimetype: str) -> None:
    """Raises StorageError (415) for a type the bucket does not take."""
    allowed, (found, _) = bucket["allowed_mime_types"], parse_options_header(mimetype)
    if allowed and found not in allowed and f"{found.partition('/')[0]}/*" not in allowed:
        raise errors.wrong_type(mimetype)


def _uploaded(call: Call, caller: Caller, *, upsert: bool) -> Row:
    bucket = call.store.bucket(call.bucket_id)
    call.may_write(caller, call.bucket_id, call.key, upsert=upsert)
    stream, described = _sent(call)
    check_type(bucket, described.mimetype)
    if call.cut_after is not None and call.cut_after < (call.request.content_length or 0):
        raise ClientDisconnected
    received = call.store.receive(stream, largest(bucket))
    try:
        row = call.store.add(call.bucket_id, call.key, caller.user_id, received, described)
    finally:
        received.path.unlink(missing_ok=True)
    if call.cut_after is not None:
        raise ClientDisconnected
    return row


def _sent(call: Call) -> tuple[IO[bytes], Described]:
    """The bytes of an upload, raw or as the file of a form, and what is said of them."""
    headers = call.request.headers
    if call.request.mimetype != "multipart/form-data":
        return call.request.stream, Described(
            headers.get("Content-Type") or "application/octet-stream",
            headers.get("Cache-Control") or "no-cache",
            _decoded(headers.get("x-metadata")),
        )
    form = _Form(call.request.environ, call.store.incoming)
    file = next(iter(form.files.values()), None)
    if file is None:
        raise errors.StorageError(400, "InvalidRequest", "No content provided")
    seconds = form.form.get("cacheControl")
    metadata = form.form.get("metadata") or form.form.get("userMetadata")
    return file.stream, Described(
        form.form.get("contentType") or file.mimetype or "application/octet-stream",
        f"max-age={seconds}" if seconds else "no-cache",
        parsed(metadata),
    )


class _Form(Request):
    """A form whose file goes to disk as it is parsed."""

    def __init__(self, environ: Any, folder: Any) -> None:
        super().__init__(environ)
        self._folder = folder

    def _get_file_stream(self, *_: Any, **__: Any) -> IO[bytes]:
        return tempfile.TemporaryFile(dir=self._folder)


def parsed(text: str | None) -> dict[str, Any] | None:
    """An object's own metadata; what is no JSON object is passed over, as the real server does."""
    with suppress(ValueError):
        found = json.loads(text or "null")
        return found if isinstance(found, dict) else None
    return None


def _decoded(encoded: str | None) -> dict[str, Any] | None:
    with suppress(ValueError):
        return parsed(base64.b64decode(encoded or "").decode())
    return None


def _readable(call: Call) -> Row:
    bucket = call.store.rows("select * from buckets where id = ?", call.bucket_id)
    if call.caller == ANYBODY and not (bucket and bucket[0]["public"]):
        raise errors.denied("Access denied to this bucket")
    if not bucket:
        raise errors.no_such_bucket()
    return _there(call) if bucket[0]["public"] else call.visible(call.key)


def _there(call: Call) -> Row:
    row = call.store.object(call.bucket_id, call.key)
    if row is None:
        raise errors.no_such_object()
    return row


def _bytes(call: Call) -> Response:
    """All of them, or the range asked for. If-Match is not looked at, as on the real server."""
    found = call.store.open(call.bucket_id, call.key)
    if found is None:
        raise errors.no_such_object()
    return content(call, *found)


def content(call: Call, row: Row, file: IO[bytes]) -> Response:
    """An open object's bytes, or the range asked for; the file is closed with the answer."""
    response = head(row)
    if (name := call.request.args.get("download")) is not None:
        response.headers["Content-Disposition"] = _disposition(name)
    if _unchanged(call.request, row):
        file.close()
        response.status_code = 304
        return response
    size = row["metadata"]["size"]
    start, stop = _asked(call.request, size)
    if (start, stop) != (0, size):
        response.status_code = 206
        response.headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
    response.headers["Content-Length"] = str(stop - start)
    file.seek(start)
    response.response = wrap_file(call.request.environ, file, CHUNK)
    response.direct_passthrough = True
    return response


def head(row: Row) -> Response:
    """What is said of an object beside its bytes."""
    metadata = row["metadata"]
    # A page served as HTML could act in the name of the project's own site.
    mimetype = "text/plain" if "text/html" in metadata["mimetype"] else metadata["mimetype"]
    response = Response(content_type=mimetype)
    response.headers.update(
        {
            "Accept-Ranges": "bytes",
            "ETag": metadata["eTag"],
            "Last-Modified": http_date(datetime.fromisoformat(row["updated_at"])),
            "Cache-Control": metadata["cacheControl"],
        }
    )
    return response


def _info(row: Row) -> Response:
    metadata = row["metadata"]
    return said(
        {
            "id": row["id"],
            "name": row["name"],
            "version": row["version"],
            "bucket_id": row["bucket_id"],
            "size": metadata["size"],
            "content_type": metadata["mimetype"],
            "cache_control": metadata["cacheControl"],
            "etag": metadata["eTag"],
            "metadata": row["user_metadata"],
            "last_modified": row["updated_at"],
            "created_at": row["created_at"],
        }
    )


def _unchanged(request: Request, row: Row) -> bool:
    if "If-None-Match" in request.headers:
        return bool(request.headers["If-None-Match"] == row["metadata"]["eTag"])
    since = request.if_modified_since
    return since is not None and datetime.fromisoformat(row["updated_at"]).replace(microsecond=0) <= since


def _asked(request: Request, size: int) -> tuple[int, int]:
    """Where to start and stop; raises StorageError (416) for a range outside the object."""
    asked = parse_range_header(request.headers.get("Range"))
    if asked is None or asked.units != "bytes" or len(asked.ranges) != 1:
        return 0, size
    found = asked.range_for_length(size)
    if found is None:
        raise errors.StorageError(416, "InvalidRange", "The requested range is not satisfiable", http=416)
    return found


def _disposition(name: str) -> str:
    encoded = quote(name, safe="!'()*-._~")
    return f"attachment; filename={encoded}; filename*=UTF-8''{encoded};" if name else "attachment;"


def _signed_url(call: Call, key: str, seconds: int) -> str:
    path = f"{call.bucket_id}/{key}"
    return f"/object/sign/{path}?token={call.keys.signed('download', path, seconds)}"


def _token(call: Call) -> str:
    token = call.request.args.get("token")
    if not token:
        raise errors.invalid_request("querystring must have required property 'token'")
    return token


def _key(row: Row) -> str:
    return f"{row['bucket_id']}/{row['name']}"
