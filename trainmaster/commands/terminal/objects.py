"""A JSON object in a file or on standard input, as a request is given."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import IO, Any

from trainmaster.commands.terminal.bad_request import BadRequestError

STDIN = "-"
LONGEST_REQUEST = 1 << 20
"""Bytes of a request in a file; more is no request."""


def read_object(name: str, what: str, example: str) -> dict[str, Any]:
    """The JSON object of a file, or of standard input. Raises BadRequestError, which begins with `what` it was to be."""
    try:
        if name == STDIN:
            text = _read(sys.stdin.buffer)
        else:
            with Path(name).expanduser().open("rb") as file:
                text = _read(file)
        value = read_json(text)
    except OSError as error:
        raise BadRequestError(f"{what} {name}: {error.strerror or error}.") from error
    except ValueError as error:
        raise BadRequestError(f"{what} {name} is no JSON: {error}.") from error
    if not isinstance(value, dict):
        raise BadRequestError(f"{what} {name} is no JSON object, such as {example}.")
    return value


def _read(file: IO[bytes]) -> bytes:
    text = file.read(LONGEST_REQUEST + 1)
    if len(text) > LONGEST_REQUEST:
        raise ValueError(f"it is longer than {LONGEST_REQUEST:,} bytes")
    return text


def read_json(text: str | bytes) -> Any:
    """The value of strict JSON. Raises ValueError, also for a key that is there twice, NaN and Infinity."""
    return json.loads(text, parse_constant=_refuse, object_pairs_hook=_once_each)


def _refuse(constant: str) -> Any:
    raise ValueError(f"it has {constant}")  # NaN and Infinity are Python's, not JSON's


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Of a key that is there twice one would be lost without a word."""
    found = dict(pairs)
    twice = {key for key, _ in pairs if [each for each, _ in pairs].count(key) > 1} if len(found) < len(pairs) else ()
    if twice:
        raise ValueError(f"it has {', '.join(map(repr, sorted(twice)))} twice in one object")
    return found
