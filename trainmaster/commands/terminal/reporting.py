"""How the commands of `trainmaster train`, `configs`, `endpoints` and those on workspaces begin and end: the desk they work at, exit codes, errors for people and machines."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError
from pydantic import ValidationError

from trainmaster.aws.clients import default_clients
from trainmaster.commands.terminal.bad_request import BadRequestError
from trainmaster.commands.terminal.reading import StoppedError
from trainmaster.errors import (
    CredentialsMissingError,
    DeploymentFailedError,
    PolicyRefusedError,
    RefusedError,
    TrainingFailedError,
    TrainingRefusedError,
    TrainmasterError,
    WorkspaceFailedError,
)
from trainmaster.settings import Settings
from trainmaster.training.desk import Desk, open_desk

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

DONE, REFUSED, FAILED, INTERRUPTED = 0, 1, 2, 130
Run = Callable[[argparse.Namespace, Settings], int]
_NOT_DONE = RefusedError | TrainingFailedError | DeploymentFailedError | WorkspaceFailedError
_NOTHING_SET = "On a laptop, `trainmaster embedded --print-env` starts AWS here and says what to set."


def add_command(subcommands: Subparsers, name: str, help_line: str, run: Run) -> argparse.ArgumentParser:
    """A subcommand that prints for people or, with `--json`, one JSON value on stdout and nothing else."""
    parser = subcommands.add_parser(name, help=help_line, description=f"{help_line[0].upper()}{help_line[1:]}.")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout, and nothing else there")
    parser.set_defaults(run=lambda args: _exit_code(run, args))
    return parser


@contextmanager
def desk_in(settings: Settings, region: str = "") -> Iterator[Desk]:
    """What training is arranged with, by AWS's default chain, in the configured region or another."""
    if region:
        settings = settings.model_copy(update={"region": region})
    with open_desk(settings, default_clients(settings.region)) as desk:
        yield desk


def say(*lines: str) -> None:
    """On stdout, at once: a log that is followed must not wait for a full buffer."""
    print(*lines, sep="\n", flush=True)


def note(*lines: str) -> None:
    """On stderr: for people alone."""
    print(*lines, sep="\n", file=sys.stderr, flush=True)


def say_json(value: Any) -> None:
    say(json.dumps(value))


def _exit_code(run: Run, args: argparse.Namespace) -> int:
    """0 when done, 1 when refused or the job, deployment or workspace failed, 2 when it was asked wrongly or cannot be done now."""
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        return run(args, Settings())
    except KeyboardInterrupt as interrupt:
        note("\nInterrupted. The same command may be given again.")
        return exit_code_of(interrupt)
    except BrokenPipeError:
        raise  # whoever read has read enough: no failure of what was asked
    except (BadRequestError, ValidationError, TrainmasterError, BotoCoreError, ClientError, OSError) as error:
        note(_said(error))
        if args.json:
            say_json(_facts(error))
        return REFUSED if isinstance(error, _NOT_DONE) else FAILED
    finally:
        signal.signal(signal.SIGTERM, before)


def _said(error: Exception) -> str:
    match error:
        case ValidationError():
            wrong = error.errors()
            return "\n".join(_of_field(one) for one in wrong)
        case CredentialsMissingError():
            return f"{error}\n{_NOTHING_SET}"
        case BotoCoreError() | ClientError():
            return f"{error}. The same command goes on from here."
        case OSError():
            return f"{error.filename}: {error.strerror}." if error.filename else str(error)
        case _:
            return str(error)


def _of_field(wrong: Any) -> str:
    if not wrong["loc"]:  # of several fields together, whose values are no news
        said = str(wrong["msg"]).removeprefix("Value error, ")
        return f"{said[:1].upper()}{said[1:]}."
    return f"{wrong['loc'][-1]} cannot be {wrong['input']!r}: {wrong['msg']}."


def _facts(error: Exception) -> dict[str, Any]:
    match error:
        case TrainingRefusedError():
            listed = [{"kind": one.kind, "message": one.message, "remedy": one.remedy} for one in error.problems]
        case PolicyRefusedError():
            listed = [{"kind": one.rule, "message": one.message, "remedy": one.remedy} for one in error.violations]
        case _:
            listed = []
    return {"error": type(error).__name__, "message": _said(error), "problems": listed}


def exit_code_of(interrupt: KeyboardInterrupt) -> int:
    """As a shell says it of Ctrl-C, or of SIGTERM."""
    return interrupt.exit_code if isinstance(interrupt, StoppedError) else INTERRUPTED


def _terminate(number: int, _frame: FrameType | None) -> None:
    raise StoppedError(number)
