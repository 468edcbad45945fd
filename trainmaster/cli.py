"""The `trainmaster` command."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code of the command given by `argv`, or by the command line; 130 of one that Ctrl-C ended, whenever that was."""
    try:
        return _run(list(sys.argv[1:] if argv is None else argv))
    except BrokenPipeError:  # whoever read has read enough, as `head` does
        return _cut_off()
    except KeyboardInterrupt as interrupt:
        print("\nInterrupted. The same command may be given again.", file=sys.stderr)
        return int(getattr(interrupt, "exit_code", 128 + signal.SIGINT))


def _run(asked: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="trainmaster", description="From dataset to trained, served model on SageMaker, within budget."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for add in [_ADD[asked[0]]] if asked and asked[0] in _ADD else dict.fromkeys(_ADD.values()):
        add(commands, asked[1:])
    args = parser.parse_args(asked)
    code: int = args.run(args)
    sys.stdout.flush()
    return code


def _cut_off() -> int:
    """As a shell says it of what SIGPIPE ends. What is still to be written, at the interpreter's exit too, goes nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(nowhere, stream.fileno())
    return 128 + signal.SIGPIPE


# Only what is asked for is loaded: together the commands take more than a second and 100 MB.


def _laptop(commands: Subparsers, _asked: Sequence[str]) -> None:
    from trainmaster import laptop  # noqa: PLC0415

    laptop.add_parsers(commands)


def _embedded(commands: Subparsers, _asked: Sequence[str]) -> None:
    from trainmaster.embedded import command  # noqa: PLC0415

    command.add_parser(commands)


def _api(commands: Subparsers, _asked: Sequence[str]) -> None:
    from trainmaster import api  # noqa: PLC0415

    api.add_parser(commands)


def _setup(commands: Subparsers, _asked: Sequence[str]) -> None:
    from trainmaster import setting_up  # noqa: PLC0415

    setting_up.add_parser(commands)


def _doctor(commands: Subparsers, _asked: Sequence[str]) -> None:
    from trainmaster.commands import doctor  # noqa: PLC0415

    doctor.add_parser(commands)


def _datasets(commands: Subparsers, asked: Sequence[str]) -> None:
    from trainmaster.commands.datasets import group  # noqa: PLC0415

    group.add_parser(commands, asked)


def _prices(commands: Subparsers, _asked: Sequence[str]) -> None:
    from trainmaster.commands import prices  # noqa: PLC0415

    prices.add_parser(commands)


def _configs(commands: Subparsers, _asked: Sequence[str]) -> None:
    from trainmaster.commands import configs  # noqa: PLC0415

    configs.add_parser(commands)


def _train(commands: Subparsers, _asked: Sequence[str]) -> None:
    from trainmaster.commands.training import group  # noqa: PLC0415

    group.add_parser(commands)


def _endpoints(commands: Subparsers, _asked: Sequence[str]) -> None:
    from trainmaster.commands.endpoints import group  # noqa: PLC0415

    group.add_parser(commands)


def _workspaces(commands: Subparsers, _asked: Sequence[str]) -> None:
    from trainmaster.commands.workspaces import group  # noqa: PLC0415

    group.add_parsers(commands)


def _workspace_templates(commands: Subparsers, _asked: Sequence[str]) -> None:
    from trainmaster.commands.workspaces import templates  # noqa: PLC0415

    templates.add_parsers(commands)


def _policy(commands: Subparsers, _asked: Sequence[str]) -> None:
    from trainmaster.commands import policy  # noqa: PLC0415

    policy.add_parser(commands)


def _budget(commands: Subparsers, _asked: Sequence[str]) -> None:
    from trainmaster.commands import budget  # noqa: PLC0415

    budget.add_parser(commands)


_ADD = {
    "run": _laptop,
    "up": _laptop,
    "embedded": _embedded,
    "api": _api,
    "setup": _setup,
    "doctor": _doctor,
    "datasets": _datasets,
    "prices": _prices,
    "budget": _budget,
    "policy": _policy,
    "configs": _configs,
    "train": _train,
    "endpoints": _endpoints,
    **dict.fromkeys(("launch", "list", "info", "connect", "stop", "start", "delete"), _workspaces),
    **dict.fromkeys(("templates", "compile"), _workspace_templates),
}


if __name__ == "__main__":
    sys.exit(main())
