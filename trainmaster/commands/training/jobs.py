"""`trainmaster train status|logs|stop|list`: jobs that were launched, by whatever launched them."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from uuid import UUID

from trainmaster.catalog.catalogue import open_catalogue
from trainmaster.catalog.deployments import LARGEST_PAGE, Deployment
from trainmaster.catalog.tables import STATUSES
from trainmaster.commands.terminal.desk import desk_in
from trainmaster.commands.terminal.reporting import DONE, REFUSED, add_command, note, say, say_json
from trainmaster.commands.training.following import add_follow_options, follow, require_follow, stop
from trainmaster.commands.training.showing import facts_of_job, listed, of_job, was_refused
from trainmaster.plain_words import printable
from trainmaster.settings import Settings
from trainmaster.training.desk import Desk
from trainmaster.training.finding import find_job
from trainmaster.training.log_sinks import Line
from trainmaster.training.logs import LogReader, last_lines
from trainmaster.training.seen import Seen, see
from trainmaster.training.stop_request import StoppedJob

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]


def add_commands(subcommands: Subparsers) -> None:
    """The subcommands on one job or on all of a user's."""
    status = add_command(subcommands, "status", "how a job stands, what it costs, why it ended", _status)
    logs = add_command(subcommands, "logs", "the log of a job, of all its hosts", _logs)
    stop_ = add_command(subcommands, "stop", "stop a job, and wait until it has stopped", _stop)
    for parser in (status, logs, stop_):
        parser.add_argument("job", metavar="JOB", help="its name, the beginning of it, or its deployment's id")
    add_follow_options(logs)
    logs.add_argument("--tail", type=_count, metavar="N", help="only the last N lines of what is there already")
    stop_.add_argument("--reason", required=True, metavar="WHY", help="kept with the job, for whoever wonders")
    list_ = add_command(subcommands, "list", "your jobs, newest first", _list)
    list_.add_argument("--all-users", action="store_true", help="everybody's")
    list_.add_argument(
        "--status", choices=STATUSES, metavar="STATE", help=f"those in this state: {', '.join(STATUSES)}"
    )
    list_.add_argument(
        "--limit",
        type=_count,
        default=20,
        metavar="N",
        help=f"so many at most (default %(default)s, up to {LARGEST_PAGE})",
    )
    list_.add_argument("--cursor", metavar="CURSOR", help="go on where the last page ended")
    for parser in (status, logs, stop_, list_):
        parser.add_argument("--user", type=_user, metavar="UUID", help="whose; TRAINMASTER_USER_ID without it")


def _status(args: argparse.Namespace, settings: Settings) -> int:
    with _job(args, settings) as (desk, deployment):
        return _show(see(desk, deployment), args)


def _show(seen: Seen, args: argparse.Namespace, headline: str = "") -> int:
    if args.json:
        say_json(facts_of_job(seen))
    else:
        say(*of_job(seen, headline))
    return DONE


def _logs(args: argparse.Namespace, settings: Settings) -> int:
    require_follow(args)
    with _job(args, settings) as (desk, deployment):
        if args.follow:
            return finish(follow(desk, deployment, args), args)
        lines = _log_of(desk, deployment, args.tail)
        if args.json:
            told = [{"at": one.moment.isoformat(), "host": one.host, "text": one.text} for one in lines]
            say_json({"job_name": deployment.deployment_id, "lines": told})
            return DONE
        for line in lines:
            say(printable(str(line)))
    return DONE


def _log_of(desk: Desk, deployment: Deployment, tail: int | None) -> Iterator[Line]:
    """What there is by now; the lines kept in its row, which have no times, where CloudWatch has none any more."""
    name, there = deployment.deployment_id, False
    for line in last_lines(desk.client("logs"), name, most=tail) if tail else _whole_log(desk, deployment):
        there = True
        yield line
    kept = (deployment.logs or "").splitlines() if not there else []
    if kept:
        note("CloudWatch has no log of this job any more; these are its last lines, as they were kept.")
        yield from (Line("", 0, text) for text in (kept[-tail:] if tail else kept))
    elif not there:
        note(f"{name} has written nothing to its log.")


def _whole_log(desk: Desk, deployment: Deployment) -> Iterator[Line]:
    reader = LogReader(desk.client, deployment.deployment_id, int(deployment.job.request.get("instance_count", 1)))
    yield from reader.new_lines()
    while reader.has_more:
        yield from reader.new_lines()


def finish(seen: Seen, args: argparse.Namespace, **more: Any) -> int:
    """Tell how a job that was followed has ended, and `more` of it to machines: 0 when it completed, 1 when it did not."""
    if args.json:
        say_json({**more, **facts_of_job(seen)})
    else:
        say(*of_job(seen))
    if seen.has_ended and seen.deployment.status != "completed":
        again = "the same --attempt launches it" if was_refused(seen.deployment) else "one more --attempt trains again"
        note(f"`trainmaster train start` with the same options and {again}.")
    return DONE if seen.deployment.status == "completed" else REFUSED


def _stop(args: argparse.Namespace, settings: Settings) -> int:
    with _job(args, settings) as (desk, deployment):
        seen, had_ended = stop(desk, deployment, args.reason)
    return _show(seen, args, StoppedJob.of(seen, had_ended=had_ended).sentence())


def _list(args: argparse.Namespace, settings: Settings) -> int:
    catalogue = open_catalogue(settings.catalogue_url, settings.state_dir)
    try:
        page = catalogue.deployments.page(
            None if args.all_users else _owner(args, settings),
            status=args.status,
            limit=args.limit,
            cursor=args.cursor,
        )
    finally:
        catalogue.close()
    if args.json:
        say_json({"jobs": [facts_of_job(Seen(one)) for one in page.deployments], "cursor": page.next_cursor})
    elif page.deployments:
        say(*listed(page.deployments, with_user=args.all_users))
    else:
        note(
            "There are none. `trainmaster train plan` shows what one would cost, `trainmaster train start` launches it."
        )
    if page.next_cursor:
        note(f"There are more: the same command with --cursor {page.next_cursor}")
    return DONE


@contextmanager
def _job(args: argparse.Namespace, settings: Settings) -> Iterator[tuple[Desk, Deployment]]:
    """The job that is meant, and a desk in the region it runs in."""
    with desk_in(settings) as desk:
        deployment = find_job(desk.deployments, _owner(args, settings), args.job)
        region = deployment.job.arn.split(":")[3]
        if region == desk.settings.region:
            yield desk, deployment
            return
    with desk_in(settings, region) as desk:
        yield desk, deployment


def _owner(args: argparse.Namespace, settings: Settings) -> UUID:
    return args.user or UUID(settings.required("user_id"))


def _user(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no user's id (a UUID)") from None


def _count(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and int(text)):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of lines")
    return int(text)
