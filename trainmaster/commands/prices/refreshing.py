"""`trainmaster prices refresh`: what instances cost, asked of AWS anew."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from trainmaster.aws.failures import code_of
from trainmaster.aws.price_list import price_list_client, products
from trainmaster.budget.price_list import Offered, Offers, queries
from trainmaster.budget.prices import USES, PriceList, Use, known_prices
from trainmaster.budget.refreshing import Refresh, keep
from trainmaster.commands.terminal.ending import FAILED
from trainmaster.commands.terminal.reporting import DONE, REFUSED, add_command, note, say, say_json
from trainmaster.plain_words import counted
from trainmaster.settings import Settings

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

_SHOWN = 10  # of what AWS's list says oddly
_NOT_ALLOWED = {"AccessDeniedException", "UnrecognizedClientException", "ExpiredTokenException"}


def add_commands(prices: Subparsers) -> None:
    """The one that asks AWS."""
    refresh = add_command(prices, "refresh", "ask AWS's Price List API, and use its prices from now on", _refresh)
    refresh.add_argument(
        "--region", action="append", metavar="NAME", help="may be given several times; AWS_REGION without it"
    )
    refresh.add_argument("--use", action="append", choices=USES, help="may be given several times; all without it")
    refresh.add_argument("--dry-run", action="store_true", help="only say what would change")
    refresh.add_argument(
        "--accept-large-changes", action="store_true",
        help="take prices that are more than twice or less than half the known ones, and the loss of most of them",
    )  # fmt: skip


def _refresh(args: argparse.Namespace, settings: Settings) -> int:
    known = known_prices(settings.refreshed_prices)
    try:
        refreshes, unknown = _asked(args, settings, known)
    except (BotoCoreError, ClientError) as error:
        allow = " Its caller must be allowed pricing:GetProducts." if code_of(error) in _NOT_ALLOWED else ""
        return _refused(args, [f"{error}.{allow} Nothing was changed."], [], FAILED)
    if unknown:
        said = (
            f"The price list that was asked has no price for {unknown}: check its spelling. An embedded AWS lists what is shipped"
            " alone; unset AWS_ENDPOINT_URL to ask AWS itself. Nothing was changed."
        )
        return _refused(args, [said], refreshes, REFUSED)
    doubts = [str(doubt) for refresh in refreshes for doubt in refresh.doubts]
    if doubts and not args.accept_large_changes:
        said = "Nothing was changed, for some of this is hard to believe:"
        remedy = "If AWS's own price page agrees: the same command with --accept-large-changes."
        return _refused(args, [said, *(f"  {one}" for one in doubts), remedy], refreshes, REFUSED)
    if not args.dry_run:
        keep(settings.refreshed_prices, refreshes)
    if args.json:
        said = str(settings.refreshed_prices)
        say_json({"changed": not args.dry_run, "file": said, "refreshed": [_facts(one) for one in refreshes]})
    elif args.dry_run:
        say("Nothing was changed. Do it: the same command without --dry-run.")
    else:
        total = sum(len(refresh.prices) for refresh in refreshes)
        say(f"{counted(total, 'price')} in {settings.refreshed_prices}, used from now on.")
    return DONE


def _asked(args: argparse.Namespace, settings: Settings, known: PriceList) -> tuple[list[Refresh], str]:
    """What AWS says; with the first region of which it knows no price, if there is one."""
    client = price_list_client()
    uses: Sequence[Use] = list(dict.fromkeys(args.use or USES))
    refreshes: list[Refresh] = []
    for region in dict.fromkeys(args.region or [settings.region]):
        found = [_refreshed(client, use, region, known, is_shown=not args.json) for use in uses]
        if not any(refresh.prices for refresh in found):
            return refreshes, region
        refreshes += [refresh for refresh in found if refresh.prices or refresh.known_before]
    return refreshes, ""


def _refused(args: argparse.Namespace, said: Sequence[str], refreshes: Sequence[Refresh], code: int) -> int:
    note(*said)
    if args.json:
        told = {"error": "PricesRefusedError", "message": "\n".join(said), "problems": []}
        say_json({**told, "changed": False, "refreshed": [_facts(one) for one in refreshes]})
    return code


def _facts(refresh: Refresh) -> dict[str, Any]:
    return {
        "region": refresh.region,
        "use": refresh.use,
        "prices": len(refresh.prices),
        "changes": [str(one) for one in refresh.changes],
        "doubts": [str(one) for one in refresh.doubts],
    }


def _refreshed(client: Any, use: Use, region: str, known: PriceList, *, is_shown: bool) -> Refresh:
    """Ask, and say what differs."""
    offers = Offers(use, region)
    asked = queries(use, region)
    for query in asked:
        offers.read(query, products(client, query))
    # With its address, for that may be an AWS on this machine.
    source = f"AWS Price List API, {asked[0].service}, {client.meta.endpoint_url}"
    offered = offers.offered(datetime.now(UTC).date().isoformat(), source)
    refresh = Refresh.of(use, region, known, offered.prices)
    if is_shown:
        same = len(offered.prices) - sum(change.new is not None for change in refresh.changes)
        say(f"{region} {use}: {counted(len(offered.prices), 'price')}, {same} as known.")
        say(*(f"  {change}" for change in refresh.changes))
    _note_refused(offered)
    return refresh


def _note_refused(offered: Offered) -> None:
    for item, why in list(offered.refused.items())[:_SHOWN]:
        note(f"  refused  {item:<22} {why}")
    if len(offered.refused) > _SHOWN:
        note(f"  refused  {len(offered.refused) - _SHOWN} more")
