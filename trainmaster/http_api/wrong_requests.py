"""What is wrong with a request that is not understood, as people would say it; never with what was sent, which may be a secret."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi.dependencies.utils import get_flat_params
from pydantic.fields import FieldInfo

from trainmaster.field_words import TRAINING_PATTERNS, WORKSPACE_PATTERNS, plainly, unknown

_WHO = {"user_id", "team"}
_PATTERNS: Mapping[str, Mapping[str, str]] = {"training": TRAINING_PATTERNS, "workspaces": WORKSPACE_PATTERNS}
"""By the tag of a route."""


def problems_of_request(errors: Sequence[Any], route: Any) -> list[dict[str, str]]:
    """Each of FastAPI's errors as a problem: its field, what is wrong, and what to do about it."""
    tags = getattr(route, "tags", ())
    patterns = next((_PATTERNS[tag] for tag in tags if tag in _PATTERNS), {})
    return [_problem(one, _fields(route, one["loc"][0]), patterns) for one in errors]


def said_of(name: str, wrong: Any, fields: Mapping[str, FieldInfo], patterns: Mapping[str, str]) -> str:
    """A sentence about a field that is not as it must be; `name` is how it is called there."""
    root = name.partition(".")[0]
    if wrong["type"] == "missing":
        return f"{name} is missing."
    if wrong["type"] == "extra_forbidden":
        return unknown(name, () if name in _WHO else fields)
    field = fields.get(root)
    such_as = f"give one such as {field.examples[0]}" if field and field.examples else ""
    words = {"pattern": said} if (said := patterns.get(root, such_as)) else {}
    said = plainly(field, wrong, **words)
    said = said.replace("Input should", "it should", 1)
    return f"{name} is not as it must be: {said}."


def _problem(wrong: Any, fields: Mapping[str, FieldInfo], patterns: Mapping[str, str]) -> dict[str, str]:
    place, *within = wrong["loc"]
    if place == "body" and (wrong["type"] == "json_invalid" or not within):
        return {"kind": "request", "field": "", **_of_body(wrong)}
    name = ".".join(map(str, within))
    who = wrong["type"] == "extra_forbidden" and name in _WHO
    return {
        "kind": "request",
        "field": name if place == "body" else f"{place}.{name}",
        "message": said_of(name, wrong, fields, patterns),
        "remedy": "Who asks is told by the token alone." if who else "",
    }


def _of_body(wrong: Any) -> dict[str, str]:
    if wrong["type"] == "json_invalid":
        why = f"{wrong.get('ctx', {}).get('error', 'it ends too early')}, at character {wrong['loc'][-1]}"
        return {"message": f"The body is no JSON: {why}.", "remedy": ""}
    if wrong["type"] == "missing":
        return {"message": "The body is missing.", "remedy": "Send a JSON object."}
    if isinstance(wrong.get("input"), bytes | str):
        remedy = "Send it with the header Content-Type: application/json."
        return {"message": "The body was not sent as JSON.", "remedy": remedy}
    return {"message": "The body is JSON, but no object.", "remedy": 'Send an object, such as {"name": "notes"}.'}


def _fields(route: Any, place: str) -> Mapping[str, FieldInfo]:
    """Those that the route takes there, by the names they are sent by."""
    if place != "body":
        return {one.alias: one.field_info for one in get_flat_params(route.dependant)}
    body = getattr(route, "body_field", None)
    asked = body.field_info.annotation if body else None
    models = [one for one in (asked, *getattr(asked, "__args__", ())) if hasattr(one, "model_fields")]
    return models[0].model_fields if models else {}
