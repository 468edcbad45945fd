"""`trainmaster setup`: everything Trainmaster needs of its Prefect server, made or brought up to date. A door, like `cli`."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainmaster.commands.terminal.bad_request import BadRequestError
from trainmaster.commands.terminal.reporting import DONE, add_command, say, say_json
from trainmaster.errors import CatalogueUnavailableError, NotConfiguredError
from trainmaster.setup.notifying import BLOCK, VARIABLE, Sender, sender_of
from trainmaster.setup.plan import Action, Step
from trainmaster.setup.wanted import POOL_TYPES

if TYPE_CHECKING:
    from trainmaster.catalog.schema import Migration
    from trainmaster.settings import Settings
    from trainmaster.setup.infrastructure import Infrastructure

ROOT = Path(__file__).parent.parent
MIGRATION = "migration of the database"
_IN_WORDS = {
    "parameter_openapi_schema": "form",
    "enforce_parameter_schema": "whether its form is checked",
    "pull_steps": "where its code lies",
    "base_job_template": "what its runs are carried out as",
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
        "--database", action="store_true", help="apply the migrations that the database of DATABASE_URL lacks as well"
    )
    setup.add_argument(
        "--pool-type",
        choices=POOL_TYPES,
        help="what carries out runs; with it, a new pool is made of that type, and the job template of --pool-file is given to it",
    )
    setup.add_argument(
        "--pool-file",
        type=Path,
        metavar="FILE",
        help="image, machine, environment, roles and secrets of runs, as in deployments/work-pool.yaml",
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
    infrastructure = _infrastructure(args)
    # Prefect takes seconds to import, which whoever asks for help need not wait for.
    from deployments.set_up.applying import SetUp, kinds_of  # noqa: PLC0415
    from deployments.set_up.job_templates import job_template  # noqa: PLC0415
    from deployments.set_up.pools import Jobs  # noqa: PLC0415
    from deployments.set_up.server import reached  # noqa: PLC0415

    lacks, notes = _database(settings, required=args.database)
    migrating = [Step(Action.CREATE, MIGRATION, one.name) for one in lacks if args.database]
    jobs = Jobs(args.pool_type, job_template(args.pool_type, infrastructure)) if infrastructure else None
    with reached() as server:
        set_up = SetUp(server, kinds_of(server, args.code.absolute(), sender, jobs))
        planned = [*migrating, *set_up.plan(reset=args.reset)]
        doing = [step for step in planned if step.does_something]
        notes += _about_messages(planned, sender)
        if not args.json:
            say(*_shown(planned), *(f"  {'note':<9} {said}" for said in notes))
        if doing and not args.dry_run:
            _ask(len(doing), args)
        if not args.dry_run:
            _migrate(settings, lacks if args.database else ())
            list(set_up.carry_out(planned))
    if args.json:
        say_json(_facts(planned, notes, done=not args.dry_run))
    elif doing and not args.dry_run:
        done = Counter(step.action for step in doing)
        say(f"Done: {', '.join(f'{count} {action.value}d' for action, count in done.items())}.")
    return DONE


def _infrastructure(args: argparse.Namespace) -> Infrastructure | None:
    if bool(args.pool_type) != bool(args.pool_file):
        raise BadRequestError(
            "--pool-type and --pool-file go together: one says what runs are, the other what they have."
        )
    if not args.pool_file:
        return None
    from trainmaster.setup.infrastructure import read_infrastructure  # noqa: PLC0415 - with pydantic, and only here

    return read_infrastructure(args.pool_file)


def _database(settings: Settings, *, required: bool) -> tuple[Sequence[Migration], list[str]]:
    """What the PostgreSQL of the catalogue lacks, and what there is to say of it. SQLite is brought up to date by whoever opens it."""
    if settings.database_url is None:
        if required:
            raise NotConfiguredError(
                "--database applies migrations to the PostgreSQL of DATABASE_URL, which is not set."
            )
        return (), []
    from trainmaster.catalog.schema import lacking  # noqa: PLC0415 - with psycopg, half a second

    try:
        lacks = lacking(settings.database_url)
    except (CatalogueUnavailableError, NotConfiguredError) as error:
        if required:
            raise
        return (), [f"whether the database lacks migrations could not be told: {error}"]
    if lacks and not required:
        named = ", ".join(one.name for one in lacks)
        return lacks, [f"the database lacks {len(lacks)} migrations, which --database applies: {named}"]
    return lacks, []


def _migrate(settings: Settings, lacks: Sequence[Migration]) -> None:
    if lacks and settings.database_url:
        from trainmaster.catalog.schema import apply  # noqa: PLC0415

        list(apply(settings.database_url, lacks))


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


def _about_messages(planned: Sequence[Step], sender: Sender | None) -> list[str]:
    if sender:
        return [f"messages go to {sender.says}"]
    if any(step.kind == "automation" and BLOCK in str(step.wanted) for step in planned):
        return []
    said = (
        f"nobody is sent a message of budgets and failures: set {VARIABLE} to an address of Slack, Teams, mail or a webhook, or"
        f" save a notification block named {BLOCK} in the Prefect UI, then run `trainmaster setup`"
    )
    return [said]


def _in_words(fact: str) -> str:
    return _IN_WORDS.get(fact, fact.replace("_", " "))


def _counted(steps: Sequence[Step]) -> str:
    """`3 to create, 1 to remove`, or that there is nothing to do."""
    counts = Counter(step.action for step in steps)
    said = [f"{counts[action]} to {action.value}" for action in Action if counts[action] and action != "unchanged"]
    unchanged = f"{counts[Action.UNCHANGED]} unchanged" if counts[Action.UNCHANGED] else ""
    return ", ".join([*(said or ["nothing to do"]), *([unchanged] if unchanged else [])])


def _facts(planned: Sequence[Step], notes: Sequence[str], *, done: bool) -> dict[str, Any]:
    return {
        "done": done,
        "notes": list(notes),
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
