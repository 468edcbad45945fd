"""Storage's S3 endpoint, `/storage/v1/s3`: what reads a bucket, signed with the project's access keys, refused in XML.

HeadBucket, ListObjectsV2, HeadObject and GetObject; of the rest, which the real endpoint has, nothing here makes use. As there
If-Match is ignored, the time of a signature too, and a bucket that is not there has just no object.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import wraps
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import escape

from botocore.credentials import Credentials
from werkzeug.wrappers import Request, Response

from trainmaster.embedded.sigv4 import AUTHORIZATION, S3Signer
from trainmaster.embedded.supabase import errors
from trainmaster.embedded.supabase.calls import Call
from trainmaster.embedded.supabase.listing import LISTED_AT_MOST_V2, grouped, rows_below
from trainmaster.embedded.supabase.store import Row
from trainmaster.embedded.supabase.tokens import SERVICE
from trainmaster.embedded.supabase.transfers import content, head

REGION = "us-east-1"

_NAMESPACE = ' xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'
_CODES = {
    "Bucket not found": "NoSuchBucket", "not_found": "NoSuchKey", "Unauthorized": "AccessDenied", "Internal": "InternalError",
}  # fmt: skip
"""Where the S3 endpoint says it otherwise than the HTTP API."""


def _signed(answer: Callable[[Call], Response]) -> Callable[[Call], Response]:
    """Whoever signs with the project's keys is the service role."""

    @wraps(answer)
    def guarded(call: Call) -> Response:
        _check(call)
        return answer(replace(call, caller=SERVICE))

    return guarded


@_signed
def bucket(call: Call) -> Response:
    """That it is there, or a page of its keys in the order of their bytes."""
    if call.request.method == "HEAD":
        call.store.bucket(call.bucket_id)
        return Response(headers={"x-amz-bucket-region": REGION})
    if call.request.method != "GET" or call.request.args.get("list-type") != "2":
        raise _not_offered()
    return _listed(call)


@_signed
def object_(call: Call) -> Response:
    """What is known of it, which is the database's word; or its bytes."""
    if call.request.method == "HEAD":
        row = call.store.object(call.bucket_id, call.key)
        if row is None:
            raise errors.no_such_object()
        response = head(row)
        response.headers["Content-Length"] = str(row["metadata"]["size"])
    elif call.request.method == "GET" and not call.request.args:
        found = call.store.open(call.bucket_id, call.key)
        if found is None:
            raise errors.no_such_object()
        row, file = found
        response = content(call, row, file)
    else:
        raise _not_offered()
    response.headers.update(_recorded(row))
    return response


def refusal(error: errors.StorageError, request: Request) -> Response:
    """In S3's words, under the true status."""
    if error.http in errors.GATEWAY_ERRORS:
        return error.answer()
    resource = request.path.split("/s3/", 1)[1].strip("/")
    code = _CODES.get(error.error, error.error)
    return _xml("Error", {"Resource": resource, "Code": code, "Message": error.message}, error.status)


def _check(call: Call) -> None:
    request, keys = call.request, call.keys.s3
    given = AUTHORIZATION.fullmatch(request.headers.get("Authorization", "").strip())
    if given is None:
        raise errors.denied("Missing signature")
    for claimed, ours, what in (
        (given["key"], keys.access_key_id, "Access Key"), (given["region"], REGION, "Region"), (given["service"], "s3", "Service"),
    ):  # fmt: skip
        if claimed != ours:
            raise errors.denied(f"Invalid {what}")
    signer = S3Signer(Credentials(keys.access_key_id, keys.secret_access_key), "s3", REGION)
    moment = request.headers.get("X-Amz-Date", "")
    if not signer.matches(request, set(given["headers"].split(";")), moment, given["signature"]):
        message = (
            "The request signature we calculated does not match the signature you provided. Check your key and signing"
            " method."
        )
        raise errors.StorageError(403, "SignatureDoesNotMatch", message, http=403)


def _listed(call: Call) -> Response:
    asked = call.request.args
    call.store.bucket(call.bucket_id)
    prefix, wanted = asked.get("prefix", ""), min(asked.get("max-keys", 0, int) or LISTED_AT_MOST_V2, LISTED_AT_MOST_V2)
    token = asked.get("continuation-token")
    after = _decoded(token) if token else asked.get("start-after", "")
    if asked.get("delimiter") == "/":
        found = [row for row in grouped(rows_below(call, prefix), prefix) if row["name"] > after]
    else:
        found = rows_below(call, prefix, after=after, limit=wanted + 1)
    page = found[:wanted]
    encoded = _encoding(asked.get("encoding-type"))
    listed = {
        "Name": call.bucket_id,
        "Prefix": encoded(prefix),
        "ContinuationToken": token,
        "StartAfter": encoded(asked["start-after"]) if "start-after" in asked else None,
        "Contents": [_entry(row, encoded) for row in page if row["id"] is not None],
        "IsTruncated": "true" if len(found) > wanted else "false",
        "MaxKeys": wanted,
        "Delimiter": asked.get("delimiter"),
        "EncodingType": asked.get("encoding-type"),
        "KeyCount": len(page),
        "CommonPrefixes": [{"Prefix": encoded(row["name"])} for row in page if row["id"] is None],
        "NextContinuationToken": base64.b64encode(page[-1]["name"].encode()).decode() if len(found) > wanted else None,
    }
    return _xml("ListBucketResult", listed)


def _entry(row: Row, encoded: Callable[[str], str]) -> dict[str, Any]:
    about = row["metadata"]
    key = encoded(row["name"])
    return {"Key": key, "LastModified": row["updated_at"], "ETag": about["eTag"], "Size": about["size"], "StorageClass": "STANDARD"}  # fmt: skip


def _encoding(asked: str | None) -> Callable[[str], str]:
    return (lambda text: quote(text, safe="-_.~")) if asked == "url" else str


def _decoded(token: str) -> str:
    try:
        return base64.b64decode(token).decode()
    except ValueError:
        raise errors.StorageError(400, "InvalidParameter", "Invalid Parameter continuation token") from None


def _recorded(row: Row) -> dict[str, str]:
    """An object's own metadata, as far as it fits into headers; how much does not."""
    fits = {f"x-amz-meta-{name.lower()}": value for name, value in (row["user_metadata"] or {}).items() if _fits(value)}
    missing = len(row["user_metadata"] or {}) - len(fits)
    return {**fits, **({"x-amz-missing-meta": str(missing)} if missing else {})}


def _fits(value: Any) -> bool:
    return isinstance(value, str) and value.isascii() and value.isprintable()


def _not_offered() -> errors.StorageError:
    return errors.StorageError(501, "NotImplemented", "The embedded Supabase does not offer this by its S3 endpoint")


def _xml(name: str, members: Mapping[str, Any], status: int = 200) -> Response:
    text = f'<?xml version="1.0" encoding="UTF-8" standalone="yes"?><{name}{_NAMESPACE}>{_inside(members)}</{name}>'
    return Response(text, status=status, content_type="application/xml; charset=utf-8")


def _inside(members: Mapping[str, Any]) -> str:
    return "".join(_element(name, value) for name, value in members.items() if value is not None)


def _element(name: str, value: Any) -> str:
    if isinstance(value, list):
        return "".join(_element(name, each) for each in value)
    return f"<{name}>{_inside(value) if isinstance(value, dict) else escape(str(value))}</{name}>"
