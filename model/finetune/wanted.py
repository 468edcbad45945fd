"""What a field of a pydantic model takes, in words: for messages, and for the table of hyperparameters."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel


def wanted(model: type[BaseModel], name: str) -> str:
    """Such as `a whole number from 1 to 4096`."""
    schema = model.model_json_schema()["properties"][name]
    kinds = [kind for kind in schema.get("anyOf", [schema]) if kind.get("type") != "null"]
    return _kind(kinds[0])


def _kind(schema: dict[str, Any]) -> str:
    if "enum" in schema:
        *others, last = map(repr, schema["enum"])
        return f"{', '.join(others)} or {last}"
    kind = schema["type"]
    if kind == "boolean":
        return "true or false"
    if kind == "array":
        return f"at most {schema['maxItems']} names, as a list or with commas between them"
    if kind == "string":
        return f"text of at most {schema['maxLength']:,} characters"
    return f"a {'whole number' if kind == 'integer' else 'number'} {_bounds(schema)}"


def _bounds(schema: dict[str, Any]) -> str:
    low = (
        f"above {_plain(schema['exclusiveMinimum'])}"
        if "exclusiveMinimum" in schema
        else f"from {_plain(schema['minimum'])}"
    )
    high = (
        f"below {_plain(schema['exclusiveMaximum'])}"
        if "exclusiveMaximum" in schema
        else f"{'up ' * ('above' in low)}to {_plain(schema['maximum'])}"
    )
    return f"{low} {'and ' * ('below' in high)}{high}"


def _plain(number: float) -> str:
    return f"{number:,.10g}"
