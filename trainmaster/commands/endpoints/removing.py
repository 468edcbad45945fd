"""`trainmaster endpoints remove|teardown`: an end to what endpoints cost, and what is kept then."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from trainmaster.commands.terminal.desk import desk_in
from trainmaster.commands.terminal.reporting import DONE, FAILED, add_command, note, say, say_json
from trainmaster.endpoints.api.stack import public_url
from trainmaster.endpoints.deployment import patience_of
from trainmaster.endpoints.metering import meter_endpoint
from trainmaster.endpoints.removing import belongings, remove
from trainmaster.endpoints.teardown import names_to_tear_down, teardown
from trainmaster.errors import UnknownChoiceError
from trainmaster.settings import Settings

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]


def add_commands(subcommands: Subparsers) -> None:
    """The subcommands that take away; each only says what it would do without `--yes`."""
    remove_ = add_command(subcommands, "remove", "remove an endpoint with its configurations and models", _remove)
    remove_.add_argument("endpoint", metavar="ENDPOINT", help="its name; `trainmaster endpoints list` shows them")
    teardown_ = add_command(
        subcommands,
        "teardown",
        "remove all that costs money: endpoints, public APIs, what was made for them",
        _teardown,
    )
    which = teardown_.add_mutually_exclusive_group(required=True)
    which.add_argument("endpoints", nargs="*", default=[], metavar="ENDPOINT", help="these")
    which.add_argument("--all", action="store_true", help="every one of Trainmaster's in this account and region")
    for parser in (remove_, teardown_):
        parser.add_argument(
            "--yes", action="store_true", help="really do it; without it, only say what would be removed"
        )


def _remove(args: argparse.Namespace, settings: Settings) -> int:
    with desk_in(settings) as desk:
        found = belongings(desk.client, args.endpoint)
        if str(found) == "nothing":
            raise UnknownChoiceError(
                f"There is nothing of an endpoint {args.endpoint} of Trainmaster's. `trainmaster endpoints list` shows those there are."
            )
        if args.yes:
            remove(desk.client, found, patience_of(settings))
            meter_endpoint(desk, args.endpoint)
        url = public_url(desk.client("cloudformation"), args.endpoint, settings.api_url, settings.region)
    if args.json:
        say_json({**found.model_dump(mode="json"), "removed": args.yes})
        return DONE
    say(f"{'Removed' if args.yes else 'Would remove'} {found}.")
    if url:
        note(f"Its public API stays, and answers 404 then: trainmaster endpoints withdraw {args.endpoint} --yes")
    if not args.yes:
        note(f"Nothing was removed. Do it: trainmaster endpoints remove {args.endpoint} --yes")
    return DONE


def _teardown(args: argparse.Namespace, settings: Settings) -> int:
    torn = []
    with desk_in(settings) as desk:
        names = list(dict.fromkeys(args.endpoints)) or names_to_tear_down(desk)
        for one in teardown(desk, names, patience_of(settings), dry_run=not args.yes):
            torn.append(one)
            if not args.json:
                (note if one.failure else say)(f"{one.endpoint_name}: {one.sentence()}")
    if args.json:
        say_json({"endpoints": [one.model_dump(mode="json") for one in torn], "removed": args.yes})
    elif not torn:
        say("There is nothing of Trainmaster's endpoints in this account and region.")
    elif not args.yes:
        named = " ".join(args.endpoints) or "--all"
        note(f"Nothing was removed. Do it: trainmaster endpoints teardown {named} --yes")
    return FAILED if any(one.failure for one in torn) else DONE
