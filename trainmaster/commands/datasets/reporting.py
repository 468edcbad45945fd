"""What the commands over the library of datasets have in common: their options, and what is wrong with them in plain words."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING
from uuid import UUID

from pydantic import ValidationError

from trainmaster.commands.terminal import reporting
from trainmaster.commands.terminal.bad_request import BadRequestError
from trainmaster.commands.terminal.ending import NOTHING_SET
from trainmaster.commands.terminal.reporting import Run
from trainmaster.errors import CredentialsMissingError, NotConfiguredError
from trainmaster.settings import Settings

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

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
    """A subcommand of `trainmaster datasets`, whose settings and options are told of as they are typed."""
    return reporting.add_command(datasets, name, help_line, lambda args, settings: _run(run, args, settings))


def _run(run: Run, args: argparse.Namespace, settings: Settings) -> int:
    try:
        return run(args, settings)
    except ValidationError as error:
        raise BadRequestError("\n".join(complaint(wrong) for wrong in error.errors())) from error
    except CredentialsMissingError:
        raise
    except NotConfiguredError as error:
        raise NotConfiguredError(f"{error}\n{NOTHING_SET}") from error


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
