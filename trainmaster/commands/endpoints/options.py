"""What `trainmaster endpoints plan|deploy` is told: an option for each field of an endpoint's request, or a file with it."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import NoneType
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from trainmaster.commands.terminal.bad_request import BadRequestError
from trainmaster.commands.terminal.objects import read_object
from trainmaster.commands.terminal.options import read_pair
from trainmaster.endpoints.request import EndpointRequest
from trainmaster.field_words import bounds_of, plainly, unknown

OF_THE_COMMAND = frozenset({"dry_run"})
"""Fields that have no option: `endpoints plan` is the dry run."""
SPELLED: Mapping[str, str] = {"user_id": "--user"}
_FIELD = "field "
"""Keeps the fields apart from the command's own options in what argparse returns."""
_METAVARS: Mapping[Any, str] = {int: "N", float: "X"}
_S3 = "give the model.tar.gz of a training job, such as s3://bucket/jobs/cats-1/output/model.tar.gz"
_PATTERNS: Mapping[str, str] = {
    "model_uri": _S3,
    "challenger.model_uri": _S3,
    "shadow.model_uri": _S3,
    "endpoint_name": "letters, digits and single hyphens between them",
    "model_group": "letters, digits and single hyphens between them",
    "instance_type": "give a SageMaker type, such as ml.m5.large",
    "user_id": "give an id, a UUID",
    "team": "letters, digits, dots, dashes, at most 63",
    "data_classification": "lower-case letters, digits and hyphens",
}
"""What a field whose pattern is a regular expression has to be, for people."""


@dataclass(frozen=True)
class Option:
    """A field of the request, or of what is nested in it, and how it is typed."""

    path: str
    spelled: str
    field: FieldInfo
    kind: Any
    """Its type without None; a model where the option, given alone, means all its defaults."""


def options() -> Iterator[Option]:
    """Every field that has an option, in the request's order: those nested in `scaling` are `--scaling-…`."""
    for name, field in EndpointRequest.model_fields.items():
        if name in OF_THE_COMMAND:
            continue
        kind = _kind(field)
        if not _is_model(kind):
            yield Option(name, _spelled(name), field, kind)
            continue
        if field.default is None and not any(one.is_required() for one in kind.model_fields.values()):
            yield Option(name, _spelled(name), field, kind)
        for inner, of_it in kind.model_fields.items():
            yield Option(f"{name}.{inner}", _spelled(f"{name}.{inner}"), of_it, _kind(of_it))


def add_request_options(parser: argparse.ArgumentParser) -> None:
    """`--request`, and an option for each field of EndpointRequest but those OF_THE_COMMAND."""
    parser.set_defaults(check=read_request)
    parser.usage = "%(prog)s [option …]"  # a page would list them
    parser.add_argument(
        "--request",
        metavar="FILE",
        help="a request as a JSON object; - reads standard input. Options go before what it says",
    )
    group = parser.add_argument_group("the request")
    for option in options():
        how: dict[str, Any] = {"dest": _FIELD + option.path, "default": argparse.SUPPRESS, "help": _help(option)}
        if _is_model(option.kind):
            how |= {"action": "store_const", "const": {}}
        elif option.kind is bool:
            how["action"] = argparse.BooleanOptionalAction
        elif get_origin(option.kind) is Literal:
            choices = get_args(option.kind)
            how |= {"choices": choices, "type": type(choices[0])}
        elif get_origin(option.kind) is dict:
            how |= {"action": "append", "metavar": "KEY=VALUE", "type": read_pair}
        else:
            how["metavar"] = _METAVARS.get(option.kind, "USD" if option.path == "max_hourly_cost" else "TEXT")
        group.add_argument(option.spelled, **how)


def read_request(args: argparse.Namespace, **otherwise: Any) -> EndpointRequest:
    """The request of the file, with what the options say instead. Raises BadRequestError."""
    request = read_object(args.request, "--request", '{"model_uri": "s3://…"}') if args.request else {}
    for path, value in _given(args).items():
        name, _, inner = path.partition(".")
        before = request.get(name)
        nested = dict(before) if isinstance(before, dict) else {}
        given = dict(value) if isinstance(value, list) else value
        request[name] = {**nested, inner: given} if inner else {**nested, **given} if isinstance(given, dict) else given
    try:
        return EndpointRequest.model_validate({**request, **otherwise})
    except ValidationError as error:
        raise BadRequestError("\n".join(dict.fromkeys(_said(wrong) for wrong in error.errors()))) from error


def _given(args: argparse.Namespace) -> dict[str, Any]:
    return {name.removeprefix(_FIELD): value for name, value in vars(args).items() if name.startswith(_FIELD)}


def _spelled(path: str) -> str:
    return SPELLED.get(path, f"--{path.replace('.', '-').replace('_', '-')}")


def _kind(field: FieldInfo) -> Any:
    kinds = [one for one in get_args(field.annotation) if one is not NoneType]
    return kinds[0] if NoneType in get_args(field.annotation) else field.annotation


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _help(option: Option) -> str:
    bounds, default = bounds_of(option.field), option.field.default
    is_shown = not option.field.is_required() and not (default in (None, "", False, {}) or _is_model(option.kind))
    notes = "; ".join(filter(None, [bounds, f"default {default}" if is_shown else ""]))
    return f"{option.field.description}{f' ({notes})' if notes else ''}".replace("%", "%%")


def _said(wrong: Any) -> str:
    """One thing that is wrong, by the option it would be given with."""
    known = {option.path: option for option in options()}
    path = ".".join(str(part) for part in wrong["loc"])
    option = next((known[found] for found in sorted(known, reverse=True) if f"{path}.".startswith(f"{found}.")), None)
    if wrong["type"] == "extra_forbidden":
        return unknown(path, known)
    if wrong["type"] == "missing":
        return f"{_spelled(path)} is missing: {_PATTERNS.get(path, 'it has to be given')}."
    if wrong["type"] == "value_error":
        said = str(wrong["msg"]).removeprefix("Value error, ")
        return f"{said[:1].upper()}{said[1:]}."
    if option is None:
        return f"{_spelled(path)} cannot be {wrong['input']!r}: {wrong['msg']}."
    return f"{option.spelled} cannot be {wrong['input']!r}: {_wanted(option, wrong)}."


def _wanted(option: Option, wrong: Any) -> str:
    if option.path in _PATTERNS and wrong["type"] in {"string_pattern_mismatch", "literal_error"}:
        return _PATTERNS[option.path]
    return plainly(option.field, wrong)
