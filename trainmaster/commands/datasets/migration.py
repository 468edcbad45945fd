"""`trainmaster datasets migrate|verify`: datasets moved from Supabase to S3 and proven there, without a Prefect server."""

from __future__ import annotations

import argparse
import getpass
import json
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, get_args
from uuid import UUID

from pydantic_core import to_jsonable_python

from trainmaster.catalog.moves import Phase
from trainmaster.catalog.standings import standings
from trainmaster.commands.datasets.reporting import add_command, dataset_id, user_id
from trainmaster.commands.terminal.ending import DONE, FAILED, INTERRUPTED, REFUSED, TERMINATED
from trainmaster.commands.terminal.progress import EVERY, Progress
from trainmaster.errors import RefusedError
from trainmaster.migration.batches import batches, portion
from trainmaster.migration.copying import copy_batch, limits_of
from trainmaster.migration.naming import refuse_unknown
from trainmaster.migration.outcomes import PhaseResult, VerifiedCopies
from trainmaster.migration.plan import MigrationPlan
from trainmaster.migration.planning import plan_migration
from trainmaster.migration.promoting import promote_datasets
from trainmaster.migration.pruning import prune_datasets
from trainmaster.migration.request import FormatChoice, MigrateDatasetsRequest, VerifyCopiesRequest
from trainmaster.migration.result import BatchResult, MigrationResult
from trainmaster.migration.rolling_back import roll_back_datasets
from trainmaster.migration.showing import columns, text
from trainmaster.migration.status import page_of
from trainmaster.migration.verifying import verify_copies
from trainmaster.settings import Settings
from trainmaster.storage.copy import Tally
from trainmaster.storage.library import Library, open_library

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

_AFTER_THE_COPY = {"promote": promote_datasets, "prune": prune_datasets, "rollback": roll_back_datasets}
GRACE_DAYS = 30.0
_PHASES = """copy: S3 gets the bytes, readers stay where they were. promote: readers get S3, Supabase is what they fall back on.
prune: Supabase's copies are deleted once readers have had S3 for the grace period; only with --yes. rollback: readers get
Supabase again; everybody's at once only with --yes. Run it again after anything that went wrong: it goes on, and copies nothing twice. Exit codes: 0 done, 1 some
datasets failed, or something asked for by id was not done, 2 it could not be done now, 130 and 143 when Ctrl-C or SIGTERM ended it."""


def add_parsers(datasets: Subparsers) -> None:
    """The subcommands, below `trainmaster datasets`."""
    migrate = add_command(datasets, "migrate", "move datasets from Supabase to S3, one phase at a time", _migrate)
    migrate.description = f"{migrate.description} {_PHASES}"
    migrate.add_argument(
        "phase",
        nargs="?",
        choices=(*get_args(Phase), "status"),
        default="copy",
        metavar="PHASE",
        help="copy (the default), promote, prune or rollback; status says where all datasets stand",
    )
    whether = migrate.add_mutually_exclusive_group()
    whether.add_argument("--dry-run", action="store_true", help="only say what would be done")
    whether.add_argument("--yes", action="store_true", help="really prune, or roll back everybody's datasets")
    _add_selection(migrate)
    migrate.add_argument("--older-than", metavar="DATE", help="made before this day or moment, such as 2026-06-30")
    migrate.add_argument("--format", choices=get_args(FormatChoice), default="any")
    migrate.add_argument("--limit", type=int, metavar="N", help="so many datasets at most")
    migrate.add_argument("--window", default="", metavar="HH:MM-HH:MM", help="work only between these hours")
    migrate.add_argument("--timezone", metavar="ZONE", help="of the window (default UTC)")
    migrate.add_argument(
        "--grace-days",
        type=float,
        metavar="DAYS",
        help=f"prune what readers got from S3 for so long (default {GRACE_DAYS:g})",
    )
    migrate.add_argument(
        "--take-newer",
        action="store_true",
        help="rollback of a --dataset: what replaced its object in Supabase counts, and S3's older bytes are deleted",
    )
    migrate.add_argument("--retry-given-up", action="store_true", help="also what was missing or unsound three times")
    verify = add_command(datasets, "verify", "read copies in S3 again, and tell which are not what they were", _verify)
    which = verify.add_mutually_exclusive_group()
    which.add_argument("--all", action="store_true", help="every copy")
    which.add_argument(
        "--sample",
        type=int,
        default=500,
        metavar="N",
        help="so many, those first that were not read for longest (default %(default)s)",
    )
    _add_selection(verify)


def _add_selection(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--user", default="", type=user_id, metavar="UUID", help="only this user's; everybody's without it"
    )
    parser.add_argument(
        "--dataset", action="append", type=dataset_id, default=[], metavar="ID", help="only this one; can be repeated"
    )
    parser.add_argument("--max-gb", type=float, metavar="GB", help="read so many GB (10^9 bytes) at most")
    parser.add_argument(
        "--max-minutes", type=float, metavar="MIN", help="work so long at most; the same command again goes on"
    )
    parser.add_argument(
        "--mb-per-second", type=float, metavar="MB", help="read so many MB (10^6 bytes) a second at most"
    )


def _migrate(args: argparse.Namespace, settings: Settings) -> int:
    _refuse_without_effect(args)
    if args.phase == "status":
        return _status(args, settings)
    everything = args.phase == "rollback" and not (args.user or args.dataset)
    needs_yes = args.phase == "prune" or everything
    request = MigrateDatasetsRequest(
        phase=args.phase,
        dry_run=args.dry_run or (needs_yes and not args.yes),
        user_id=args.user,
        dataset_ids=[str(one) for one in args.dataset],
        older_than=args.older_than,
        format=args.format,
        limit=args.limit,
        max_gigabytes=args.max_gb,
        max_minutes=args.max_minutes,
        megabytes_per_second=args.mb_per_second,
        window=args.window,
        timezone="UTC" if args.timezone is None else args.timezone,
        grace_days=GRACE_DAYS if args.grace_days is None else args.grace_days,
        retry_given_up=args.retry_given_up,
        take_newer=args.take_newer,
        workers=1,
    )
    with _stopping() as stop, open_library(settings) as library:
        refuse_unknown(library, request.user_id, request.dataset_ids)
        if request.phase == "copy":
            return _copy(library, request, stop, as_json=args.json)
        changed = _AFTER_THE_COPY[request.phase](library, request, by=_who(), stop=stop.asked)
    _say_phase(changed, as_json=args.json)
    if needs_yes and request.rehearsed and changed.datasets:
        not_done = "deleted" if request.phase == "prune" else "changed"
        print(f"Nothing was {not_done}. Do it: the same command with --yes.", file=sys.stderr)
    return stop.exit_code(ended_early=changed.ended_early, failed=changed.failed)


def _refuse_without_effect(args: argparse.Namespace) -> None:
    """Who gives an option expects something of it."""
    given = {
        "--yes": (args.yes, ("prune", "rollback")),
        "--grace-days": (args.grace_days is not None, ("prune",)),
        "--retry-given-up": (args.retry_given_up, ("copy",)),
        "--take-newer": (args.take_newer, ("rollback",)),
    }
    for option, (is_given, phases) in given.items():
        if is_given and args.phase not in phases:
            raise RefusedError(
                f"{option} has no effect on {args.phase}: it is for {' and '.join(phases)}. Leave it out."
            )
    limits = (args.limit, args.max_gb, args.max_minutes)
    if args.phase == "status" and (args.dataset or args.dry_run or any(one is not None for one in limits)):
        raise RefusedError("status takes --user and --json alone; `trainmaster datasets show ID` tells of one dataset.")
    if args.timezone is not None and not args.window:
        raise RefusedError("--timezone is of the --window, and none is given. Leave it out, or give both.")


def _status(args: argparse.Namespace, settings: Settings) -> int:
    with open_library(settings) as library:
        refuse_unknown(library, args.user, ())
        found = standings(library.catalogue.database, UUID(args.user) if args.user else None)
    print(json.dumps(to_jsonable_python(found)) if args.json else text(page_of(found)))
    return DONE


def _copy(library: Library, request: MigrateDatasetsRequest, stop: _Stop, *, as_json: bool) -> int:
    plan = plan_migration(library, request)
    if request.rehearsed:
        print(json.dumps(to_jsonable_python(plan)) if as_json else plan.text())
        return DONE
    print(plan.text(), file=sys.stderr, flush=True)
    began = time.monotonic()
    result = MigrationResult.of(plan, _copied(library, request, stop, plan), seconds=0.0)
    result = result.model_copy(update={"seconds": time.monotonic() - began})
    print(result.model_dump_json() if as_json else result.text())
    return stop.exit_code(ended_early=result.ended_early, failed=result.not_done)


def _copied(
    library: Library, request: MigrateDatasetsRequest, stop: _Stop, plan: MigrationPlan
) -> Iterator[BatchResult]:
    done, most, tally = 0, portion(plan.now, request.workers), Tally()
    with Progress(0 if plan.unknown_sizes else plan.bytes, sys.stderr) as progress, following(tally, progress):
        for batch in batches(library, request, most_datasets=most.datasets, most_bytes=most.bytes, until=plan.until):
            limits = limits_of(request, batch.among)
            copied = copy_batch(library, batch, limits, by=_who(), stop=stop.asked, tally=tally)
            done += copied.datasets
            progress.say(f"{done:,} of {plan.datasets:,}. {copied.sentence()}")
            yield copied
            if stop.asked.is_set() or copied.ended_early:
                return


@contextmanager
def following(tally: Tally, progress: Progress) -> Iterator[None]:
    """Have the bytes read so far shown, a few times a second, until the block ends."""
    over = threading.Event()

    def show() -> None:
        while not over.wait(EVERY):
            progress.show(tally.bytes_read)

    thread = threading.Thread(target=show, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _verify(args: argparse.Namespace, settings: Settings) -> int:
    request = VerifyCopiesRequest(
        everything=args.all,
        sample=args.sample,
        user_id=args.user,
        dataset_ids=[str(one) for one in args.dataset],
        max_gigabytes=args.max_gb,
        max_minutes=args.max_minutes,
        megabytes_per_second=args.mb_per_second,
    )
    with _stopping() as stop, open_library(settings) as library:
        refuse_unknown(library, request.user_id, request.dataset_ids)
        verified = verify_copies(library, request, by=_who(), stop=stop.asked)
    _say_phase(verified, as_json=args.json)
    return stop.exit_code(ended_early=verified.ended_early, failed=verified.damaged_count + verified.failed)


def _say_phase(result: PhaseResult | VerifiedCopies, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(to_jsonable_python(asdict(result))))
        return
    print(result.sentence())
    if lines := columns(result.table(), ("Outcome", "Size", "Dataset", "Name"), below=("Why", "What to do")):
        print("\n".join(["", *lines]))


class _Stop:
    """Whether Ctrl-C or SIGTERM came: what is in flight is given back, and what was done is settled and said."""

    def __init__(self) -> None:
        self.asked, self._code = threading.Event(), INTERRUPTED

    def ask(self, number: int, _frame: object) -> None:
        if self.asked.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt  # whoever presses it twice does not want to wait
        self._code = TERMINATED if number == signal.SIGTERM else INTERRUPTED
        self.asked.set()
        print("\nStopping; the same command goes on from here.", file=sys.stderr, flush=True)

    def exit_code(self, *, ended_early: str, failed: int) -> int:
        if self.asked.is_set():
            return self._code
        return FAILED if ended_early else REFUSED if failed else DONE


@contextmanager
def _stopping() -> Iterator[_Stop]:
    stop = _Stop()
    before = {number: signal.signal(number, stop.ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _who() -> str:
    """Who the catalogue says did it."""
    return f"{getpass.getuser()}@{socket.gethostname()}"
