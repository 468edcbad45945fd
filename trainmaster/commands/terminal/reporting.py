"""What commands are made of: their names and `--json`, the settings they get, and what they print."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from trainmaster.commands.terminal.ending import DONE, FAILED, INTERRUPTED, REFUSED, exit_code_of
from trainmaster.commands.terminal.looks import is_styled

if TYPE_CHECKING:
    from trainmaster.local_settings import LocalSettings
    from trainmaster.settings import Settings

    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

__all__ = [
    "DONE",
    "FAILED",
    "INTERRUPTED",
    "REFUSED",
    "add_command",
    "add_local_command",
    "exit_code_of",
    "note",
    "say",
    "say_json",
]

Run = Callable[[argparse.Namespace, "Settings"], int]
LocalRun = Callable[[argparse.Namespace, "LocalSettings"], int]


def add_command(subcommands: Subparsers, name: str, help_line: str, run: Run) -> argparse.ArgumentParser:
    """A subcommand that prints for people or, with `--json`, one JSON value on stdout and nothing else."""
    return _added(subcommands, name, help_line, lambda args: run(args, _settings()))


def add_local_command(subcommands: Subparsers, name: str, help_line: str, run: LocalRun) -> argparse.ArgumentParser:
    """One that asks nobody: it is as quick as a page of help."""
    return _added(subcommands, name, help_line, lambda args: run(args, _local_settings()))


def say(*lines: str) -> None:
    """On stdout, at once: a log that is followed must not wait for a full buffer. Tables and facts are laid out for a terminal."""
    if any(type(line) is not str for line in lines) and is_styled(sys.stdout):
        from trainmaster.commands.terminal.styling import lay_out  # noqa: PLC0415 - Rich is for terminals alone

        lay_out(lines, sys.stdout)
    elif lines:
        print(*lines, sep="\n", flush=True)


def note(*lines: str) -> None:
    """On stderr: for people alone."""
    if lines:
        print(*lines, sep="\n", file=sys.stderr, flush=True)


def say_json(value: Any) -> None:
    print(json.dumps(value), flush=True)


def _added(
    subcommands: Subparsers, name: str, help_line: str, run: Callable[[argparse.Namespace], int]
) -> argparse.ArgumentParser:
    parser = subcommands.add_parser(name, help=help_line, description=f"{help_line[0].upper()}{help_line[1:]}.")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout, and nothing else there")
    parser.set_defaults(run=run)
    return parser


def _settings() -> Settings:
    from trainmaster.settings import Settings  # noqa: PLC0415 - takes longer than --help may

    return Settings()


def _local_settings() -> LocalSettings:
    from trainmaster.local_settings import LocalSettings  # noqa: PLC0415 - so does this

    return LocalSettings.of_environment()
