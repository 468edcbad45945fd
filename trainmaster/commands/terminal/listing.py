"""Commands that are listed by name and loaded only when they are asked for."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[Any]

Asked = Sequence[str] | None
"""What follows on the command line; None asks for all commands there are."""


class Listed(NamedTuple):
    """A command as `--help` lists it, and what adds it: `module:function`, which may add its neighbours as well."""

    adder: str
    help: str
    is_group: bool = False
    """Whether the function is told what was asked, because it has commands of its own to choose from."""


def add_listed(commands: Subparsers, listed: Mapping[str, Listed], asked: Asked) -> None:
    """The one that is asked for, by its module; where none of them is, all of them by name alone."""
    chosen = listed if asked is None else {one: listed[one] for one in asked[:1] if one in listed}
    for one in dict.fromkeys(entry.adder for entry in chosen.values()):
        module, _, function = one.partition(":")
        add = getattr(import_module(module), function)
        if any(entry.is_group for entry in chosen.values() if entry.adder == one):
            add(commands, None if asked is None else asked[1:])
        else:
            add(commands)
    if not chosen:
        for name, entry in listed.items():
            commands.add_parser(name, help=entry.help)
