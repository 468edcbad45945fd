"""How the commands over the library of datasets begin and end: their options, exit codes, and what went wrong in plain words."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING
from uuid import UUID

from pydantic import ValidationError

from trainmaster.errors import NotConfiguredError, RefusedError, TrainmasterError
from trainmaster.settings import Settings

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

DONE, REFUSED, FAILED, INTERRUPTED, TERMINATED = 0, 1, 2, 130, 143
Run = Callable[[argparse.Namespace, Settings], int]
_NOTHING_SET = "On a laptop, `trainmaster embedded --print-env` starts AWS and Supabase here and says what to set."

_OPTIONS = {
    "max_gigabytes": "--max-gb",
    "max_minutes": "--max-minutes",
    "megabytes_per_second": "--mb-per-second",
    "dataset_ids": "--dataset",
    "user_id": "--user",
    "older_than": "--older-than",
    "grace_days": "--grace-days",
    "window": "--window",
    "timezone": "--timezone",
    "limit": "--limit",
    "sample": "--sample",
}
_HAS_TO = {"window": "should be HH:MM-HH:MM, such as 22:00-06:00", "older_than": "should be a date, such as 2026-06-30"}


def add_command(datasets: Subparsers, name: str, help_line: str, run: Run) -> argparse.ArgumentParser:
    """A subcommand of `trainmaster datasets`."""
    parser = datasets.add_parser(name, help=help_line, description=f"{help_line[0].upper()}{help_line[1:]}.")
    parser.set_defaults(run=lambda args: exit_code(run, args))
    return parser


def exit_code(run: Run, args: argparse.Namespace) -> int:
    """0 when done, 1 when refused, 2 when it could not be read or done now."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))  # so that what is half done is taken back
    try:
        return run(args, Settings())
    except ValidationError as error:
        for wrong in error.errors():
            print(complaint(wrong), file=sys.stderr)
        return FAILED
    except TrainmasterError as error:
        print(error, file=sys.stderr)
        if isinstance(error, NotConfiguredError):
            print(_NOTHING_SET, file=sys.stderr)
        return REFUSED if isinstance(error, RefusedError) else FAILED
    except KeyboardInterrupt:
        print("\nInterrupted. The same command may be given again.", file=sys.stderr)
        return INTERRUPTED


def complaint(wrong: ErrorDetails) -> str:
    """What is wrong with an option, in one sentence that names it as it is typed."""
    said = wrong["msg"].removeprefix("Value error, ").removeprefix("Input ").rstrip(".")
    if not wrong["loc"]:  # of several options together, whose values are no news
        return f"{said[:1].upper()}{said[1:]}."
    field = next((str(part) for part in wrong["loc"] if isinstance(part, str)), "")
    option = _OPTIONS.get(field, field)
    return f"{option} cannot be {wrong['input']!r}: it {_HAS_TO.get(field, said)}."


def dataset_id(text: str) -> UUID:
    """An option's value."""
    try:
        return UUID(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no dataset's id, such as {UUID(int=0)}") from None


def user_id(text: str) -> str:
    """An option's value; empty stays empty."""
    try:
        return str(UUID(text)) if text else ""
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no user's id (a UUID)") from None
