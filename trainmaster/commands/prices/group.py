"""`trainmaster prices`: the group of commands about what instances cost."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from trainmaster.commands.terminal.listing import Asked, Listed, add_listed

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

_ROOM = "trainmaster.commands.prices"
COMMANDS = {
    "show": Listed(f"{_ROOM}.showing:add_commands", "known prices, cheapest first"),
    "refresh": Listed(f"{_ROOM}.refreshing:add_commands", "ask AWS's Price List API, and use its prices from now on"),
    "equivalent": Listed(
        f"{_ROOM}.showing:add_commands", "the SageMaker type for an instance of Lambda Labs, and what both cost"
    ),
}


def add_parser(commands: Subparsers, asked: Asked) -> None:
    """`asked` is what follows on the command line: AWS's libraries are loaded for `refresh` alone."""
    about = "What instances cost, with the source and the date of every figure. What has no price is not launched."
    parser = commands.add_parser("prices", help="what instances cost, and asking AWS anew", description=about)
    add_listed(parser.add_subparsers(required=True, metavar="COMMAND"), COMMANDS, asked)
