"""`trainmaster completion`: what a shell needs to complete commands and options."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from trainmaster.commands.terminal.ending import DONE
from trainmaster.commands.terminal.reporting import say

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

_ABOUT = """Print what a shell needs to complete commands, options and their choices. Keep it in a file, for instance
~/.local/share/bash-completion/completions/trainmaster, so that no new shell has to wait for it."""
_SHELLS = ("bash", "zsh", "tcsh")


def add_parser(commands: Subparsers) -> None:
    """`trainmaster completion`."""
    help_line = "what a shell needs to complete commands and options"
    parser = commands.add_parser("completion", help=help_line, description=_ABOUT)
    parser.add_argument("shell", choices=_SHELLS, metavar="SHELL", help=", ".join(_SHELLS))
    parser.set_defaults(run=_completion)


def _completion(args: argparse.Namespace) -> int:
    import shtab  # noqa: PLC0415 - for this command alone

    from trainmaster.cli import parser_of  # noqa: PLC0415 - which lists this command

    say(shtab.complete(parser_of(None), shell=args.shell))
    return DONE
