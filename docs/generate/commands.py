"""docs/reference/cli.md: every command with its options."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from docs.generate.markdown import code, page, prose, table
from trainmaster.cli import parser_of

ROOT = Path(__file__).parents[2]
_ABOUT = """\
Every command and option of `trainmaster`. With `--json` stdout is one JSON object and nothing else; keys stay, new ones may come. On a
terminal there are tables and bars; elsewhere, or with `NO_COLOR`, plain text.

| exit code | |
| --- | --- |
| 0 | done |
| 1 | refused or failed, and why is on stderr |
| 2 | asked wrongly, or not possible now: the same command may do later |
| 130, 143 | ended by Ctrl-C or SIGTERM; what it started goes on, unless it says otherwise |"""


def reference() -> str:
    """The page."""
    parser = parser_of(None)
    groups = dict(_commands(parser))
    listed = table(
        ["command", "what it does"],
        [[f"[`{path}`](#{path.replace(' ', '-')})", prose(_told(parser, path))] for path in groups],
    )
    sections = [_section(path, one) for path, one in groups.items()]
    return page("Commands", _ABOUT, listed, *sections)


def _commands(
    parser: argparse.ArgumentParser, before: str = "trainmaster"
) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Every command that does something, not the groups, in the order they are listed in."""
    for action in _choices(parser):
        for name, inner in action.choices.items():
            path = f"{before} {name}"
            if _choices(inner):
                yield from _commands(inner, path)
            else:
                yield path, inner


def _choices(parser: argparse.ArgumentParser) -> list[argparse._SubParsersAction[argparse.ArgumentParser]]:
    return [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]


def _told(parser: argparse.ArgumentParser, path: str) -> str:
    """What the list of its group says of a command."""
    *groups, last = path.split()[1:]
    for name in groups:
        parser = _choices(parser)[0].choices[name]
    [told] = [choice.help for choice in _choices(parser)[0]._choices_actions if choice.dest == last]
    return told or ""


def _section(path: str, parser: argparse.ArgumentParser) -> str:
    actions = [action for action in parser._actions if not isinstance(action, argparse._HelpAction)]
    positional = [action for action in actions if not action.option_strings]
    options = [action for action in actions if action.option_strings and action.help != argparse.SUPPRESS]
    usage = " ".join([path, *map(_written, positional), *(["[option …]"] if options else [])])
    return "\n\n".join(
        part
        for part in (
            f"## {path}",
            f"`{usage}`",
            prose(parser.description),
            table(["argument", "what"], [[code(_written(each)), _help(each)] for each in positional]),
            table(["option", "what"], [[", ".join(map(code, _spelled(each))), _help(each)] for each in options]),
            prose(parser.epilog),
        )
        if part
    )


def _written(action: argparse.Action) -> str:
    """A positional argument, as usage lines write it."""
    name = action.metavar if isinstance(action.metavar, str) else action.dest.upper()
    return {"?": f"[{name}]", "*": f"[{name} …]", "+": f"{name} …"}.get(str(action.nargs), name)


def _spelled(action: argparse.Action) -> Iterator[str]:
    """How an option is given: `--budget-limit USD`."""
    if action.nargs == 0 or isinstance(action, argparse.BooleanOptionalAction):
        value = ""
    elif action.choices and action.metavar is None:
        value = " " + "|".join(map(str, action.choices))
    else:
        value = f" {action.metavar or action.dest.upper()}"
    return (f"{name}{value if name == action.option_strings[-1] else ''}" for name in action.option_strings)


def _help(action: argparse.Action) -> str:
    default = "where the code is" if action.default == ROOT else action.default
    said = prose((action.help or "") % {**vars(action), "default": default, "prog": "trainmaster"})
    return f"needed: {said}" if action.required and action.option_strings else said
