"""`trainmaster setup`: everything Trainmaster needs of its Prefect server, made or brought up to date. A door, like `cli`."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from deployments import automations


def add_parser(commands: Any) -> None:
    """`trainmaster setup`."""
    setup = commands.add_parser("setup", help="make or update what Trainmaster needs of its Prefect server")
    setup.set_defaults(run=set_up)


def set_up(_args: argparse.Namespace) -> int:
    """Exit code 0."""
    sys.stdout.flush()
    return automations.main()
