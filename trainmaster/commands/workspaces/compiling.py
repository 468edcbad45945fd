"""`trainmaster compile`: the images that some workspaces start from."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from pydantic import ValidationError

from trainmaster.commands.terminal.bad_request import BadRequestError
from trainmaster.commands.terminal.desk import desk_in
from trainmaster.commands.terminal.reporting import DONE, add_command, note, say, say_json
from trainmaster.settings import Settings
from trainmaster.workspaces.images.compiling import compile_image, planned_image
from trainmaster.workspaces.images.request import CompileImageRequest
from trainmaster.workspaces.images.results import compiled_result, planned_result

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]


def add_commands(commands: Subparsers) -> None:
    """The one that makes an image."""
    compiled = add_command(
        commands, "compile", "make the image a template's workspaces start from; again finds it", _compile
    )
    compiled.add_argument("template", metavar="TEMPLATE", help="one with an image, such as custom-pytorch")
    compiled.add_argument(
        "--dry-run", action="store_true", help="only print the Dockerfile, the steps and what they cost at most"
    )
    compiled.add_argument(
        "--user", default="", metavar="UUID", help="whose budget pays; TRAINMASTER_USER_ID without it"
    )
    compiled.add_argument("--team", default="", help="whose budget pays as well; TRAINMASTER_TEAM without it")


def _compile(args: argparse.Namespace, settings: Settings) -> int:
    try:
        request = CompileImageRequest(template=args.template, user_id=args.user, team=args.team, dry_run=args.dry_run)
    except ValidationError as error:
        wrong = error.errors()[0]
        raise BadRequestError(f"{wrong['loc'][-1]} cannot be {wrong['input']!r}.") from error
    with desk_in(settings) as desk:
        planned = planned_result(planned_image(desk, request))
        if not request.dry_run:
            made = compiled_result(compile_image(desk, request, lambda said: note(f"{said} …")))
            say_json(made.model_dump(mode="json")) if args.json else say(made.sentence())
            return DONE
    if args.json:
        say_json(planned.model_dump(mode="json"))
        return DONE
    say(planned.recipe)
    steps = [f"  {number}. {step}" for number, step in enumerate(planned.steps, 1)]
    say(planned.sentence(), *(["To be done, in this order:", *steps] if steps else []))
    note(planned.note)
    return DONE
