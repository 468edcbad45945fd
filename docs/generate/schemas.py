"""Fields of a JSON schema, as forms and requests have them, in words."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from docs.generate.markdown import code, prose, table

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


def fields(schema: Schema, definitions: Mapping[str, Schema]) -> str:
    """A table of what it has, in the order in which it asks."""
    wanted = set(schema.get("required", ()))
    asked = sorted(schema.get("properties", {}).items(), key=lambda item: item[1].get("position", 0))
    return table(
        ["field", "what", "takes", "without it"],
        [
            [
                code(name),
                prose(field.get("description") or field.get("title")),
                kind(field, definitions),
                "needed" if name in wanted else _default(field),
            ]
            for name, field in asked
        ],
    )


def parts(schema: Schema, definitions: Mapping[str, Schema]) -> list[str]:
    """Names of the definitions it is made of, those it names first before those that they name."""
    found: list[str] = []
    for name in _references(schema):
        if name not in found and "properties" in definitions[name]:
            found.append(name)
            found += [part for part in parts(definitions[name], definitions) if part not in found]
    return found


def kind(field: Schema, definitions: Mapping[str, Schema]) -> str:
    """What a field takes, with its bounds."""
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
    return found.get("title", name) if "properties" in found else _kind(found, definitions)


def _choices(values: list[object]) -> str:
    named = [code(json.dumps(value) if value == "" else value) for value in values]
    if len(named) <= _MOST_NAMED:
        return ", ".join(named)
    return f"one of {len(named)}, such as {', '.join(named[:_SUCH_AS])}"


def _default(field: Schema) -> str:
    default = field.get("default")
    return "" if default in (None, "", [], {}) else code(json.dumps(default, ensure_ascii=False))


def _references(schema: object) -> Iterator[str]:
    if isinstance(schema, Mapping):
        if isinstance(name := schema.get("$ref"), str):
            yield name.rpartition("/")[2]
        for value in schema.values():
            yield from _references(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from _references(value)
