"""`trainmaster endpoints plan|deploy`: what bringing a model into service would do and cost, and doing it, without a Prefect server."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from trainmaster.commands import endpoints_approving, endpoints_standing, endpoints_watching
from trainmaster.commands.endpoints_deploying import deploy, planned
from trainmaster.commands.endpoints_options import add_request_options, read_request
from trainmaster.commands.endpoints_showing import deployed
from trainmaster.commands.train_reporting import DONE, add_command, desk_in, note, say, say_json
from trainmaster.settings import Settings

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

_ABOUT = """Endpoints on SageMaker: planned, deployed, proven, asked, taken back and removed. Needs no Prefect server. Exit
codes: 0 done, 1 refused or the deployment failed, 2 asked wrongly or not possible now, 130 and 143 when Ctrl-C or SIGTERM
ended the command; AWS goes on with what it was told then."""


def add_parser(commands: Subparsers) -> None:
    """`trainmaster endpoints` and its subcommands."""
    endpoints = commands.add_parser("endpoints", help="deploy, watch, ask and remove endpoints", description=_ABOUT)
    subcommands = endpoints.add_subparsers(required=True, metavar="COMMAND")
    plan = add_command(subcommands, "plan", "show what would be done, and the cost an hour; do nothing", _plan)
    add_request_options(plan)
    deploy_ = add_command(subcommands, "deploy", "bring a model into service, proven; again changes nothing", _deploy)
    add_request_options(deploy_)
    endpoints_standing.add_commands(subcommands)
    endpoints_watching.add_commands(subcommands)
    endpoints_approving.add_commands(subcommands)


def _plan(args: argparse.Namespace, settings: Settings) -> int:
    request = read_request(args, dry_run=True)
    with desk_in(settings) as desk:
        found = planned(desk, request)
    if args.json:
        say_json(found.facts())
    else:
        say(*found.lines())
        note("Nothing was done: `trainmaster endpoints deploy` with the same options does it.")
    return DONE


def _deploy(args: argparse.Namespace, settings: Settings) -> int:
    request = read_request(args, dry_run=False)
    with desk_in(settings) as desk:
        served = deploy(desk, request)
    if args.json:
        say_json(served.model_dump(mode="json"))
    else:
        say(*deployed(served))
    return DONE
