"""Buckets, and what is done with objects but for their bytes: move, copy, delete."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BaseModel, Field
from werkzeug.wrappers import Response

from trainmaster.embedded.supabase import errors
from trainmaster.embedded.supabase.calls import Call, said
from trainmaster.embedded.supabase.store import Described, Row, Store, timestamp

_NAME = re.compile(r"[\w!\-.*'() &$@=;:+,?]{1,63}", re.ASCII)
_SIZE = re.compile(r"(\d+(?:\.\d+)?)(gb|mb|kb|b)", re.IGNORECASE)
_UNITS = {"gb": 10**9, "mb": 10**6, "kb": 1000, "b": 1}


class BucketChange(BaseModel):
    public: bool = False
    file_size_limit: Annotated[int, Field(ge=0)] | str | None = None
    allowed_mime_types: list[str] | None = None


class NewBucket(BucketChange):
    name: Annotated[str, Field(min_length=1)]
    id: str | None = None


class Removal(BaseModel):
    prefixes: Annotated[list[str], Field(min_length=1)]


class Relocation(BaseModel):
    bucket_id: Annotated[str, Field(alias="bucketId")]
    source_key: Annotated[str, Field(alias="sourceKey")]
    destination_bucket: Annotated[str | None, Field(alias="destinationBucket")] = None
    destination_key: Annotated[str, Field(alias="destinationKey")]
    copy_metadata: Annotated[bool, Field(alias="copyMetadata")] = True


def create_private_bucket(store: Store, name: str) -> None:
    """One that is there already stays as it is."""
    with store.transaction():
        if not store.rows("select id from buckets where id = ?", name):
            store.write("buckets", _new(NewBucket(name=name), None))


def list_buckets(call: Call) -> Response:
    # Without a policy of its own for buckets, which the application has not, a user sees none.
    rows = call.store.rows("select * from buckets order by name") if call.caller.is_service else []
    return said([_described(row) for row in rows])


def get_bucket(call: Call) -> Response:
    if not call.caller.is_service:
        raise errors.no_such_bucket()
    return said(_described(call.store.bucket(call.bucket_id)))


def create_bucket(call: Call) -> Response:
    asked = call.body(NewBucket)
    row = _new(asked, call.caller.user_id)
    if not _NAME.fullmatch(row["id"]):
        raise errors.StorageError(400, "Invalid Input", "Bucket name invalid")
    if not call.caller.is_service:
        raise errors.denied()
    with call.store.transaction():
        if call.store.rows("select id from buckets where id = ?", row["id"]):
            raise errors.already_there()
        call.store.write("buckets", row)
    return said({"name": asked.name})


def update_bucket(call: Call) -> Response:
    """Members that are left out keep their values."""
    asked = call.body(BucketChange)
    with call.store.transaction():
        row = _own(call)
        changed = asked.model_dump(exclude_unset=True)
        if "file_size_limit" in changed:
            changed["file_size_limit"] = _limit(asked.file_size_limit)
        call.store.write("buckets", {**row, **changed, "updated_at": timestamp()})
    return said({"message": "Successfully updated"})


def empty_bucket(call: Call) -> Response:
    """At once; the real server does it in the background."""
    _own(call)
    names = [row["name"] for row in call.store.rows("select name from objects where bucket_id = ?", call.bucket_id)]
    call.store.remove(call.bucket_id, names)
    return said({"message": "Empty bucket has been queued. Completion may take up to an hour."})


def delete_bucket(call: Call) -> Response:
    with call.store.transaction():
        _own(call)
        if call.store.rows("select 1 from objects where bucket_id = ? limit 1", call.bucket_id):
            raise errors.StorageError(409, "InvalidRequest", "The bucket you tried to delete is not empty")
        call.store.delete("buckets", id=call.bucket_id)
    return said({"message": "Successfully deleted"})


def move_object(call: Call) -> Response:
    asked = call.body(Relocation)
    source, bucket_id = _source(call, asked)
    call.may_write(call.caller, bucket_id, asked.destination_key, upsert=False)
    moved = call.store.move(source, bucket_id, asked.destination_key, call.caller.user_id)
    return said({"message": "Successfully moved", "Id": moved["id"], "Key": moved["name"]})


def copy_object(call: Call) -> Response:
    asked = call.body(Relocation)
    source, bucket_id = _source(call, asked)
    call.may_write(call.caller, bucket_id, asked.destination_key, upsert=call.request.headers.get("x-upsert") == "true")
    found = call.store.open(source["bucket_id"], source["name"])
    if found is None:
        raise errors.no_such_object()
    row, file = found
    with file:
        copied = call.store.receive(file, row["metadata"]["size"])
    metadata = row["metadata"]
    kept = row["user_metadata"] if asked.copy_metadata else None
    described = Described(metadata["mimetype"], metadata["cacheControl"], kept)
    try:
        made = call.store.add(bucket_id, asked.destination_key, call.caller.user_id, copied, described)
    finally:
        copied.path.unlink(missing_ok=True)
    return said({**_removed(made), "Id": made["id"], "Key": f"{bucket_id}/{made['name']}"})


def delete_object(call: Call) -> Response:
    if not call.store.object(call.bucket_id, call.key):
        raise errors.no_such_object()
    if not call.caller.may_touch(call.key):
        raise errors.denied("Access denied")
    call.store.remove(call.bucket_id, [call.key])
    return said({"message": "Successfully deleted"})


def delete_objects(call: Call) -> Response:
    """Those that were removed; keys that are absent or another's are left out, without an error."""
    keys = [key for key in call.body(Removal).prefixes if call.caller.may_touch(key)]
    return said([_removed(row) for row in call.store.remove(call.bucket_id, keys)])


def _source(call: Call, asked: Relocation) -> tuple[Row, str]:
    source = Call(call.request, call.store, call.keys, call.caller, asked.bucket_id).visible(asked.source_key)
    bucket_id = asked.destination_bucket or asked.bucket_id
    call.store.bucket(bucket_id)
    return source, bucket_id


def _own(call: Call) -> Row:
    if not call.caller.is_service:
        raise errors.no_such_bucket()
    return call.store.bucket(call.bucket_id)


def _new(asked: NewBucket, owner: str | None) -> Row:
    now = timestamp()
    return {
        "id": asked.id or asked.name,
        "name": asked.name,
        "owner": owner,
        "public": asked.public,
        "file_size_limit": _limit(asked.file_size_limit),
        "allowed_mime_types": asked.allowed_mime_types,
        "created_at": now,
        "updated_at": now,
    }


def _limit(given: int | str | None) -> int | None:
    if not isinstance(given, str):
        return given
    found = _SIZE.fullmatch(given)
    if not found:
        raise errors.StorageError(400, "InvalidRequest", "Invalid file size format, hint: use 20GB / 20MB / 30KB / 3B")
    return int(float(found[1]) * _UNITS[found[2].lower()])


def _described(row: Row) -> dict[str, Any]:
    return {**row, "owner": row["owner"] or "", "public": bool(row["public"]), "type": "STANDARD"}


def _removed(row: Row) -> dict[str, Any]:
    return {**row, "owner": row["owner"] or "", "owner_id": row["owner"]}
