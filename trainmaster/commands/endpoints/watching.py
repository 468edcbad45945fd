"""`trainmaster endpoints metrics|drift`: how endpoints did, and whether they are asked for what their models were trained on."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import asdict
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError
from pydantic_core import to_jsonable_python

from trainmaster.commands.terminal.bad_request import BadRequestError
from trainmaster.commands.terminal.desk import desk_in
from trainmaster.commands.terminal.reporting import DONE, FAILED, REFUSED, add_command, note, say, say_json
from trainmaster.commands.terminal.tables import table
from trainmaster.endpoints.seen import see_endpoint
from trainmaster.endpoints.watch.checking_drift import captured_endpoints, check_drift
from trainmaster.endpoints.watch.drift import CheckDriftRequest, DriftReport
from trainmaster.endpoints.watch.metrics import LOOK_BACK, version_metrics
from trainmaster.endpoints.watch.pictures import picture
from trainmaster.errors import TrainmasterError
from trainmaster.plain_words import printable
from trainmaster.settings import Settings
from trainmaster.training.desk import Desk

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

MOST_HOURS = 24 * 90
_ABOUT = "Exit codes: 0 nothing has drifted, 1 something has, or was refused, 2 it could not be done now."


def add_commands(subcommands: Subparsers) -> None:
    """The subcommands that look and change nothing."""
    metrics = add_command(subcommands, "metrics", "calls, latency, errors and cost of each version", _metrics)
    metrics.add_argument("endpoint", metavar="ENDPOINT", help="its name; `trainmaster endpoints list` shows them")
    metrics.add_argument(
        "--hours", type=_hours, default=LOOK_BACK, metavar="N", help=f"until now ({LOOK_BACK // timedelta(hours=1)})"
    )
    drift = add_command(subcommands, "drift", "whether what is asked for still is what was trained on", _drift)
    drift.description = f"{drift.description} {_ABOUT}"
    drift.add_argument(
        "endpoint", nargs="?", default="", metavar="ENDPOINT", help="all that capture what they are asked without it"
    )
    fields = CheckDriftRequest.model_fields
    drift.add_argument("--days", type=int, default=fields["days"].default, metavar="N", help="until now (%(default)s)")
    drift.add_argument(
        "--psi-threshold", type=float, default=fields["psi_threshold"].default, metavar="X",
        help="from here on a feature has drifted, where chance does not explain it (%(default)s)",
    )  # fmt: skip
    drift.add_argument(
        "--least-rows", type=int, default=fields["least_rows"].default, metavar="N",
        help="of fewer nothing is concluded (%(default)s)",
    )  # fmt: skip
    drift.add_argument("--picture", type=Path, metavar="FILE", help="of one ENDPOINT: write its picture there, a PNG")


def _metrics(args: argparse.Namespace, settings: Settings) -> int:
    with desk_in(settings) as desk:
        see_endpoint(desk, args.endpoint)
        found = version_metrics(desk, args.endpoint, args.hours)
    if args.json:
        facts = [{**asdict(one), "cost": f"{one.cost:f}", "cost_per_1000": _exact(one.cost_per_1000)} for one in found]
        say_json({"endpoint": args.endpoint, "versions": to_jsonable_python(facts)})
        return DONE
    rows = [row for one in found for row in one.rows()]
    if not rows:
        note(f"The books know no hour of {args.endpoint} in this time: it was deployed with other books, or not yet.")
        return DONE
    head = tuple(name.upper() for name in rows[0])
    numbers = frozenset(range(head.index("INVOCATIONS"), len(head)))
    say(*table([head, *(tuple(row.values()) for row in rows)], numbers))
    return DONE


def _drift(args: argparse.Namespace, settings: Settings) -> int:
    if args.picture and not args.endpoint:
        raise BadRequestError("--picture is of one ENDPOINT, and none is given.")
    request = CheckDriftRequest(
        endpoint_name=args.endpoint,
        days=args.days,
        psi_threshold=args.psi_threshold,
        least_rows=args.least_rows,
    )
    with desk_in(settings) as desk:
        reports, failures = _checked(desk, request)
    if args.json:
        say_json({"endpoints": [_facts(one) for one in reports], "failures": failures})
    elif reports:
        say(*(line for one in reports for line in _lines(one)))
    if failures:
        note(*failures)
    elif not reports:
        note(
            "No endpoint captures what it is asked. `--capture-percent` of `trainmaster endpoints deploy` has one do so."
        )
    if args.picture:
        _draw(reports[0], args.picture)
    return FAILED if failures else REFUSED if any(one.drifted for one in reports) else DONE


def _checked(desk: Desk, request: CheckDriftRequest) -> tuple[list[DriftReport], list[str]]:
    """Of all that capture what they are asked one that cannot be checked keeps none of the others from it; the one asked for raises."""
    reports: list[DriftReport] = []
    failures: list[str] = []
    for name in captured_endpoints(desk, request):
        try:
            reports.append(check_drift(desk, name, request))
        except (TrainmasterError, ClientError, BotoCoreError) as error:
            if request.endpoint_name:
                raise
            failures.append(f"Endpoint {name} was not checked: {error}")
    return reports, failures


def _lines(report: DriftReport) -> Iterator[str]:
    yield printable(report.sentence())
    rows = report.table()
    if rows:
        head = [name.upper() for name in rows[0]]
        yield from (
            f"  {line}" for line in table([tuple(head), *(tuple(map(printable, row.values())) for row in rows)])
        )
    if report.unreadable or report.cut_short:
        more = "; there were more than were read" if report.cut_short else ""
        yield f"  {report.unreadable:,} of {report.requests:,} requests could not be understood{more}."


def _hours(text: str) -> timedelta:
    if not (text.isascii() and text.isdecimal() and 0 < int(text) <= MOST_HOURS):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of hours from 1 to {MOST_HOURS:,}")
    return timedelta(hours=int(text))


def _exact(amount: Decimal | None) -> str | None:
    return None if amount is None else f"{amount:f}"


def _facts(report: DriftReport) -> object:
    return to_jsonable_python({**asdict(report), "verdict": report.verdict, "sentence": report.sentence()})


def _draw(report: DriftReport, file: Path) -> None:
    png = picture(report)
    if png is None:
        note("There is nothing to draw: no row was asked, or the model's card does not say how its features lay.")
        return
    file.write_bytes(png)
    note(f"Drawn: {file}")
