"""`trainmaster endpoints plan|deploy|rollback|start`: bringing a model into service, an earlier one, or one that was removed."""

from __future__ import annotations

import argparse
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING

from trainmaster.budget.budgets import Payer
from trainmaster.budget.money import CENT
from trainmaster.commands.endpoints.deploying import Planned, carry_out, planned, planned_rollback
from trainmaster.commands.endpoints.options import REQUEST
from trainmaster.commands.endpoints.showing import deployed, facts_of_endpoint
from trainmaster.commands.terminal.desk import desk_in
from trainmaster.commands.terminal.reporting import DONE, add_command, note, say, say_json
from trainmaster.endpoints.deploying import find_endpoint
from trainmaster.endpoints.request import MOST_AN_HOUR, RollbackRequest
from trainmaster.endpoints.seen import see_endpoint
from trainmaster.settings import Settings
from trainmaster.training.desk import Desk

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]


def add_commands(subcommands: Subparsers) -> None:
    """What brings a model into service, and what would."""
    plan = add_command(subcommands, "plan", "show what would be done, and the cost an hour; do nothing", _plan)
    REQUEST.add_to(plan)
    deploy_ = add_command(subcommands, "deploy", "bring a model into service, proven; again changes nothing", _deploy)
    REQUEST.add_to(deploy_)
    rollback = add_command(subcommands, "rollback", "go back to a version that had proven itself", _rollback)
    rollback.add_argument(
        "--to",
        default="",
        metavar="CONFIG",
        help="which, as `show` lists them; the last one before what serves without it",
    )
    rollback.add_argument("--dry-run", action="store_true", help="only show what would be done, and the cost an hour")
    start = add_command(subcommands, "start", "bring back an endpoint that was removed as nobody wanted it", _start)
    for parser in (rollback, start):
        parser.add_argument("endpoint", metavar="ENDPOINT", help="its name")
        parser.add_argument(
            "--user", default="", metavar="UUID", help="whose budget pays; TRAINMASTER_USER_ID without it"
        )
        parser.add_argument(
            "--team", default="", metavar="TEAM", help="whose pays as well; TRAINMASTER_TEAM without it"
        )
        parser.add_argument(
            "--max-hourly-cost",
            type=_dollars,
            default=RollbackRequest.model_fields["max_hourly_cost"].default,
            metavar="USD",
            help="what costs more is refused, unless what serves now costs as much (default %(default)s)",
        )


def _plan(args: argparse.Namespace, settings: Settings) -> int:
    request = REQUEST.read(args, dry_run=True)
    with desk_in(settings) as desk:
        return _show(planned(desk, request), args, "`trainmaster endpoints deploy` with the same options does it.")


def _deploy(args: argparse.Namespace, settings: Settings) -> int:
    request = REQUEST.read(args, dry_run=False)
    with desk_in(settings) as desk:
        return _serve(desk, planned(desk, request), request.payer(_payer(settings)), args)


def _rollback(args: argparse.Namespace, settings: Settings) -> int:
    request = _returning(args, args.to)
    with desk_in(settings) as desk:
        see_endpoint(desk, args.endpoint)
        found = planned_rollback(desk, request)
        if args.dry_run:
            return _show(found, args, "the same command without --dry-run does it.")
        return _serve(desk, found, request.payer(_payer(settings)), args)


def _start(args: argparse.Namespace, settings: Settings) -> int:
    request = _returning(args)
    with desk_in(settings) as desk:
        there = find_endpoint(desk.client("sagemaker"), args.endpoint)
        if there is None:
            return _serve(desk, planned_rollback(desk, request), request.payer(_payer(settings)), args)
        seen = see_endpoint(desk, args.endpoint)
    if args.json:
        say_json(facts_of_endpoint(seen))
    else:
        say(f"Endpoint {seen.name} is there: {seen.status} with {seen.config}. Nothing was done.")
    return DONE


def _show(found: Planned, args: argparse.Namespace, how: str) -> int:
    if args.json:
        say_json(found.facts())
    else:
        say(*found.lines())
        note(f"Nothing was done: {how}")
    return DONE


def _serve(desk: Desk, found: Planned, payer: Payer, args: argparse.Namespace) -> int:
    served = carry_out(desk, found, payer)
    if args.json:
        say_json(served.model_dump(mode="json"))
    else:
        say(*deployed(served))
    return DONE


def _returning(args: argparse.Namespace, to: str = "") -> RollbackRequest:
    return RollbackRequest(
        endpoint_name=args.endpoint,
        config_name=to,
        user_id=args.user,
        team=args.team,
        max_hourly_cost=args.max_hourly_cost,
    )


def _dollars(text: str) -> Decimal:
    try:
        amount = Decimal(text)
        if 0 < amount <= MOST_AN_HOUR and amount == amount.quantize(CENT):
            return amount
    except InvalidOperation:
        pass  # as said below
    raise argparse.ArgumentTypeError(f"{text!r} is no amount; write 0.01 to {MOST_AN_HOUR:,} in dollars and cents")


def _payer(settings: Settings) -> Payer:
    return Payer(settings.user_id, settings.team)
