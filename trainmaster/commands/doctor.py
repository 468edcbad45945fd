"""`trainmaster doctor`: what is missing or wrong where Trainmaster is to run, and how to put it right."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from trainmaster.commands.terminal.reporting import DONE, add_command, say
from trainmaster.settings import Settings

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]


def add_parser(commands: Subparsers) -> None:
    """`trainmaster doctor`."""
    add_command(commands, "doctor", "check what Trainmaster needs, and say how to put right what is wrong", _doctor)


def _doctor(_args: argparse.Namespace, settings: Settings) -> int:
    say(f"Region: {settings.region}")
    return DONE
