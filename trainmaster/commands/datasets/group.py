"""`trainmaster datasets`: the group of commands about datasets."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from trainmaster.commands.terminal.listing import Asked, Listed, add_listed

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

_CHECK = "trainmaster.commands.datasets.check:add_parser"
_LIBRARY = "trainmaster.commands.datasets.library:add_parsers"
_MIGRATION = "trainmaster.commands.datasets.migration:add_parsers"
COMMANDS = {
    "check": Listed(_CHECK, "whether a file is sound, and what is in it"),
    "upload": Listed(_LIBRARY, "check a dataset, store it and catalogue it"),
    "list": Listed(_LIBRARY, "your datasets, newest first"),
    "show": Listed(_LIBRARY, "everything that is known of a dataset"),
    "url": Listed(_LIBRARY, "a link to download a dataset; anybody can use it until it expires"),
    "delete": Listed(_LIBRARY, "take a dataset out of the catalogue and remove its copies; only says so without --yes"),
    "sweep": Listed(
        _LIBRARY, "remove what died half-way, of all users; what a migration will go on with is left for two days"
    ),
    "migrate": Listed(_MIGRATION, "move datasets from Supabase to S3, one phase at a time"),
    "verify": Listed(_MIGRATION, "read copies in S3 again, and tell which are not what they were"),
}


def add_parser(commands: Subparsers, asked: Asked) -> None:
    """`asked` is what follows on the command line: a check of a file needs neither catalogue nor stores."""
    parser = commands.add_parser(
        "datasets",
        help="check, upload, list, download, migrate and delete fine-tuning datasets",
        description="Datasets: checked, normalised, stored where you choose.",
    )
    add_listed(parser.add_subparsers(required=True, metavar="COMMAND"), COMMANDS, asked)
