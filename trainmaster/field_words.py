"""What fields of a request may be and what is wrong with them, in the words of every door: the terminal and HTTP alike."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any, get_origin

from annotated_types import Ge, Gt, Le, Lt, MaxLen
from pydantic.fields import FieldInfo

_LONGEST_NAME = 60
_DOLLARS, _WHOLE = "give US dollars, such as 12.50", "give a whole number"
_YES_OR_NO, _ID = "give true or false", "give an id, a UUID"
_TIME = "give a time, such as 2026-12-24T18:00:00Z"
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
    "float_type": "give a number",
    "bool_parsing": _YES_OR_NO,
    "bool_type": _YES_OR_NO,
    "string_type": "give text",
    "string_too_short": "give {min_length} characters or more",
    "dict_type": "give an object of names and values",
    "list_type": "give a list",
    "uuid_parsing": _ID,
    "uuid_type": _ID,
    "datetime_parsing": _TIME,
    "datetime_from_date_parsing": _TIME,
    "datetime_type": _TIME,
    "timezone_aware": _TIME,
    "literal_error": "give {expected}",
    "enum": "give {expected}",
}
"""Of pydantic's kinds of errors, what would be right."""

_S3 = "give an S3 prefix, such as s3://bucket/folder/"
_NAME = "letters, digits and single hyphens between them"
_KEY = "give the id or the ARN of a KMS key"
TRAINING_PATTERNS: Mapping[str, str] = {
    "training_config_id": _ID,
    "user_id": _ID,
    "team": "letters, digits, dots, dashes, at most 63",
    "data_classification": "lower-case letters, digits and hyphens",
    "data_uri": _S3,
    "checkpoint_s3_uri": _S3,
    "model_name": _NAME,
    "model_version": _NAME,
    "experiment": "letters, digits and hyphens between them",
    "region": "give a region, such as us-east-1",
    "subnets": "give ids, such as subnet-0abc",
    "security_groups": "give ids, such as sg-0abc",
    "volume_kms_key": _KEY,
    "output_kms_key": _KEY,
}
_LOWER = "lower-case letters, digits and single hyphens"
WORKSPACE_PATTERNS: Mapping[str, str] = {
    "template": _LOWER,
    "name": f"{_LOWER}, at most 40 characters",
    "instance_type": "give a type with a dot in it, such as ml.g5.xlarge or t3.large",
    "data_classification": f"{_LOWER}, at most 60 characters",
    "user_id": _ID,
    "team": "letters, digits, dots, dashes, at most 63",
    "address": "four numbers of 0 to 255 with dots between them, such as 203.0.113.7",
}
"""What fields whose patterns are regular expressions have to be, for people."""


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
    if field and bounds_of(field) and kind in {"greater_than", "greater_than_equal", "less_than", "less_than_equal"}:
        return f"give {bounds_of(field)}"
    plain = _PLAIN.get(kind)
    if plain:
        return plain.format_map(wrong.get("ctx", {}))
    return str(wrong["msg"]).removeprefix("Value error, ").removesuffix(".")


def unknown(name: str, known: Iterable[str]) -> str:
    """Of a field there is not, in a sentence, with the one whose name is nearest."""
    near = get_close_matches(name[:_LONGEST_NAME], known, 1)
    return f"{name[:_LONGEST_NAME]} is no field of a request.{f' Did you mean {near[0]}?' if near else ''}"
