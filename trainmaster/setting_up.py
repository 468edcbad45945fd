"""`trainmaster setup`: everything Trainmaster needs of its Prefect server, made or brought up to date. A door, like `cli`."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from trainmaster.commands.terminal.bad_request import BadRequestError
from trainmaster.commands.terminal.reporting import DONE, add_command, say, say_json
from trainmaster.settings import Settings
from trainmaster.setup.notifying import BLOCK, VARIABLE, Sender, sender_of
from trainmaster.setup.plan import Action, Step

ROOT = Path(__file__).parent.parent
_IN_WORDS = {
    "parameter_openapi_schema": "form",
    "enforce_parameter_schema": "whether its form is checked",
    "pull_steps": "where its code lies",
    "collision_strategy": "what happens to a run too many",
    "slot_decay_per_second": "how fast it frees up",
}
"""Of facts whose names are Prefect's."""


def add_parser(commands: Any) -> None:
    """`trainmaster setup`."""
    setup = add_command(commands, "setup", "make or update what Trainmaster needs of its Prefect server", _set_up)
    setup.description = (
        "Make or update what Trainmaster needs of the Prefect server of PREFECT_API_URL: work pool, queues, limits, deployments,"
        " schedules, automations, and the block that messages go through, which sends to the address in"
        f" {VARIABLE}. Shows what it is about to do first. What was paused or changed by hand stays so."
    )
    setup.add_argument("--dry-run", action="store_true", help="show what would be done, and do nothing")
    setup.add_argument("--yes", action="store_true", help="do it without asking")
    setup.add_argument(
        "--reset", action="store_true", help="put back what was changed by hand as well, pauses excepted"
    )
    setup.add_argument(
        "--code",
        type=Path,
        default=ROOT,
        metavar="FOLDER",
        help="where the code lies on the workers (default: where it lies here, %(default)s)",
    )


def _set_up(args: argparse.Namespace, settings: Settings) -> int:
    sender = sender_of(settings.required("notify_url")) if settings.notify_url else None
    # Prefect takes seconds to import, which whoever asks for help need not wait for.
    from deployments.set_up.applying import SetUp, kinds_of  # noqa: PLC0415
    from deployments.set_up.server import reached  # noqa: PLC0415

    with reached() as server:
        set_up = SetUp(server, kinds_of(server, args.code.absolute(), sender))
        planned = set_up.plan(reset=args.reset)
        doing = [step for step in planned if step.does_something]
        if not args.json:
            say(*_shown(planned), *_about_messages(planned, sender))
        if doing and not args.dry_run:
            _ask(len(doing), args)
        done = [] if args.dry_run else list(set_up.carry_out(planned))
    if args.json:
        say_json(_facts(planned, done=not args.dry_run, sender=sender))
    elif doing and done:
        say(f"Done: {_counted(doing)}.")
    return DONE


def _ask(steps: int, args: argparse.Namespace) -> None:
    """Returns when it is to be done. Raises BadRequestError where nobody can be asked or somebody says no."""
    if args.yes:
        return
    if args.json or not sys.stdin.isatty():
        raise BadRequestError(f"{steps} steps are to be done, and nobody can be asked here: add --yes, or --dry-run.")
    print(f"Do these {steps} steps? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise BadRequestError("Nothing was done.")


def _shown(planned: Sequence[Step]) -> Iterator[str]:
    yield f"Prefect server: {_counted(planned)}."
    for step in planned:
        if step.does_something:
            changed = f" ({', '.join(map(_in_words, step.changed))})" if step.changed else ""
            yield f"  {step.action.value:<9} {step.kind} {step.name}{changed}"
    for step in planned:
        for said in step.notes:
            yield f"  {'note':<9} {step.kind} {step.name} {said}"
        if step.kept:
            kept = ", ".join(map(_in_words, step.kept))
            yield f"  {'kept':<9} {step.kind} {step.name}: {kept} changed by hand; --reset puts it back"


def _about_messages(planned: Sequence[Step], sender: Sender | None) -> Iterator[str]:
    if sender:
        yield f"  {'note':<9} messages go to {sender.says}"
    elif not any(step.kind == "automation" and "block" in str(step.wanted) for step in planned):
        yield (
            f"  {'note':<9} nobody is sent a message of budgets and failures: set {VARIABLE} to an address of Slack, Teams, mail or"
            f" a webhook, or save a notification block named {BLOCK} in the Prefect UI, then run `trainmaster setup`"
        )


def _in_words(fact: str) -> str:
    return _IN_WORDS.get(fact, fact.replace("_", " "))


def _counted(steps: Sequence[Step]) -> str:
    """`3 to create, 1 to remove`, or that there is nothing to do."""
    counts = Counter(step.action for step in steps)
    said = [f"{counts[action]} to {action.value}" for action in Action if counts[action] and action != "unchanged"]
    unchanged = f"{counts[Action.UNCHANGED]} unchanged" if counts[Action.UNCHANGED] else ""
    return ", ".join([*(said or ["nothing to do"]), *([unchanged] if unchanged else [])])


def _facts(planned: Sequence[Step], *, done: bool, sender: Sender | None) -> dict[str, Any]:
    return {
        "done": done,
        "messages_to": sender.says if sender else None,
        "steps": [
            {
                "action": step.action.value,
                "kind": step.kind,
                "name": step.name,
                "changed": list(step.changed),
                "kept": list(step.kept),
                "notes": list(step.notes),
            }
            for step in planned
        ],
    }
