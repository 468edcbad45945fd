"""How every command ends: 0 done, 1 refused or failed, 2 asked wrongly or not possible now, 130 and 143 ended by Ctrl-C and SIGTERM."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from types import FrameType
from typing import Any

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

DONE, REFUSED, FAILED, INTERRUPTED, TERMINATED = 0, 1, 2, 130, 143
DEBUG = "TRAINMASTER_DEBUG"
_NOT_DONE = RefusedError | TrainingFailedError | DeploymentFailedError | WorkspaceFailedError
NOTHING_SET = "On a laptop, `trainmaster embedded --print-env` starts AWS and Supabase here and says what to set."


def exit_code(args: argparse.Namespace) -> int:
    """What `args.run` returns, or what its error comes to, which is told: a line each for people, one object for machines.

    Raises KeyboardInterrupt, BrokenPipeError, and whatever nobody expected.
    """
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        code: int = args.run(args)
    except BrokenPipeError:
        raise  # whoever read has read enough: no failure of what was asked
    except _expected() as error:
        if wants_traceback(args):
            sys.excepthook(type(error), error, error.__traceback__)
        print(_said(error), file=sys.stderr, flush=True)
        if getattr(args, "json", False):
            print(json.dumps(_facts(error)), flush=True)
        return REFUSED if isinstance(error, _NOT_DONE) else FAILED
    finally:
        signal.signal(signal.SIGTERM, before)
    return code


def wants_traceback(args: argparse.Namespace | None = None) -> bool:
    """Whether `--debug` or TRAINMASTER_DEBUG asks for where an error came from."""
    return bool(getattr(args, "debug", False)) or os.environ.get(DEBUG, "") not in ("", "0")


def exit_code_of(interrupt: KeyboardInterrupt) -> int:
    """As a shell says it of Ctrl-C, or of SIGTERM."""
    return interrupt.exit_code if isinstance(interrupt, StoppedError) else INTERRUPTED


def _terminate(number: int, _frame: FrameType | None) -> None:
    raise StoppedError(number)


def _expected() -> tuple[type[Exception], ...]:
    """What is told in a line. A library that was not loaded has raised nothing, and is not loaded to find that out."""
    aws, pydantic = sys.modules.get("botocore.exceptions"), sys.modules.get("pydantic")
    of_aws = (aws.BotoCoreError, aws.ClientError) if aws else ()
    of_pydantic = (pydantic.ValidationError,) if pydantic else ()
    return (BadRequestError, TrainmasterError, OSError, *of_aws, *of_pydantic)


def _said(error: Exception) -> str:
    match error:
        case CredentialsMissingError():
            return f"{error}\n{NOTHING_SET}"
        case BadRequestError() | TrainmasterError():
            return str(error)
        case OSError():
            return f"{error.filename}: {error.strerror}." if error.filename else str(error)
    if hasattr(error, "errors"):  # pydantic's
        return "\n".join(map(_of_field, error.errors()))
    return f"{error}. The same command goes on from here."


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
