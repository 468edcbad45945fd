"""What a field of a JSON schema takes, in words, for every page that tells of one."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

Schema = Mapping[str, Any]
_MOST_NAMED, _SUCH_AS = 12, 3
_BOUNDS = {
    "minimum": "at least {}",
    "exclusiveMinimum": "above {}",
    "maximum": "at most {}",
    "exclusiveMaximum": "below {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "minItems": "at least {}",
    "maxItems": "at most {}",
}
_TYPES = {"string": "text", "integer": "whole number", "number": "number", "boolean": "yes or no", "object": "object"}


def rows_of(schema: Schema, definitions: Mapping[str, Schema]) -> Iterator[tuple[str, str, str, str]]:
    """Of each field its name, what it is, what it takes and what it is without it, in the order in which the schema asks."""
    wanted = set(schema.get("required", ()))
    for name, field in sorted(schema.get("properties", {}).items(), key=lambda item: item[1].get("position", 0)):
        said = field.get("description") or field.get("title") or ""
        yield name, said, kind(field, definitions), "needed" if name in wanted else _default(field)


def parts(schema: Schema, definitions: Mapping[str, Schema]) -> list[str]:
    """Names of the definitions it is made of, those it names first before those that they name."""
    found: list[str] = []
    for name in _references(schema):
        if name not in found and "properties" in definitions[name]:
            found.append(name)
            found += [part for part in parts(definitions[name], definitions) if part not in found]
    return found


def kind(field: Schema, definitions: Mapping[str, Schema]) -> str:
    """What a field takes, with its bounds; what is to be written as it stands is between backticks."""
    bounds = [
        words.format(f"{field[name]:,}") for name, words in _BOUNDS.items() if isinstance(field.get(name), int | float)
    ]
    return ", ".join([_kind(field, definitions), *bounds])


def _kind(field: Schema, definitions: Mapping[str, Schema]) -> str:
    if "$ref" in field:
        return _named(field["$ref"], definitions)
    if choices := field.get("anyOf") or field.get("oneOf") or field.get("allOf"):
        return " or ".join(dict.fromkeys(kind(each, definitions) for each in choices if each.get("type") != "null"))
    if "const" in field or "enum" in field:
        return _choices(field.get("enum") or [field["const"]])
    if field.get("type") == "array":
        return f"list of {kind(field.get('items', {}), definitions)}"
    word = _TYPES.get(str(field.get("type")), "anything")
    return {"uuid": "UUID", "date-time": "date and time", "binary": "file"}.get(field.get("format", ""), word)


def _named(reference: str, definitions: Mapping[str, Schema]) -> str:
    name = reference.rpartition("/")[2]
    found = definitions[name]
    return str(found.get("title", name)) if "properties" in found else _kind(found, definitions)


def _choices(values: list[object]) -> str:
    named = [f"`{json.dumps(value) if value == '' else value}`" for value in values]
    if len(named) <= _MOST_NAMED:
        return ", ".join(named)
    return f"one of {len(named)}, such as {', '.join(named[:_SUCH_AS])}"


def _default(field: Schema) -> str:
    default = field.get("default")
    return "" if default in (None, "", [], {}) else f"`{json.dumps(default, ensure_ascii=False)}`"


def _references(schema: object) -> Iterator[str]:
    if isinstance(schema, Mapping):
        if isinstance(name := schema.get("$ref"), str):
            yield name.rpartition("/")[2]
        for value in schema.values():
            yield from _references(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from _references(value)
