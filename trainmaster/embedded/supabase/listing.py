"""What is in a bucket, page by page, with the caps the real server has and does not mention in its answers."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field
from werkzeug.wrappers import Response

from trainmaster.embedded.supabase import errors
from trainmaster.embedded.supabase.calls import Call, said
from trainmaster.embedded.supabase.store import Row

LISTED_AT_MOST = 1500
LISTED_AT_MOST_V2 = 1000
_AFTER_ALL = "\x7f"
"""What no key has: it sorts after all they may be made of."""


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
    start = folder + asked.search
    depth = folder.count("/")
    found = _rows(call, "lower(substr(name, 1, ?)) = lower(?)", len(start), start)
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
    last, wanted = _decoded(asked.cursor), min(asked.limit, LISTED_AT_MOST_V2)
    if (
        asked.sort_by == Sorting() and not asked.with_delimiter
    ):  # the usual one, and as fast on the last page as on the first
        rest = rows_below(call, asked.prefix, after=last[1] if last else "", limit=wanted + 1)
    else:
        rows = rows_below(call, asked.prefix)
        entries = _sorted(grouped(rows, asked.prefix) if asked.with_delimiter else rows, asked.sort_by)
        rest = [row for row in entries if last is None or _follows(_place(row, asked), last, asked)]
    page = rest[:wanted]
    answer: dict[str, Any] = {
        "hasNext": len(rest) > wanted,
        "folders": [{"name": row["name"], "key": row["name"]} for row in page if row["id"] is None],
        "objects": [{"name": row["name"], "key": row["name"], **_entry(row)} for row in page if row["id"] is not None],
    }
    if answer["hasNext"]:
        answer["nextCursor"] = base64.b64encode(json.dumps(_place(page[-1], asked)).encode()).decode()
    return said(answer)


def rows_below(call: Call, prefix: str, *, after: str = "", limit: int = -1) -> list[Row]:
    """Those whose keys begin so and come after that one, in the order of their bytes."""
    between = (prefix, f"{prefix}{_AFTER_ALL}", after)
    return _rows(call, "name >= ? and name < ? and name > ?", *between, limit=limit)


def _rows(call: Call, condition: str, *values: Any, limit: int = -1) -> list[Row]:
    """What the caller may see of a bucket, in the order of keys."""
    if call.caller.folder is None:
        return []
    columns = "id, name, metadata, created_at, updated_at, last_accessed_at"
    query = f"select {columns} from objects where bucket_id = ? and substr(name, 1, ?) = ? and {condition} order by name limit ?"  # noqa: S608
    return call.store.rows(query, call.bucket_id, len(call.caller.folder), call.caller.folder, *values, limit)


def grouped(rows: Iterable[Row], prefix: str) -> list[Row]:
    """Keys below a folder are that folder, once, at the time of its first object."""
    entries: dict[str, Row] = {}
    for row in rows:
        name, slash, _ = row["name"][len(prefix) :].partition("/")
        if not slash:
            entries[row["name"]] = row
            continue
        folder = f"{prefix}{name}/"
        made = min(row["created_at"], entries[folder]["created_at"]) if folder in entries else row["created_at"]
        entries[folder] = {
            "id": None,
            "name": folder,
            "created_at": made,
            "updated_at": made,
            "last_accessed_at": made,
        }
    return list(entries.values())


def _sorted(rows: Iterable[Row], by: Sorting) -> list[Row]:
    return sorted(rows, key=lambda row: (row[by.column], row["name"]), reverse=by.order == "desc")


def _place(row: Row, asked: ListingV2) -> list[str]:
    return [row[asked.sort_by.column], row["name"]]


def _follows(place: list[str], last: list[str], asked: ListingV2) -> bool:
    return place < last if asked.sort_by.order == "desc" else place > last


def _decoded(cursor: str | None) -> list[str] | None:
    """The place of the last entry before: what was added or removed meanwhile shifts nothing."""
    if cursor is None:
        return None
    try:
        column, name = map(str, json.loads(base64.b64decode(cursor)))
    except (ValueError, TypeError):
        raise errors.StorageError(400, "InvalidParameter", "Invalid Parameter continuation token") from None
    return [column, name]


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
