"""How a request is asked for in Prefect's UI: one control for each field, in the order people think of them.

Prefect shows the JSON schema of a request: two ways of saying a number are two tabs, "or nothing" is a tab named None, a mapping is
an editor for JSON, and an order that only the properties have is lost on a server with PostgreSQL. Python takes all it took before.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

Schema = dict[str, Any]
_BOUNDS = {"gt": "exclusiveMinimum", "ge": "minimum", "lt": "exclusiveMaximum", "le": "maximum"}
"""What pydantic writes for an amount of money, and what a server enforces."""
_SETTINGS = {
    "TRAINMASTER_USER_ID": "the user Trainmaster is set up for",
    "TRAINMASTER_TEAM": "the team Trainmaster is set up for",
}
_PAIR = 2
_QUOTED = re.compile(r'("(?:[^"\\]|\\.)*")\s*=(.*)', re.DOTALL)
_WORDS: Schema = {"type": "array", "items": {"type": "string", "pattern": "^[^=]+="}}


def as_form(*first: str, hidden: tuple[str, ...] = ()) -> Callable[[Schema], None]:
    """For `json_schema_extra` of a request: fields in this order, those not named after them; `hidden` ones are taken, not shown."""

    def arrange(schema: Schema) -> None:
        fields = {name: _one_control(field) for name, field in schema["properties"].items()}
        shown = [name for name in dict.fromkeys((*first, *fields)) if name not in hidden]
        schema["properties"] = {name: {**fields[name], "position": place} for place, name in enumerate(shown)}
        if hidden:
            schema["patternProperties"] = {f"^{name}$": fields[name] for name in hidden}

    return arrange


def _one_control(field: Schema) -> Schema:
    """The same field as one control; what it takes besides is left to Python."""
    field = dict(field)
    if "$ref" in field:
        field.pop("default", None)  # its own fields have theirs
    ways = field.pop("anyOf", None)
    if ways:
        kinds = [way.get("type") for way in ways]
        if "number" in kinds and "string" in kinds:
            field = {_BOUNDS.get(key, key): value for key, value in field.items() if key != "decimal_places"}
            field["type"] = "number"
            if field.get("default") is not None:
                field["default"] = float(field["default"])
        else:
            [way, *_] = [way for way in ways if way.get("type") != "null" and way.get("const") != ""]
            field = {**_one_control(way), **field}
            if any(way.get("const") == "" for way in ways):
                field["pattern"] = f"^$|{way['pattern']}"
    if field.get("default", ...) is None:
        del field["default"]
    if "description" in field:
        field["description"] = _in_plain_words(field["description"])
    if field.get("items") == _WORDS["items"]:
        field["description"] += " Each as name=value."
        if "default" in field:
            field["default"] = words_of(field["default"])
    if "properties" in field:
        field["description"] += " Fill in any of these for it; leave all empty for none."
    return field


def _in_plain_words(description: str) -> str:
    """As it is said where nobody sees settings, and backticks are no markup."""
    for setting, said in _SETTINGS.items():
        description = description.replace(setting, said)
    return description.replace("`", "“", 1).replace("`", "”", 1) if description.count("`") == _PAIR else description


@dataclass(frozen=True)
class Words:
    """For a mapping: a list of words `name=value` in the form; in Python either. A value of `json_values` that is JSON is what it says,
    and so are both sides of a word whose name is in quotes."""

    json_values: bool = False

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(self._named, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> Schema:
        most = handler(schema).get("maxProperties")
        return {**_WORDS, **({} if most is None else {"maxItems": most})}

    def _named(self, given: Any) -> Any:
        if not isinstance(given, list):
            return given
        named: dict[str, Any] = {}
        for word in given:
            name, value = _exactly(str(word)) or self._split(str(word))
            if name in named:
                raise ValueError(f"{name} is given twice")
            named[name] = value
        return named

    def _split(self, word: str) -> tuple[str, Any]:
        name, is_one, value = word.partition("=")
        name, value = name.strip(), value.strip()
        if not (is_one and name):
            raise ValueError(f"{_shortened(word)!r} is not name=value")
        return name, _read(value) if self.json_values else value


def _exactly(word: str) -> tuple[str, Any] | None:
    """The sides of a word whose name is in quotes, if both are JSON."""
    if quoted := _QUOTED.fullmatch(word.strip()):
        try:
            return json.loads(quoted[1]), json.loads(quoted[2], parse_constant=_no_number)
        except (ValueError, RecursionError):
            return None
    return None


def _read(value: str) -> Any:
    try:
        return json.loads(value, parse_constant=_no_number)
    except (ValueError, RecursionError):
        return value


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is no number")


def _shortened(word: str) -> str:
    return word if len(word) <= 40 else f"{word[:40]}…"


def words_of(named: Mapping[str, Any]) -> list[str]:
    """The words a form has for a mapping; read again they are the same mapping, whatever its texts look like."""
    return [_word(name, value) for name, value in named.items()]


def _word(name: str, value: Any) -> str:
    is_plain_name = name and name == name.strip() and "=" not in name and not name.startswith('"')
    is_plain_text = isinstance(value, str) and value == value.strip() == _read(value)
    if not is_plain_name or (isinstance(value, str) and not is_plain_text):
        return f"{json.dumps(name)}={json.dumps(value)}"
    return f"{name}={value if is_plain_text else json.dumps(value)}"


class WhenFilledIn:
    """For a part that may be absent: its fields are there and empty, and whoever fills one in asks for the part."""

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> Schema:
        [way] = [way for way in handler(schema)["anyOf"] if way.get("type") != "null"]
        part = deepcopy(handler.resolve_ref_schema(way))
        for field in part["properties"].values():
            if "default" in field:
                field["description"] = f"{field['description']} {_said(field.pop('default'))} when empty."
        return part


def _said(value: Any) -> str:
    return {True: "On", False: "Off"}[value] if isinstance(value, bool) else str(value)


class YesOrNo:
    """For a choice that may be left open: a drop-down, for a switch could not say that nobody has chosen."""

    def __get_pydantic_json_schema__(self, _schema: CoreSchema, _handler: GetJsonSchemaHandler) -> Schema:
        return {"type": "string", "enum": ["yes", "no"]}


def filled_in(request: Mapping[str, Any], schema: Mapping[str, Any]) -> dict[str, Any]:
    """A request as JSON in the words of the form of a deployment: the server takes no others. `schema` is that of its parameters."""
    definitions = schema.get("definitions", {})

    def field_of(field: Schema) -> Schema:
        *_, name = field.get("$ref", "").rpartition("/")
        return {**definitions.get(name, {}), **field}

    def said(fields: Mapping[str, Schema], part: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
        for name, value in part.items():
            field = field_of(fields.get(name, {}))
            kind = field.get("type")
            if value is None and name in fields:
                continue
            if isinstance(value, Mapping):
                yield name, words_of(value) if kind == "array" else dict(said(field.get("properties", {}), value))
            elif isinstance(value, bool) and kind == "string":
                yield name, "yes" if value else "no"
            elif isinstance(value, str) and kind == "number":
                yield name, float(value)
            else:
                yield name, value

    return dict(said(field_of(schema.get("properties", {}).get("request", {})).get("properties", {}), request))
