"""`trainmaster datasets`: the group of commands about datasets."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from trainmaster.commands import dataset_library, datasets_check

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

SUBCOMMANDS = (datasets_check.add_parser, dataset_library.add_parsers)


def add_parser(commands: Subparsers) -> None:
    about = "Datasets: checked, normalised, stored where you choose."
    parser = commands.add_parser(
        "datasets", help="check, upload, list, download and delete fine-tuning datasets", description=about
    )
    subcommands = parser.add_subparsers(required=True, metavar="COMMAND")
    for add in SUBCOMMANDS:
        add(subcommands)
