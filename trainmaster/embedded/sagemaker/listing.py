"""One page of a List operation: AWS's filters, orders and tokens, the same for every kind of record."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from typing import Any

from trainmaster.embedded.sagemaker.wire import Json, invalid

_DEFAULT_SIZE = 10
_MOMENTS = ("CreationTime", "LastModifiedTime")
_OLDEST_FIRST = frozenset({"TrainingJobSummaries"})
"""Lists AWS documents as ascending by default; all others are descending."""


def page(records: list[Json], request: Json, *, name: str, summaries: str, status: str | None = None) -> Json:
    """The answer's members: the records asked for, in order, and a NextToken when there are more.

    `name` and `status` are the records' members of that meaning, `summaries` the answer's list. A token holds the place
    after the last record given, not a count, so records made or removed meanwhile shift nothing.
    """
    if unknown := sorted(member for member in request if member.endswith("Equals") and member != "StatusEquals"):
        raise invalid(f"The embedded AWS does not filter by {unknown[0]}.")
    members = {"Name": name, "Status": status or name, **{moment: moment for moment in _MOMENTS}}
    by = request.get("SortBy", "CreationTime")
    order = request.get("SortOrder", "Ascending" if summaries in _OLDEST_FIRST else "Descending")

    def place(record: Json) -> tuple[Any, str]:
        return record[members[by]], record[name]

    wanted = sorted(
        (record for record in records if _asked_for(record, request, name, status)),
        key=place, reverse=order == "Descending",
    )  # fmt: skip
    if token := request.get("NextToken"):
        last = _place_in(token, by, order)
        wanted = [
            record for record in wanted if (place(record) < last if order == "Descending" else place(record) > last)
        ]
    size = request.get("MaxResults", _DEFAULT_SIZE)
    answer: Json = {summaries: wanted[:size]}
    if len(wanted) > size:
        answer["NextToken"] = _token(place(wanted[size - 1]), by, order)
    return answer


def seconds(timestamp: float | str) -> float:
    """A request's timestamp as epoch seconds: botocore sends a number, others may send ISO 8601."""
    if not isinstance(timestamp, str):
        return timestamp
    try:
        moment = datetime.fromisoformat(timestamp)
    except ValueError:
        raise invalid(f"'{timestamp}' is not a timestamp.") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _asked_for(record: Json, request: Json, name: str, status: str | None) -> bool:
    if request.get("NameContains", "") not in record[name]:
        return False
    if status and request.get("StatusEquals", record[status]) != record[status]:
        return False
    for member in _MOMENTS:
        after, before = request.get(f"{member}After"), request.get(f"{member}Before")
        if after is not None and record[member] < seconds(after):
            return False
        if before is not None and record[member] > seconds(before):
            return False
    return True


def _token(place: tuple[Any, str], by: str, order: str) -> str:
    return base64.urlsafe_b64encode(json.dumps([by, order, *place]).encode()).decode()


def _place_in(token: str, by: str, order: str) -> tuple[Any, str]:
    try:
        token_by, token_order, value, name = json.loads(base64.urlsafe_b64decode(token.encode()))
    except (ValueError, TypeError):
        token_by = None
    if token_by is None or (token_by, token_order) != (by, order):
        raise invalid("The NextToken is not valid: pass the one of the page before, with the same order.")
    if not isinstance(name, str) or not isinstance(value, (int, float) if by in _MOMENTS else str):
        raise invalid("The NextToken is not valid.")
    return value, name
