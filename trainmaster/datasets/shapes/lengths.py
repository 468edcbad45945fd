"""How long examples are, in characters: what statistics, outliers and the estimate of tokens rest on."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import orjson


def length_of(message: Mapping[str, Any]) -> int:
    """Characters of a message's text, and of the JSON of its tool calls."""
    content = message.get("content")
    length = len(content) if isinstance(content, str) else 0
    if isinstance(content, list):
        length = sum(len(part["text"]) for part in content if isinstance(part.get("text"), str))
    for key in ("tool_calls", "function_call"):
        if calls := message.get(key):
            length += json_length(calls)
    return length


def lengths(messages: Sequence[Mapping[str, Any]]) -> tuple[int, int]:
    """Characters of all but the assistant's turns, and of the assistant's."""
    asked = answered = 0
    for message in messages:
        if message["role"] == "assistant":
            answered += length_of(message)
        else:
            asked += length_of(message)
    return asked, answered


def json_length(value: Any) -> int:
    """Characters of a value as compact JSON."""
    try:
        return len(orjson.dumps(value).decode())
    except orjson.JSONEncodeError:  # integers beyond 64 bits, lone surrogates, 255 levels: JSON, but not to orjson
        return len(json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str))
