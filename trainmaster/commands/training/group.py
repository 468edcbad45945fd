"""`trainmaster train`: the group of commands about training jobs."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from trainmaster.commands.terminal.listing import Asked, Listed, add_listed

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

_ABOUT = """Training jobs on SageMaker: planned, launched exactly once within their budgets, followed, stopped. Needs no
Prefect server. Exit codes: 0 done, 1 refused or the job failed, 2 asked wrongly or not possible now, 130 and 143 when
Ctrl-C or SIGTERM ended the command; the job goes on then."""
_STARTING = "trainmaster.commands.training.starting:add_commands"
_JOBS = "trainmaster.commands.training.jobs:add_commands"
_ESTIMATING = "trainmaster.commands.training.estimating:add_commands"
COMMANDS = {
    "estimate": Listed(_ESTIMATING, "memory, time and cost of a fine-tuning on each instance type that it fits"),
    "plan": Listed(_STARTING, "check everything and show what would be launched; launch nothing"),
    "start": Listed(_STARTING, "launch a job once; the same command again finds it"),
    "status": Listed(_JOBS, "how a job stands, what it costs, why it ended"),
    "logs": Listed(_JOBS, "the log of a job, of all its hosts"),
    "stop": Listed(_JOBS, "stop a job, and wait until it has stopped"),
    "list": Listed(_JOBS, "your jobs, newest first"),
}


def add_parser(commands: Subparsers, asked: Asked) -> None:
    """`asked` is what follows on the command line."""
    parser = commands.add_parser("train", help="plan, launch, follow and stop training jobs", description=_ABOUT)
    add_listed(parser.add_subparsers(required=True, metavar="COMMAND"), COMMANDS, asked)
