"""`trainmaster endpoints publish|withdraw|key`: an endpoint's public API, and the key that opens it."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from trainmaster.commands.terminal.desk import desk_in
from trainmaster.commands.terminal.reporting import DONE, add_command, note, say, say_json
from trainmaster.endpoints.api import publishing
from trainmaster.endpoints.api.request import PublishRequest
from trainmaster.endpoints.api.stack import PlannedApi
from trainmaster.settings import Settings

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

_OPTIONS = {
    "allowed_origin": "ORIGIN", "requests_per_second": "N", "burst": "N", "requests_per_day": "N", "log_days": "DAYS",
}  # fmt: skip


def add_commands(subcommands: Subparsers) -> None:
    """The subcommands on public APIs."""
    publish = add_command(
        subcommands, "publish", "publish an endpoint as POST /predict; again changes nothing", _publish
    )
    for name, metavar in _OPTIONS.items():
        field = PublishRequest.model_fields[name]
        publish.add_argument(
            f"--{name.replace('_', '-')}",
            default=field.default,
            type=type(field.default),
            metavar=metavar,
            help=f"{field.description} (default {field.default})",
        )
    publish.add_argument("--dry-run", action="store_true", help="only show what would be done")
    withdraw = add_command(subcommands, "withdraw", "take an endpoint's public API away; the endpoint stays", _withdraw)
    withdraw.add_argument("--yes", action="store_true", help="do it; without it, only say what would be removed")
    key = add_command(subcommands, "key", "show the API key of an endpoint's public API", _key)
    for parser in (publish, withdraw, key):
        parser.add_argument("endpoint", metavar="ENDPOINT", help="its name")


def _publish(args: argparse.Namespace, settings: Settings) -> int:
    chosen = {name: getattr(args, name) for name in _OPTIONS}
    request = PublishRequest(endpoint_name=args.endpoint, dry_run=args.dry_run, **chosen)
    with desk_in(settings) as desk:
        publication = publishing.desired_publication(desk.client, request, settings)
        steps = publishing.planned(desk.client, publication.desired, settings)
        if request.dry_run:
            planned = PlannedApi(stack_name=publication.desired.stack_name, steps=[str(each) for each in steps])
            say_json(planned.model_dump(mode="json")) if args.json else say(planned.sentence())
            return DONE
        told = f"Stack {publication.desired.stack_name} is "
        done = publishing.published(desk.client, publication, steps, settings, lambda status: note(f"{told}{status}."))
    if args.json:
        say_json(done.model_dump(mode="json"))
    else:
        say(done.sentence(), "Ask it:", f"  {done.ask_command}")
    return DONE


def _withdraw(args: argparse.Namespace, settings: Settings) -> int:
    with desk_in(settings) as desk:
        found = publishing.found_api(desk.client, args.endpoint, settings)
        if args.yes:
            found = publishing.withdrawn(desk.client, found, settings, lambda _: None)
    say_json(found.model_dump(mode="json")) if args.json else say(found.sentence())
    return DONE


def _key(args: argparse.Namespace, settings: Settings) -> int:
    with desk_in(settings) as desk:
        key = publishing.key_of(desk.client, args.endpoint)
    say_json({"key": key}) if args.json else say(key)
    return DONE
