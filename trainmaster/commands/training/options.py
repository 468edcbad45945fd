"""What `trainmaster train plan|start` is told: an option for each field of a training request, or a file with the request."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from decimal import Decimal
from types import GenericAlias
from typing import Any, Literal, get_args, get_origin

from pydantic import JsonValue, ValidationError
from pydantic.fields import FieldInfo

from trainmaster.commands.terminal.bad_request import BadRequestError
from trainmaster.commands.terminal.objects import read_json, read_object
from trainmaster.commands.terminal.options import read_pair
from trainmaster.field_words import TRAINING_PATTERNS, bounds_of, plainly, unknown
from trainmaster.training.request import TrainingRequest

SPELLED: Mapping[str, tuple[str, ...]] = {"user_id": ("--user", "--user-id")}
"""Fields whose options are not simply their names, so that they are as the other commands have them."""
OF_THE_COMMAND = frozenset({"dry_run", "wait", "of_job"})
"""Fields that have no option: `train plan` is the dry run, `--follow` the waiting, and a run alone is of a job."""
_FIELD = "field "
"""Keeps the fields apart from the command's own options in what argparse returns."""
_METAVARS: Mapping[Any, str] = {int: "N", Decimal: "USD", float: "X"}

_PATTERNS: Mapping[str, str] = {
    **TRAINING_PATTERNS,
    "training_config_id": f"{TRAINING_PATTERNS['training_config_id']}; `trainmaster configs list` shows yours",
}


def add_request_options(parser: argparse.ArgumentParser) -> None:
    """`--request`, and an option for each field of TrainingRequest but those OF_THE_COMMAND."""
    parser.set_defaults(check=read_request)
    parser.usage = "%(prog)s [option …]"  # two pages would list them
    parser.add_argument(
        "--request",
        metavar="FILE",
        help="a request as a JSON object; - reads standard input. Options go before what it says",
    )
    group = parser.add_argument_group("the request")
    for name, field in TrainingRequest.model_fields.items():
        if name not in OF_THE_COMMAND:
            _add(group, name, field)


def read_request(args: argparse.Namespace) -> TrainingRequest:
    """The request of the file, with what the options say instead; KEY=VALUE is added. Raises BadRequestError."""
    request = read_object(args.request, "--request", '{"model_name": "cats"}') if args.request else {}
    for name, value in _given(args).items():
        before = request.get(name)
        request[name] = {**before, **value} if isinstance(value, dict) and isinstance(before, dict) else value
    try:
        return TrainingRequest.model_validate(request)
    except ValidationError as error:
        raise BadRequestError("\n".join(_said(wrong) for wrong in error.errors())) from error


def options_of(name: str) -> tuple[str, ...]:
    """How the option of a field is spelled."""
    return SPELLED.get(name, (f"--{name.replace('_', '-')}",))


def _add(group: argparse._ArgumentGroup, name: str, field: FieldInfo) -> None:
    kind, whole = field.annotation, get_origin(field.annotation)
    how: dict[str, Any] = {"dest": _FIELD + name, "default": argparse.SUPPRESS, "help": _help(field)}
    if kind is bool:
        how["action"] = argparse.BooleanOptionalAction
    elif whole is Literal:
        how["choices"] = get_args(kind)
    elif whole is list:
        how |= {"action": "append", "metavar": "TEXT"}
    elif isinstance(kind, GenericAlias) and whole is dict:
        how |= {
            "action": "append",
            "metavar": "KEY=VALUE",
            "type": _json_pair if kind.__args__[1] is JsonValue else read_pair,
        }
    else:
        how["metavar"] = _METAVARS.get(kind, "TEXT")
    group.add_argument(*options_of(name), **how)


def _help(field: FieldInfo) -> str:
    several = "May be given several times." if get_origin(field.annotation) in {list, dict} else ""
    bounds, default = bounds_of(field), field.default
    shown = "" if not default else f"default {'yes' if default is True else default}"
    notes = "; ".join(filter(None, [bounds, shown]))
    said = " ".join(filter(None, [field.description, several]))
    return f"{said}{f' ({notes})' if notes else ''}".replace("%", "%%")


def _given(args: argparse.Namespace) -> dict[str, Any]:
    """By field, what was typed for it."""
    given = {name.removeprefix(_FIELD): value for name, value in vars(args).items() if name.startswith(_FIELD)}
    dicts = {name for name, field in TrainingRequest.model_fields.items() if get_origin(field.annotation) is dict}
    return {name: dict(value) if name in dicts else value for name, value in given.items()}


def _said(wrong: Any) -> str:
    """One thing that is wrong, by the option it would be given with. Values of dicts may be secrets, and are not repeated."""
    name, *within = (str(part) for part in wrong["loc"]) if wrong["loc"] else ("the request",)
    fields = TrainingRequest.model_fields
    if wrong["type"] == "extra_forbidden":
        return unknown(name, fields)
    option = options_of(name)[0] if name in fields else name
    if name in fields and get_origin(fields[name].annotation) is dict:
        return f"{' '.join([option, *within[:1]])} is not as it must be: {_plainly(name, wrong)}."
    return f"{option} cannot be {wrong['input']!r}: {_plainly(name, wrong)}."


def _plainly(name: str, wrong: Any) -> str:
    words = {"pattern": _PATTERNS[name]} if name in _PATTERNS else {}
    return plainly(TrainingRequest.model_fields.get(name), wrong, **words)


def _json_pair(text: str) -> tuple[str, Any]:
    """A value that is JSON is what it says; anything else is text."""
    key, value = read_pair(text)
    try:
        return key, read_json(value)
    except ValueError:
        return key, value
