"""What was typed, read: everything that is wrong with it is told at once, a line each, and then the way on."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from typing import Any, NoReturn

from trainmaster.commands.terminal.bad_request import BadRequestError

WRONGLY_ASKED = 2
_NUMBER = re.compile(r"-\.?\d")
_REQUIRED = "the following arguments are required: "


class Parser(argparse.ArgumentParser):
    """Ends the command with exit code 2 and a line for each thing that is wrong, never with a page of usage; with `--json`
    one JSON object on stdout says it too."""

    def __init__(self, *args: Any, **how: Any) -> None:
        super().__init__(*args, **how)
        self._typed: Sequence[str] = ()
        self._wrong: dict[str, None] = {}
        """Lines, each once."""
        self._unread: set[str] = set()

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        self._typed, self._wrong = [*(sys.argv[1:] if args is None else args)], {}
        self._unread = set()
        found, extras = super().parse_known_args(args, namespace)
        if self._commands is None and (extras or self._wrong):
            self._refuse([*_left_over(extras), *self._wrong_besides(found)])
        return found, extras

    def error(self, message: str) -> NoReturn:
        """As argparse calls it, for what it cannot go on from."""
        self._refuse([self._said(message)])

    def _get_value(self, action: argparse.Action, arg_string: str) -> Any:
        try:
            return super()._get_value(action, arg_string)
        except argparse.ArgumentError as error:
            self._wrong[f"{_named(action)}: {error.message}."] = None
            self._unread.add(action.dest)
            return _Unreadable(arg_string)

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is None or isinstance(value, _Unreadable) or value in action.choices:
            return
        choices = [str(one) for one in action.choices]
        if action is self._commands:
            self._refuse([f"{value!r} is no command of `{self.prog}`.{_near(str(value), choices)}"])
        self._wrong[f"{_named(action)} cannot be {value!r}: choose {_alternatives(choices)}."] = None
        self._unread.add(action.dest)

    @property
    def _commands(self) -> argparse.Action | None:
        return next((one for one in self._actions if isinstance(one, argparse._SubParsersAction)), None)

    def _refuse(self, lines: Iterable[str]) -> NoReturn:
        known = self._option_string_actions
        unknown = [
            f"{option} is no option of `{self.prog}`.{_near(option, list(known))}" for option in self._unknown_options()
        ]
        told = "\n".join(dict.fromkeys([*self._wrong, *unknown, *lines]))
        if "--json" in self._typed:
            print(json.dumps({"error": "UsageError", "message": told, "problems": []}), flush=True)
        self.exit(WRONGLY_ASKED, f"{told}\nHow it is asked: {self.prog} --help\n")

    def _wrong_besides(self, found: argparse.Namespace) -> list[str]:
        """What the command, where it has a `check` of its own, finds wrong with what could be read."""
        check = getattr(found, "check", None)
        if check is None:
            return []
        for name in self._unread & vars(found).keys():
            delattr(found, name)
        try:
            check(found)
        except BadRequestError as error:
            return str(error).splitlines()
        return []

    def _unknown_options(self) -> Iterator[str]:
        if self._commands is not None and any(not one.startswith("-") for one in self._typed):
            return  # they may be those of the command
        for typed in self._typed:
            if typed == "--":
                return
            option = typed.partition("=")[0]
            if not option.startswith("-") or option == "-" or _NUMBER.match(option) or " " in option:
                continue
            short = "" if option.startswith("--") else option[:2]
            if short not in self._option_string_actions and not any(
                one.startswith(option) for one in self._option_string_actions
            ):
                yield option

    def _said(self, message: str) -> str:
        if message.startswith(_REQUIRED):
            if self._commands is None:
                missing = [*message.removeprefix(_REQUIRED).split(", "), *self._missing_choices()]
                return f"{', '.join(missing)} {'are' if len(missing) > 1 else 'is'} missing."
            return f"Which one? `{self.prog}` has the commands {', '.join(map(str, self._commands.choices or ()))}."
        if message.startswith("one of the arguments "):
            return f"{', '.join(self._missing_choices())} is missing."
        return f"{message.removeprefix('argument ').replace('not allowed with argument', 'does not go with')}."

    def _missing_choices(self) -> Iterator[str]:
        """Of which argparse tells only when nothing else is missing."""
        for group in self._mutually_exclusive_groups:
            named = [_named(one) for one in group._group_actions]
            if group.required and not any(typed.partition("=")[0] in named for typed in self._typed):
                yield f"one of {_alternatives(named)}"


class _Unreadable(str):
    """What an option was given that it cannot be; it has been told."""


def _named(action: argparse.Action) -> str:
    return "/".join(action.option_strings[:1]) or str(action.metavar or action.dest)


def _near(typed: str, known: Sequence[str]) -> str:
    near = get_close_matches(typed, known, 1, cutoff=0.7)
    return f" Did you mean {near[0]}?" if near else ""


def _alternatives(choices: Sequence[str]) -> str:
    *first, last = choices
    return f"{', '.join(first)} or {last}" if first else last


def _left_over(extras: Sequence[str]) -> Iterator[str]:
    """Words that nothing takes; what follows an unknown option may have been its value."""
    before = ""
    for one in extras:
        if not one.startswith("-") and not before.startswith("-"):
            yield f"{one!r} is one word too many."
        before = one
