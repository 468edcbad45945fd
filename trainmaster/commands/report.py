"""`trainmaster report weekly`: what a week cost, by whom and for what, without a Prefect server."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from trainmaster.commands.terminal.reporting import DONE, add_command, note, say, say_json
from trainmaster.commands.terminal.tables import labelled, table

if TYPE_CHECKING:
    from trainmaster.reporting.weekly import WeeklyReport
    from trainmaster.settings import Settings

    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

MOST = 50
"""Of the dearest that are named."""


def add_parser(commands: Subparsers) -> None:
    """`trainmaster report weekly`."""
    about = "What was spent, what that saved and failed, and what the month is likely to come to; from the books alone."
    parser = commands.add_parser("report", help="what a week cost, by whom and for what", description=about)
    subcommands = parser.add_subparsers(required=True, metavar="COMMAND")
    weekly = add_command(subcommands, "weekly", "spend of a week by user and kind, against the week before", _weekly)
    weekly.add_argument(
        "--week", type=_week, default="", metavar="2026-W47", help="the last one that is over without it"
    )
    weekly.add_argument(
        "--top", type=_count, default=10, metavar="N", help="so many of the dearest (default %(default)s)"
    )
    weekly.add_argument("--keep", action="store_true", help="write it as files too, with pictures; see TRAINMASTER_REPORTS")  # fmt: skip


def _week(text: str) -> str:
    if text and not re.fullmatch(r"[0-9]{4}-W[0-9]{2}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no week; write 2026-W47")
    return text


def _count(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or not 1 <= int(text) <= MOST:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 to {MOST}")
    return int(text)


def _weekly(args: argparse.Namespace, settings: Settings) -> int:
    from trainmaster.aws.clients import default_clients  # noqa: PLC0415 - with boto3 and SQLAlchemy, a second
    from trainmaster.reporting.keeping import keep_weekly  # noqa: PLC0415
    from trainmaster.reporting.weekly import weekly_report  # noqa: PLC0415
    from trainmaster.reporting.weeks import WeeklyReportRequest  # noqa: PLC0415
    from trainmaster.training.desk import open_desk  # noqa: PLC0415

    def client(service: str) -> Any:  # asked for only where files go to S3
        return default_clients(settings.region)(service)

    request = WeeklyReportRequest(week=args.week, top=args.top)
    with open_desk(settings, client) as desk:
        report = weekly_report(desk, request)
    if args.json:
        say_json(report.model_dump(mode="json"))
    else:
        say(*_shown(report, is_asked=bool(args.week)))
    if args.keep:
        note(*(f"Written: {place}" for place in keep_weekly(report, settings.reports_place, client)))
    return DONE


def _shown(report: WeeklyReport, *, is_asked: bool) -> Iterator[str]:
    from trainmaster.budget.money import shown  # noqa: PLC0415
    from trainmaster.plain_words import printable  # noqa: PLC0415
    from trainmaster.reporting.weekly import PAST  # noqa: PLC0415

    if not is_asked:
        yield f"{report.title}, the last week that is over; --week has others."
    yield report.sentence()
    if report.by_user:
        kinds = list(report.by_kind)
        rows = [
            (printable(one.who), *(shown(one.by_kind[kind]) if kind in one.by_kind else "" for kind in kinds), shown(one.spent))
            for one in report.by_user
        ]  # fmt: skip
        everybody = ("all", *(shown(report.by_kind[kind]) for kind in kinds), shown(report.spent))
        yield ""
        yield from table([("", *kinds, "all"), *rows, everybody], frozenset(range(1, len(kinds) + 2)))
    if report.top:
        yield ""
        dearest = [(printable(one.what), printable(one.who), shown(one.dollars)) for one in report.top]
        yield from table([("cost most", "whose", "billed"), *dearest], frozenset({2}))
    yield ""
    expected = report.forecast
    yield from labelled(
        {
            "saved": f"{shown(report.saved)} by stopping what nobody wanted" if report.savings else "",
            "failed": ", ".join(f"{one.count} of {one.kind}" for one in report.jobs_failed),
            "forecast": f"{shown(expected.total)} for {expected.month}: {shown(expected.billed)} billed,"
            f" {shown(expected.by_the_hour)} of what runs now, {shown(expected.by_the_job)} of jobs to come"
            if expected
            else "",
            **{one.budget: f"{one.percent} % of {shown(one.limit)} committed" for one in report.budgets if one.limit},
        }
    )
    if expected is None:
        yield PAST
