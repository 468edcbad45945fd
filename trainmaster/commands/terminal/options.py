"""Options that are fields of a request: what they may be, and what is wrong with them, in the words of the terminal."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any, get_origin

from annotated_types import Ge, Gt, Le, Lt, MaxLen
from pydantic.fields import FieldInfo

_DOLLARS, _WHOLE = "give US dollars, such as 12.50", "give a whole number"
_PLAIN: Mapping[str, str] = {
    "string_too_long": "it may have {max_length} characters",
    "too_long": "there may be {max_length} of them",
    "decimal_max_places": "give US dollars in whole cents",
    "decimal_parsing": _DOLLARS,
    "decimal_type": _DOLLARS,
    "finite_number": _DOLLARS,
    "int_parsing": _WHOLE,
    "int_type": _WHOLE,
    "int_from_float": _WHOLE,
    "float_parsing": "give a number",
}
"""Of pydantic's kinds of errors, what would be right."""


def bounds_of(field: FieldInfo) -> str:
    """What a value may be, in words: `1 to 20`, `above 0 to 1000000`, `at most 40`; "" where nothing is said."""
    low = high = ""
    for one in field.metadata:
        match one:
            case Ge():
                low = f"{one.ge}"
            case Gt():
                low = f"above {one.gt}"
            case Le():
                high = f"{one.le}"
            case Lt():
                high = f"below {one.lt}"
            case MaxLen() if get_origin(field.annotation) is list:
                high = f"{one.max_length} times"
    return f"{low} to {high}" if low and high else f"{low} or more" if low else f"at most {high}" if high else ""


def plainly(field: FieldInfo | None, wrong: Any, pattern: str = "it has characters that cannot be in it") -> str:
    """What a value has to be, as one would say it; pydantic's own words where there are no better ones."""
    kind = wrong["type"]
    if kind == "string_pattern_mismatch":
        return pattern
    if field and kind in {"greater_than", "greater_than_equal", "less_than", "less_than_equal"}:
        return f"give {bounds_of(field)}"
    plain = _PLAIN.get(kind)
    return plain.format_map(wrong.get("ctx", {})) if plain else str(wrong["msg"])


def read_pair(text: str) -> tuple[str, str]:
    """KEY=VALUE. Raises argparse.ArgumentTypeError."""
    key, equals, value = text.partition("=")
    if not (key and equals):
        raise argparse.ArgumentTypeError(f"{text.partition('=')[0]!r} is not KEY=VALUE")
    return key, value
