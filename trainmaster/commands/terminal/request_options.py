"""What a command is told of a request: an option for each field of its model, or a file with the request."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from types import NoneType
from typing import Any, Generic, Literal, TypeVar, get_args, get_origin

from pydantic import BaseModel, JsonValue, ValidationError
from pydantic.fields import FieldInfo

from trainmaster.commands.terminal.bad_request import BadRequestError
from trainmaster.commands.terminal.objects import read_json, read_object
from trainmaster.commands.terminal.options import read_pair
from trainmaster.field_words import bounds_of, plainly, unknown

M = TypeVar("M", bound=BaseModel)

_FIELD = "field "
"""Keeps the fields apart from the command's own options in what argparse returns."""
_METAVARS: Mapping[Any, str] = {int: "N", Decimal: "USD", float: "X"}


@dataclass(frozen=True)
class Option:
    """A field of the request, or of what is nested in it, and how it is typed."""

    path: str
    spelled: tuple[str, ...]
    field: FieldInfo

    @property
    def kind(self) -> Any:
        """Its type without None; a model where the option, given alone, means all its defaults."""
        return _kind(self.field)

    @property
    def is_of_pairs(self) -> bool:
        return get_origin(self.kind) is dict


@dataclass(frozen=True)
class RequestOptions(Generic[M]):
    """The options of a model's fields but those `without` one; `patterns` says for people what a field of a regular expression
    has to be, `example` what a file holds."""

    model: type[M]
    example: str
    without: frozenset[str]
    spelled: Mapping[str, tuple[str, ...]]
    patterns: Mapping[str, str]

    def __iter__(self) -> Iterator[Option]:
        """In the request's order: those nested in `scaling` are `--scaling-…`."""
        for name, field in self.model.model_fields.items():
            if name in self.without:
                continue
            if not _is_model(kind := _kind(field)):
                yield self._option(name, field)
                continue
            if field.default is None and not any(one.is_required() for one in kind.model_fields.values()):
                yield self._option(name, field)
            for inner, of_it in kind.model_fields.items():
                yield self._option(f"{name}.{inner}", of_it)

    def add_to(self, parser: argparse.ArgumentParser) -> None:
        """`--request`, and all of them; what is typed is checked before anything else is done."""
        parser.set_defaults(check=self.read)
        parser.usage = "%(prog)s [option …]"  # pages would list them
        parser.add_argument(
            "--request",
            metavar="FILE",
            help="a request as a JSON object; - reads standard input. Options go before what it says",
        )
        group = parser.add_argument_group("the request")
        for option in self:
            how = {"dest": _FIELD + option.path, "default": argparse.SUPPRESS, "help": _help(option), **_taken(option)}
            group.add_argument(*option.spelled, **how)

    def read(self, args: argparse.Namespace, **otherwise: Any) -> M:
        """The request of the file, with what the options say instead; KEY=VALUE is added. Raises BadRequestError with all that
        is wrong, a line each."""
        request = read_object(args.request, "--request", self.example) if args.request else {}
        pairs = {option.path for option in self if option.is_of_pairs}
        for path, typed in _typed(args).items():
            name, _, inner = path.partition(".")
            value = dict(typed) if path in pairs else typed
            before = request.get(name)
            nested = dict(before) if isinstance(before, dict) else {}
            if inner:
                request[name] = {**nested, inner: value}
            else:
                request[name] = {**nested, **value} if isinstance(value, dict) else value
        try:
            return self.model.model_validate({**request, **otherwise})
        except ValidationError as error:
            raise BadRequestError("\n".join(dict.fromkeys(self._said(wrong) for wrong in error.errors()))) from error

    def _option(self, path: str, field: FieldInfo) -> Option:
        return Option(path, self._spelled(path), field)

    def _spelled(self, path: str) -> tuple[str, ...]:
        return self.spelled.get(path, (f"--{path.replace('.', '-').replace('_', '-')}",))

    def _said(self, wrong: Any) -> str:
        """One thing that is wrong, by the option it would be given with. Values of pairs may be secrets, and are not repeated."""
        path = ".".join(str(part) for part in wrong["loc"])
        known = {option.path: option for option in self}
        option = next((known[one] for one in sorted(known, reverse=True) if f"{path}.".startswith(f"{one}.")), None)
        spelled = (option.spelled if option else self._spelled(path))[0]
        if wrong["type"] == "extra_forbidden":
            return unknown(path, {*known, *self.model.model_fields})
        if wrong["type"] == "missing":
            return f"{spelled} is missing: {self.patterns.get(path, 'it has to be given')}."
        if wrong["type"] == "value_error" and (option is None or _is_model(option.kind)):
            said = str(wrong["msg"]).removeprefix("Value error, ").removesuffix(".")
            return f"{said[:1].upper()}{said[1:]}."
        if option is None:
            return f"{spelled} cannot be {wrong['input']!r}: {wrong['msg']}."
        wanted = plainly(option.field, wrong)
        if option.path in self.patterns and wrong["type"] in {"string_pattern_mismatch", "literal_error"}:
            wanted = self.patterns[option.path]
        if option.is_of_pairs:
            key = path.removeprefix(option.path).removeprefix(".")
            return f"{f'{spelled} {key}'.rstrip()} is not as it must be: {wanted}."
        return f"{spelled} cannot be {wrong['input']!r}: {wanted}."


def _typed(args: argparse.Namespace) -> dict[str, Any]:
    """By path, what was typed for it."""
    return {name.removeprefix(_FIELD): value for name, value in vars(args).items() if name.startswith(_FIELD)}


def _taken(option: Option) -> dict[str, Any]:
    """How argparse takes it."""
    kind, whole = option.kind, get_origin(option.kind)
    if _is_model(kind):
        return {"action": "store_const", "const": {}}
    if kind is bool:
        return {"action": argparse.BooleanOptionalAction}
    if whole is Literal:
        return {"choices": get_args(kind), "type": type(get_args(kind)[0])}
    if whole is list:
        return {"action": "append", "metavar": "TEXT"}
    if option.is_of_pairs:
        read = _json_pair if get_args(kind)[1] is JsonValue else read_pair
        return {"action": "append", "metavar": "KEY=VALUE", "type": read}
    return {"metavar": _METAVARS.get(kind, "TEXT")}


def _help(option: Option) -> str:
    field, default = option.field, option.field.default
    several = "May be given several times." if get_origin(option.kind) in {list, dict} else ""
    is_shown = default and not (field.is_required() or _is_model(option.kind))
    shown = f"default {'yes' if default is True else default}" if is_shown else ""
    notes = "; ".join(filter(None, [bounds_of(field), shown]))
    said = " ".join(filter(None, [field.description, several]))
    return f"{said}{f' ({notes})' if notes else ''}".replace("%", "%%")


def _kind(field: FieldInfo) -> Any:
    kinds = get_args(field.annotation)
    return next(one for one in kinds if one is not NoneType) if NoneType in kinds else field.annotation


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _json_pair(text: str) -> tuple[str, Any]:
    """A value that is JSON is what it says; anything else is text."""
    key, value = read_pair(text)
    try:
        return key, read_json(value)
    except ValueError:
        return key, value
