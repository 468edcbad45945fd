"""`trainmaster budget show|set|history`: what may be spent, what was, and who said so."""

from __future__ import annotations

import argparse
import getpass
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any
from uuid import UUID

from trainmaster.budget.budgets import ACCOUNT, TEAM_NAME, Budget, Standing, month_name, month_of, read_month
from trainmaster.budget.charge import Reservation
from trainmaster.budget.history import Happening
from trainmaster.budget.ledger import Ledger, open_ledger
from trainmaster.budget.metering import Meters, tranche_title
from trainmaster.budget.money import shown, shown_left
from trainmaster.commands.terminal.reporting import DONE, add_command, note, say, say_json
from trainmaster.commands.terminal.tables import table
from trainmaster.errors import RefusedError
from trainmaster.settings import Settings
from trainmaster.training.overdrawing import overdrawn_now

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

MOST_RESERVED = 50
"""Lines of what is reserved."""


def add_parser(commands: Subparsers) -> None:
    about = "What may be spent in a calendar month (UTC), by the account, a team or a user; what is spent, reserved and left."
    parser = commands.add_parser("budget", help="show and set budgets, and what was spent of them", description=about)
    subcommands = parser.add_subparsers(required=True, metavar="COMMAND")
    show = _parser(subcommands, "show", "how every budget stands, and what is reserved of it", _show)
    _add_whose(show, required=False)
    set_ = _parser(subcommands, "set", "what may be spent from a month on, until another is set", _set)
    set_.add_argument("amount", type=_amount, metavar="USD", help="for each month, such as 50 or 12.50; none: no limit")
    _add_whose(set_, required=True)
    history = _parser(
        subcommands, "history", "reservations, bills, limits, allowances and passed thresholds, newest first", _history
    )
    _add_whose(history, required=False)
    history.add_argument("--limit", type=_count, default=50, metavar="N", help="so many at most (default %(default)s)")


def _parser(
    subcommands: Subparsers, name: str, help_line: str, run: Callable[[argparse.Namespace, Ledger], int]
) -> argparse.ArgumentParser:
    def at_the_books(args: argparse.Namespace, settings: Settings) -> int:
        with open_ledger(settings.catalogue_url, settings.state_dir) as ledger:
            return run(args, ledger)

    parser = add_command(subcommands, name, help_line, at_the_books)
    parser.add_argument("--month", type=_month, default="", metavar="YYYY-MM", help="this one (UTC) without it")
    return parser


def _add_whose(parser: argparse.ArgumentParser, *, required: bool) -> None:
    whose = parser.add_mutually_exclusive_group(required=required)
    whose.add_argument("--account", dest="budget", action="store_const", const=ACCOUNT, help="of everybody together")
    whose.add_argument("--team", dest="budget", type=_team, metavar="NAME")
    whose.add_argument("--user", dest="budget", type=_user, metavar="UUID")


def _show(args: argparse.Namespace, ledger: Ledger) -> int:
    standings = [ledger.standing(args.budget, args.month)] if args.budget else ledger.standings(args.month)
    month = standings[0].month
    reserved = [
        one
        for one in ledger.open_reservations()
        if one.month == month and (args.budget is None or args.budget in one.charge.payer.budgets())
    ]
    if args.json:
        facts = {"month": month, "budgets": [_facts(standing) for standing in standings]}
        say_json(facts | {"reservations": [_reserved_facts(one) for one in reserved]})
        return DONE
    _print_standings(standings)
    if reserved:
        _print_reserved(reserved)
    return DONE


def _set(args: argparse.Namespace, ledger: Ledger) -> int:
    standing = ledger.set_limit(args.budget, args.amount, set_by=getpass.getuser(), month=args.month)
    is_short = standing.balance is not None and standing.balance < 0
    stopping = sorted(_to_be_stopped(ledger, standing)) if is_short else []
    warning = sorted(_to_be_warned_of(ledger, standing)) if is_short else []
    if args.json:
        said = {"budgets": [_facts(standing)], "stopping": stopping, "warning": warning}
        say_json({"month": standing.month, **said})
        return DONE
    _print_standings([standing])
    if is_short:
        _print_overdrawn(standing, stopping)
    if warning:
        _print_warning(warning)
    return DONE


def _to_be_stopped(ledger: Ledger, standing: Standing) -> Iterator[str]:
    """The open jobs whose money the lowered limit takes away, by today's books: bills that come meanwhile may save some of them."""
    open_ones = ledger.open_reservations()
    chosen = overdrawn_now(ledger, open_ones)
    for one in open_ones:
        if one.key in chosen and one.month == standing.month and standing.budget in one.charge.payer.budgets():
            yield one.key


def _to_be_warned_of(ledger: Ledger, standing: Standing) -> set[str]:
    """The endpoints and workspaces that run by the hour on the overdrawn budget of this month."""
    if standing.month != month_of(ledger.now()):
        return set()
    running = [one for one in Meters(ledger).running() if standing.budget in one.payer.budgets()]
    return {
        one.resource.rsplit(":", 1)[-1].replace("/", " ", 1)
        for one in running
        if ":endpoint/" in one.resource or (":workspace/" in one.resource and one.part == "machine")
    }


def _print_warning(warning: Sequence[str]) -> None:
    say(
        "What runs by the hour the schedule stop-idle warns of within ten minutes, and half an hour later it stops workspaces, with"
        "\ntheir files kept, and does with endpoints what they were deployed to have done. A higher limit before then saves them."
        f"\n  {', '.join(warning)}"
    )


def _print_overdrawn(standing: Standing, stopping: Sequence[str]) -> None:
    said = standing.sentence()
    say(f"\n{said[:1].upper()}{said[1:]}. Nothing more is launched of it.")
    if not stopping:
        say("No training job is stopped for it.")
        return
    say(
        "Training jobs that will be stopped for it, by today's books, when somebody looks at them next: who follows them within"
        f"\nseconds, the schedule follow-jobs within two minutes, `trainmaster train status JOB` at once. A higher limit before then"
        f" saves them.\n  {', '.join(stopping)}"
    )


def _print_standings(standings: Sequence[Standing]) -> None:
    say(f"{month_name(standings[0].month)} (UTC), in US dollars")
    allowed = any(standing.allowed for standing in standings)
    header = ("BUDGET", "LIMIT", "ALLOWED", "BILLED", "RESERVED", "LEFT", "COMMITTED")
    rows = [header, *map(_row, standings)]
    _print_table(rows if allowed else [row[:2] + row[3:] for row in rows], left=1)
    if allowed:
        say("ALLOWED is the part of the limit that was approved for single jobs, in this month alone; see history.")


def _row(standing: Standing) -> tuple[str, ...]:
    percent = "" if standing.percent is None else f"{standing.percent} %"
    limit = "none" if standing.limit is None else shown(standing.limit)
    allowed = shown(standing.allowed) if standing.allowed else ""
    left = "" if standing.balance is None else shown_left(standing.balance)
    return (str(standing.budget), limit, allowed, shown(standing.settled), shown(standing.reserved), left, percent)


def _print_reserved(reserved: Sequence[Reservation]) -> None:
    """The newest first; what serves or runs on has a line for each of its tranches that is not billed yet."""
    say("\nReserved, and billed when it is over")
    newest = sorted(reserved, key=lambda one: one.position, reverse=True)
    rows = [("SINCE (UTC)", "FOR", "WHOSE", "AMOUNT")]
    rows += [
        (
            f"{one.reserved_at:%Y-%m-%d %H:%M}",
            tranche_title(one.key),
            _whose(one.charge.payer.budgets()),
            shown(one.charge.amount),
        )
        for one in newest[:MOST_RESERVED]
    ]
    _print_table(rows, left=3)
    if len(newest) > MOST_RESERVED:
        say(f"and {len(newest) - MOST_RESERVED:,} older ones; --json has them all.")


def _facts(standing: Standing) -> dict[str, Any]:
    return {
        "budget": standing.budget.code,
        "limit": _exact(standing.limit),
        "allowed": _exact(standing.allowed),
        "billed": _exact(standing.settled),
        "reserved": _exact(standing.reserved),
        "balance": _exact(standing.balance),
    }


def _reserved_facts(one: Reservation) -> dict[str, Any]:
    return {
        "key": one.key,
        "for": tranche_title(one.key),
        "resource": one.charge.resource,
        "since": one.reserved_at.isoformat(),
        "amount": _exact(one.charge.amount),
        "hourly": _exact(one.charge.hourly),
        "budgets": [budget.code for budget in one.charge.payer.budgets()],
    }


def _whose(budgets: Sequence[Budget]) -> str:
    """The account pays everything: it is named only where nobody else does."""
    return ", ".join(str(budget) for budget in budgets if budget != ACCOUNT or len(budgets) == 1)


def _history(args: argparse.Namespace, ledger: Ledger) -> int:
    happenings = ledger.history(args.month, args.budget, limit=args.limit)
    if args.json:
        say_json({"history": [_told(one) for one in happenings]})
        return DONE
    if not happenings:
        note("Nothing was reserved, billed or set.")
        return DONE
    rows = [("WHEN (UTC)", "WHAT", "FOR, OR BY", "WHOSE", "AMOUNT")]
    rows += [
        (
            f"{one.at:%Y-%m-%d %H:%M:%S}",
            one.what,
            tranche_title(one.subject),
            _whose(one.of),
            "no limit" if one.amount is None else shown(one.amount),
        )
        for one in happenings
    ]
    _print_table(rows, left=4)
    return DONE


def _told(one: Happening) -> dict[str, Any]:
    return {
        "at": one.at.isoformat(),
        "what": one.what,
        "amount": _exact(one.amount),
        "subject": one.subject,
        "budgets": [budget.code for budget in one.of],
        "month": one.month,
    }


def _print_table(rows: Sequence[tuple[str, ...]], left: int) -> None:
    """The first `left` columns begin at one edge, the others, numbers, end at one."""
    say(*table(rows, frozenset(range(left, len(rows[0])))))


def _exact(dollars: Decimal | None) -> str | None:
    """For machines: every digit, never an exponent."""
    return None if dollars is None else f"{dollars:f}"


def _amount(text: str) -> Decimal | None:
    if text == "none":
        return None
    try:
        return Decimal(text.removeprefix("$"))
    except InvalidOperation:
        raise argparse.ArgumentTypeError(f"{text!r} is no amount; write 50, 12.50 or none") from None


def _count(text: str) -> int:
    if not (text.isdecimal() and int(text)):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of lines")
    return int(text)


def _month(text: str) -> str:
    try:
        return read_month(text) if text else ""
    except RefusedError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _team(text: str) -> Budget:
    if not TEAM_NAME.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no team's name: letters, digits, dots, dashes, at most 63")
    return Budget("team", text)


def _user(text: str) -> Budget:
    try:
        return Budget("user", str(UUID(text)))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no user's id (a UUID)") from None
