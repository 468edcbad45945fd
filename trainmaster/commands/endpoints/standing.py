"""`trainmaster endpoints list|show|invoke`: endpoints that stand, by whatever deployed them."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from pydantic_core import to_jsonable_python

from trainmaster.commands.endpoints.showing import facts_of_endpoint, listed, of_endpoint
from trainmaster.commands.terminal.bad_request import BadRequestError
from trainmaster.commands.terminal.desk import desk_in
from trainmaster.commands.terminal.objects import read_object
from trainmaster.commands.terminal.reporting import DONE, add_command, note, say, say_json
from trainmaster.endpoints.api.stack import public_url
from trainmaster.endpoints.models.package import inspect_model
from trainmaster.endpoints.models.smoke import invoke, sample_inputs
from trainmaster.endpoints.seen import see_endpoint, seen_endpoints, versions_of
from trainmaster.errors import RefusedError
from trainmaster.settings import Settings
from trainmaster.training.desk import Desk

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

_HOUSE = '{"bedrooms": 3, "bathrooms": 2, "sqft": 1800, "year_built": 1990}'
_PROMPT = '{"messages": [{"role": "user", "content": "Hello"}]}'


def add_commands(subcommands: Subparsers) -> None:
    """The subcommands on one endpoint or on all."""
    add_command(subcommands, "list", "all endpoints that Trainmaster made in this account and region", _list)
    show = add_command(subcommands, "show", "what an endpoint serves, on what, at which price, since when", _show)
    ask = add_command(subcommands, "invoke", "ask an endpoint for one prediction or answer", _invoke)
    what = ask.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--data", metavar="JSON", help=f"what is asked for, such as '{_HOUSE}', or of a language model '{_PROMPT}'"
    )
    what.add_argument("--file", metavar="FILE", help="a JSON object in a file; - reads standard input")
    what.add_argument("--example", action="store_true", help="a typical one, from the card of the model that serves")
    for parser in (show, ask):
        parser.add_argument("endpoint", metavar="ENDPOINT", help="its name; `trainmaster endpoints list` shows them")


def _list(args: argparse.Namespace, settings: Settings) -> int:
    with desk_in(settings) as desk:
        found = list(seen_endpoints(desk))
    if args.json:
        say_json({"endpoints": [facts_of_endpoint(one) for one in found]})
    elif found:
        say(*listed(found))
    else:
        note("There are none. `trainmaster endpoints deploy --model-uri s3://…` makes one.")
    return DONE


def _show(args: argparse.Namespace, settings: Settings) -> int:
    with desk_in(settings) as desk:
        seen = see_endpoint(desk, args.endpoint)
        versions = versions_of(desk.client("sagemaker"), args.endpoint)
        url = public_url(desk.client("cloudformation"), args.endpoint, settings.api_url, settings.region)
    if args.json:
        kept = to_jsonable_python([asdict(version) for version in versions])
        say_json({**facts_of_endpoint(seen), "versions": kept, "public_url": url or None})
    else:
        say(*of_endpoint(seen, versions, url))
    return DONE


def _invoke(args: argparse.Namespace, settings: Settings) -> int:
    asked = _asked(args)
    with desk_in(settings) as desk:
        see_endpoint(desk, args.endpoint)
        asked = _example(desk, args.endpoint) if args.example else asked
        answer = invoke(desk.client("sagemaker-runtime"), args.endpoint, asked)
    if args.json:
        say_json({"endpoint": args.endpoint, "asked": asked, "answer": answer})
        return DONE
    if args.example:
        note(f"Asked: {json.dumps(asked)}")
    say(json.dumps(answer))
    return DONE


def _asked(args: argparse.Namespace) -> dict[str, Any]:
    if args.file:
        return read_object(args.file, "--file", _HOUSE)
    try:
        asked = json.loads(args.data) if args.data else {}
    except ValueError as error:
        raise BadRequestError(f"--data is no JSON: {error}. Write an object, such as '{_HOUSE}'.") from error
    if not isinstance(asked, dict):
        raise BadRequestError(f"--data is no JSON object, such as '{_HOUSE}'.")
    return asked


def _example(desk: Desk, name: str) -> dict[str, Any]:
    """Of the model that serves, what is typical."""
    uri = next((one.model_uri for one in see_endpoint(desk, name).variants), "")
    if not uri:
        raise RefusedError(f"The model of endpoint {name} was deleted, so its card is not known. Ask with --data.")
    return dict(sample_inputs(inspect_model(desk.client("s3"), uri).card))
