"""The `trainmaster` command."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from trainmaster import laptop
from trainmaster.commands import datasets
from trainmaster.embedded import command as embedded


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code of the command given by `argv`, or by the command line."""
    parser = argparse.ArgumentParser(
        prog="trainmaster", description="From dataset to trained, served model on SageMaker, within budget."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    laptop.add_parsers(commands)
    embedded.add_parser(commands)
    datasets.add_parser(commands)
    args = parser.parse_args(argv)
    code: int = args.run(args)
    return code


if __name__ == "__main__":
    sys.exit(main())
