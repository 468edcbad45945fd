"""What is in a bucket, page by page, with the caps the real server has and does not mention in its answers."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field
from werkzeug.wrappers import Response

from trainmaster.embedded.supabase import errors
from trainmaster.embedded.supabase.calls import Call, said
from trainmaster.embedded.supabase.store import Row

LISTED_AT_MOST = 1500
LISTED_AT_MOST_V2 = 1000


class Sorting(BaseModel):
    column: Literal["name", "updated_at", "created_at", "last_accessed_at"] = "name"
    order: Literal["asc", "desc"] = "asc"


class Listing(BaseModel):
    prefix: str
    limit: Annotated[int, Field(ge=1)] = 100
    offset: Annotated[int, Field(ge=0)] = 0
    search: str = ""
    sort_by: Annotated[Sorting, Field(alias="sortBy")] = Sorting()


class ListingV2(BaseModel):
    prefix: str = ""
    limit: Annotated[int, Field(ge=1)] = LISTED_AT_MOST_V2
    cursor: str | None = None
    with_delimiter: bool = False
    sort_by: Annotated[Sorting, Field(alias="sortBy")] = Sorting()


def list_objects(call: Call) -> Response:
    """One level: folders first, with no id, then objects; names without their folder. A bucket that is not there is empty."""
    asked = call.body(Listing)
    folder = asked.prefix if not asked.prefix or asked.prefix.endswith("/") else f"{asked.prefix}/"
    start = (folder + asked.search).lower()
    depth = folder.count("/")
    found = [row for row in _visible(call) if row["name"].lower().startswith(start)]
    names = sorted({row["name"].split("/")[depth] for row in found if row["name"].count("/") > depth})
    if asked.sort_by.column == "name" and asked.sort_by.order == "desc":
        names.reverse()
    here = [row for row in found if row["name"].count("/") == depth]
    entries = [_folder(name) for name in names]
    entries += [{"name": row["name"].split("/")[depth], **_entry(row)} for row in _sorted(here, asked.sort_by)]
    return said(entries[asked.offset : asked.offset + min(asked.limit, LISTED_AT_MOST)])


def list_objects_v2(call: Call) -> Response:
    """A page of full keys in the order of their bytes; folders are apart, and end with a slash."""
    asked = call.body(ListingV2)
    rows = [row for row in _visible(call) if row["name"].startswith(asked.prefix)]
    entries = _sorted(_grouped(rows, asked.prefix) if asked.with_delimiter else rows, asked.sort_by)
    start = _position(entries, asked) if asked.cursor else 0
    stop = start + min(asked.limit, LISTED_AT_MOST_V2)
    page, more = entries[start:stop], stop < len(entries)
    answer: dict[str, Any] = {
        "hasNext": more,
        "folders": [{"name": row["name"], "key": row["name"]} for row in page if row["id"] is None],
        "objects": [{"name": row["name"], "key": row["name"], **_entry(row)} for row in page if row["id"] is not None],
    }
    if more:
        answer["nextCursor"] = base64.b64encode(json.dumps(_place(page[-1], asked)).encode()).decode()
    return said(answer)


def _visible(call: Call) -> Iterator[Row]:
    columns = "id, name, metadata, created_at, updated_at, last_accessed_at"
    rows = call.store.rows(f"select {columns} from objects where bucket_id = ? order by name", call.bucket_id)  # noqa: S608
    return (row for row in rows if call.caller.may_touch(row["name"]))


def _grouped(rows: Iterable[Row], prefix: str) -> list[Row]:
    """Keys below a folder are that folder, once, at the time of its first object."""
    entries: dict[str, Row] = {}
    for row in rows:
        name, slash, _ = row["name"][len(prefix) :].partition("/")
        if not slash:
            entries[row["name"]] = row
            continue
        folder = f"{prefix}{name}/"
        made = min(row["created_at"], entries[folder]["created_at"]) if folder in entries else row["created_at"]
        entries[folder] = {"id": None, "name": folder, "created_at": made, "updated_at": made}
    return list(entries.values())


def _sorted(rows: Iterable[Row], by: Sorting) -> list[Row]:
    return sorted(rows, key=lambda row: (row[by.column], row["name"]), reverse=by.order == "desc")


def _place(row: Row, asked: ListingV2) -> list[str]:
    return [row[asked.sort_by.column], row["name"]]


def _position(entries: list[Row], asked: ListingV2) -> int:
    """Where the page after the cursor starts; what was added or removed meanwhile shifts nothing."""
    try:
        last = json.loads(base64.b64decode(asked.cursor or ""))
    except ValueError:
        raise errors.StorageError(400, "InvalidParameter", "Invalid Parameter continuation token") from None
    descending = asked.sort_by.order == "desc"
    return sum((_place(row, asked) >= last) if descending else (_place(row, asked) <= last) for row in entries)


def _folder(name: str) -> dict[str, Any]:
    return {
        "name": name,
        "id": None,
        "updated_at": None,
        "created_at": None,
        "last_accessed_at": None,
        "metadata": None,
    }


def _entry(row: Row) -> dict[str, Any]:
    return {name: row[name] for name in ("id", "updated_at", "created_at", "last_accessed_at", "metadata")}
