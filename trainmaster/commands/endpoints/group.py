"""`trainmaster endpoints`: the group of commands about endpoints."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from trainmaster.commands.terminal.listing import Asked, Listed, add_listed

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

_ABOUT = """Endpoints on SageMaker: planned, deployed, proven, asked, taken back and removed. Needs no Prefect server. Exit
codes: 0 done, 1 refused or the deployment failed, 2 asked wrongly or not possible now, 130 and 143 when Ctrl-C or SIGTERM
ended the command; AWS goes on with what it was told then."""
_SERVING, _STANDING, _WATCHING, _APPROVING, _PUBLISHING, _REMOVING = (
    f"trainmaster.commands.endpoints.{one}:add_commands"
    for one in ("serving", "standing", "watching", "approving", "publishing", "removing")
)
COMMANDS = {
    "plan": Listed(_SERVING, "show what would be done, and the cost an hour; do nothing"),
    "deploy": Listed(_SERVING, "bring a model into service, proven; again changes nothing"),
    "rollback": Listed(_SERVING, "go back to a version that had proven itself"),
    "start": Listed(_SERVING, "bring back an endpoint that was removed as nobody wanted it"),
    "list": Listed(_STANDING, "all endpoints that Trainmaster made in this account and region"),
    "show": Listed(_STANDING, "what an endpoint serves, on what, at which price, since when"),
    "invoke": Listed(_STANDING, "ask an endpoint for one prediction or answer"),
    "metrics": Listed(_WATCHING, "calls, latency, errors and cost of each version"),
    "drift": Listed(_WATCHING, "whether what is asked for still is what was trained on"),
    "approve": Listed(_APPROVING, "let a version of a model be deployed, or see which there are"),
    "publish": Listed(_PUBLISHING, "publish an endpoint as POST /predict; again changes nothing"),
    "withdraw": Listed(_PUBLISHING, "take an endpoint's public API away; the endpoint stays"),
    "key": Listed(_PUBLISHING, "show the API key of an endpoint's public API"),
    "remove": Listed(_REMOVING, "remove an endpoint with its configurations and models"),
    "teardown": Listed(_REMOVING, "remove all that costs money: endpoints, public APIs, what was made for them"),
}


def add_parser(commands: Subparsers, asked: Asked) -> None:
    """`asked` is what follows on the command line."""
    parser = commands.add_parser("endpoints", help="deploy, watch, ask and remove endpoints", description=_ABOUT)
    add_listed(parser.add_subparsers(required=True, metavar="COMMAND"), COMMANDS, asked)
