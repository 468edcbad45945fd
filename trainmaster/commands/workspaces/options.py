"""What `trainmaster launch` and its companions are told: an option for each field of a workspace's request, and times as people say them."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import NoneType
from typing import Any, Literal, TypeVar, get_args, get_origin
from uuid import UUID

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from trainmaster.commands.terminal.bad_request import BadRequestError
from trainmaster.field_words import WORKSPACE_PATTERNS, bounds_of, plainly
from trainmaster.settings import Settings
from trainmaster.workspaces.request import CloseWorkspaceRequest, OpenWorkspaceRequest

R = TypeVar("R", OpenWorkspaceRequest, CloseWorkspaceRequest)

POSITIONS: Mapping[str, str] = {"template": "TEMPLATE", "name": "NAME"}
"""Fields that are typed without an option, and how they are called."""
SPELLED: Mapping[str, str] = {"user_id": "--user", "tags": "--tag"}
_FIELD = "field "
"""Keeps the fields apart from the command's own options in what argparse returns."""
_METAVARS: Mapping[str, str] = {
    "instance_type": "TYPE", "volume_gb": "GB", "max_hourly_cost": "USD", "auto_stop_minutes": "N", "keep_until": "TIME",
    "tags": "KEY=VALUE", "user_id": "UUID", "team": "TEAM", "data_classification": "TEXT",
    "address": "IPV4",
}  # fmt: skip
_PATTERNS: Mapping[str, str] = {
    **WORKSPACE_PATTERNS,
    "template": f"{WORKSPACE_PATTERNS['template']}; `trainmaster templates` lists them",
}
_SPAN = re.compile(r"([0-9]{1,6})(h|d)")
_TIME = "give hours or days from now, such as 8h or 2d, or a time, such as 2026-12-24T18:00"


@dataclass(frozen=True)
class Option:
    """A field of the request, and how it is typed."""

    name: str
    spelled: str
    field: FieldInfo


def options() -> Iterator[Option]:
    """Every field that has an option, in the request's order; `trainmaster start` has some of them."""
    for name, field in OpenWorkspaceRequest.model_fields.items():
        if name not in POSITIONS:
            yield Option(name, SPELLED.get(name, f"--{name.replace('_', '-')}"), field)


def add_request_options(parser: argparse.ArgumentParser) -> None:
    """TEMPLATE and NAME, and an option for each other field of OpenWorkspaceRequest."""
    parser.set_defaults(check=read_opening)
    for name, metavar in POSITIONS.items():
        field = OpenWorkspaceRequest.model_fields[name]
        parser.add_argument(_FIELD + name, metavar=metavar, help=field.description)
    group = parser.add_argument_group("the workspace")
    for option in options():
        how: dict[str, Any] = {
            "dest": _FIELD + option.name,
            "default": argparse.SUPPRESS,
            "help": help_of(option).replace("%", "%%"),
        }
        if _kind(option.field) is bool:
            how["action"] = "store_true"
        else:
            how["metavar"] = _METAVARS[option.name]
        if get_origin(_kind(option.field)) is dict:
            how |= {"action": "append", "type": _pair}
        if _kind(option.field) is datetime:
            how["type"] = moment
        group.add_argument(option.spelled, **how)


def add_name(parser: argparse.ArgumentParser) -> None:
    """NAME and `--user`: which workspace is meant, and whose it is."""
    parser.add_argument("name", metavar="NAME", help="its name; `trainmaster list` shows yours")
    add_owner(parser)


def add_owner(parser: argparse.ArgumentParser) -> None:
    """`--user`, as every command on workspaces has it."""
    parser.add_argument("--user", type=_user, metavar="UUID", help="whose; TRAINMASTER_USER_ID without it")


def owner(args: argparse.Namespace, settings: Settings) -> UUID | None:
    """Whose workspaces are meant; None where nobody in particular is."""
    return args.user or settings.user_id


def read_opening(args: argparse.Namespace) -> OpenWorkspaceRequest:
    """The request that was typed. Raises BadRequestError, with a line for each thing that is wrong."""
    given = {name.removeprefix(_FIELD): value for name, value in vars(args).items() if name.startswith(_FIELD)}
    typed = {name: dict(value) if name == "tags" else value for name, value in given.items()}
    return _checked(OpenWorkspaceRequest, typed)


def read_closing(
    args: argparse.Namespace, action: Literal["stop", "delete"], *, dry_run: bool
) -> CloseWorkspaceRequest:
    """The request that was typed. Raises BadRequestError."""
    whose = str(args.user) if args.user else ""
    typed = {"name": args.name, "action": action, "user_id": whose, "dry_run": dry_run}
    return _checked(CloseWorkspaceRequest, typed)


def _checked(kind: type[R], given: Mapping[str, Any]) -> R:
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        raise BadRequestError("\n".join(dict.fromkeys(map(_said, error.errors())))) from error


def moment(text: str) -> datetime:
    """A point in time: so long from now, or as a clock of this machine, or of the zone it names, shows it."""
    if span := _SPAN.fullmatch(text):
        number = int(span[1])
        return datetime.now(UTC) + (timedelta(hours=number) if span[2] == "h" else timedelta(days=number))
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError(f"{text!r} is no time; {_TIME}") from None


def help_of(option: Option) -> str:
    """What an option is for, in sentences."""
    bounds = bounds_of(option.field) if _kind(option.field) is int else ""
    told = {"keep_until": _TIME, "tags": "may be given several times"}.get(option.name, "")
    sentences = filter(None, [(option.field.description or "").removesuffix("."), told, bounds])
    return " ".join(f"{one[:1].upper()}{one[1:]}." for one in sentences)


def _kind(field: FieldInfo) -> Any:
    kinds = get_args(field.annotation)
    return next(one for one in kinds if one is not NoneType) if NoneType in kinds else field.annotation


def _said(wrong: Any) -> str:
    name = str(wrong["loc"][0])
    spelled = POSITIONS.get(name) or next(one.spelled for one in options() if one.name == name)
    if wrong["type"] == "string_too_long":
        return f"{spelled} cannot be {wrong['input']!r}: it may have {wrong['ctx']['max_length']} characters."
    words = {"pattern": _PATTERNS[name]} if name in _PATTERNS else {}
    said = plainly(OpenWorkspaceRequest.model_fields[name], wrong, **words)
    return (
        f"{spelled} is not as it must be: {said}."
        if name == "tags"
        else f"{spelled} cannot be {wrong['input']!r}: {said}."
    )


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not (key and equals):
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE")
    return key, value


def _user(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no user's id (a UUID)") from None
