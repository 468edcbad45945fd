"""The `trainmaster` command."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Mapping, Sequence

from trainmaster.commands.terminal.ending import DEBUG, REFUSED, exit_code, wants_traceback
from trainmaster.commands.terminal.listing import Asked, Listed, add_listed
from trainmaster.commands.terminal.parsing import Parser

_ABOUT = "From dataset to trained, served model on SageMaker, within budget."
_ENDS = """exit codes: 0 done, 1 refused or failed, 2 asked wrongly or not possible now, 130 and 143 when Ctrl-C or SIGTERM ended
the command. With --json a command prints one JSON object on stdout, and nothing else there."""
_DEBUG = "--debug"
_PURE = {"prices", "policy", "templates"}
"""Ask nobody anything but, some of them, AWS's price list, and start no process."""

# Only what is asked for is loaded: together the commands take seconds and hundreds of MB.
_ROOM = "trainmaster.commands"
COMMANDS: Mapping[str, Listed] = {
    "run": Listed(
        "trainmaster.laptop:add_parsers", "the main job once, on the embedded AWS: dataset to answering endpoint"
    ),
    "up": Listed(
        "trainmaster.laptop:add_parsers", "Prefect server and UI, embedded AWS, all deployments, until Ctrl-C"
    ),
    "embedded": Listed(
        "trainmaster.embedded.command:add_parser",
        "AWS on this machine: S3, SageMaker that trains and serves, IAM, logs, metrics",
    ),
    "api": Listed("trainmaster.api:add_parser", "the HTTP API of the web application, until Ctrl-C"),
    "setup": Listed("trainmaster.setting_up:add_parser", "make or update what Trainmaster needs of its Prefect server"),
    "doctor": Listed(
        f"{_ROOM}.doctor:add_parser", "check what Trainmaster needs, and say how to put right what is wrong"
    ),
    "datasets": Listed(
        f"{_ROOM}.datasets.group:add_parser",
        "check, upload, list, download, migrate and delete fine-tuning datasets",
        is_group=True,
    ),
    "prices": Listed(f"{_ROOM}.prices.group:add_parser", "what instances cost, and asking AWS anew", is_group=True),
    "budget": Listed(f"{_ROOM}.budget:add_parser", "show and set budgets, and what was spent of them"),
    "report": Listed(f"{_ROOM}.report:add_parser", "what a week cost, by whom and for what"),
    "policy": Listed(f"{_ROOM}.policy:add_parser", "what the policy allows whom"),
    "configs": Listed(f"{_ROOM}.configs:add_parser", "add, list and show training configs"),
    "train": Listed(f"{_ROOM}.training.group:add_parser", "plan, launch, follow and stop training jobs", is_group=True),
    "endpoints": Listed(
        f"{_ROOM}.endpoints.group:add_parser", "deploy, watch, ask and remove endpoints", is_group=True
    ),
    "launch": Listed(f"{_ROOM}.workspaces.launching:add_commands", "open a workspace of a template; again finds it"),
    "list": Listed(
        f"{_ROOM}.workspaces.standing:add_commands",
        "your workspaces: Studio, Canvas, Studio Lab and EC2 in one table",
    ),
    "info": Listed(f"{_ROOM}.workspaces.standing:add_commands", "everything about a workspace, with what it costs"),
    "connect": Listed(
        f"{_ROOM}.workspaces.connecting:add_commands",
        "get into a workspace: open it in the browser, or show its command",
    ),
    "start": Listed(f"{_ROOM}.workspaces.launching:add_commands", "start a workspace that was stopped, with its files"),
    "stop": Listed(f"{_ROOM}.workspaces.closing:add_commands", "stop a workspace, and keep its files"),
    "delete": Listed(f"{_ROOM}.workspaces.closing:add_commands", "delete a workspace with all that is in it"),
    "templates": Listed(f"{_ROOM}.workspaces.templates:add_commands", "what workspaces can be opened from"),
    "compile": Listed(
        f"{_ROOM}.workspaces.compiling:add_commands",
        "make the image a template's workspaces start from; again finds it",
    ),
    "completion": Listed(f"{_ROOM}.completion:add_parser", "what a shell needs to complete commands and options"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code of the command given by `argv`, or by the command line; 130 of one that Ctrl-C ended, whenever that was."""
    typed = list(sys.argv[1:] if argv is None else argv)
    asked = _without_debug(typed)
    if asked[:1] and asked[0] in _PURE:
        # pydantic looks through all that is installed for plugins, a tenth of the time they take
        os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    try:
        return _run(asked, debug=asked != typed)
    except BrokenPipeError:  # whoever read has read enough, as `head` does
        return _cut_off()
    except KeyboardInterrupt as interrupt:
        print("\nInterrupted. The same command may be given again.", file=sys.stderr)
        return int(getattr(interrupt, "exit_code", 128 + signal.SIGINT))


def parser_of(asked: Asked) -> Parser:
    """The parser of all commands, with the options of the one that is asked for; of every one where that is None."""
    parser = Parser(prog="trainmaster", description=_ABOUT, epilog=_ENDS)
    parser.add_argument("--version", action=_ShowVersion, nargs=0, help="which one this is")
    parser.add_argument(
        _DEBUG, action="store_true", help=f"with any command: where an error came from ({DEBUG}=1 does the same)"
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    add_listed(commands, COMMANDS, asked)
    return parser


def _run(asked: Sequence[str], *, debug: bool) -> int:
    args = parser_of(asked).parse_args(asked)
    args.debug = debug
    try:
        code = exit_code(args)
    except (BrokenPipeError, SystemExit):
        raise
    except Exception as error:  # what nobody foresaw: two lines for people, the traceback for whoever asks for it
        if wants_traceback(args):
            raise
        print(f"This should not have happened: {type(error).__name__}: {error}", file=sys.stderr)
        print(f"The same command with {_DEBUG} says where; please report that.", file=sys.stderr)
        code = REFUSED
    sys.stdout.flush()
    return code


def _without_debug(typed: Sequence[str]) -> list[str]:
    """It may stand anywhere, but is none of the words after `--`."""
    ours = typed.index("--") if "--" in typed else len(typed)
    return [*(one for one in typed[:ours] if one != _DEBUG), *typed[ours:]]


class _ShowVersion(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib.metadata import version  # noqa: PLC0415 - looking up what is installed takes a while

        print(f"trainmaster {version('trainmaster')}")
        parser.exit()


def _cut_off() -> int:
    """As a shell says it of what SIGPIPE ends. What is still to be written, at the interpreter's exit too, goes nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(nowhere, stream.fileno())
    return 128 + signal.SIGPIPE


if __name__ == "__main__":
    sys.exit(main())
