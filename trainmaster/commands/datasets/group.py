"""`trainmaster datasets`: the group of commands about datasets."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from trainmaster.commands.datasets import check

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

CHECK = "check"


def add_parser(commands: Subparsers, asked: Sequence[str]) -> None:
    """`asked` is what follows on the command line. A check of a file needs neither catalogue nor stores, and with them would
    take a second and 60 MB more."""
    about = "Datasets: checked, normalised, stored where you choose."
    parser = commands.add_parser(
        "datasets", help="check, upload, list, download, migrate and delete fine-tuning datasets", description=about
    )
    subcommands = parser.add_subparsers(required=True, metavar="COMMAND")
    check.add_parser(subcommands)
    if asked[:1] != [CHECK]:
        from trainmaster.commands.datasets import library, migration  # noqa: PLC0415

        library.add_parsers(subcommands)
        migration.add_parsers(subcommands)
