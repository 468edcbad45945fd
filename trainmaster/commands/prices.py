"""`trainmaster prices show|refresh|equivalent`: what instances cost, by whom that is said, and asking AWS anew."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError
from pydantic import ValidationError

from trainmaster.aws.failures import code_of
from trainmaster.aws.price_list import price_list_client, products
from trainmaster.budget.equivalents import Equivalent, equivalent_of, equivalents
from trainmaster.budget.hardware import hardware_of
from trainmaster.budget.price_list import Offered, Offers, queries
from trainmaster.budget.prices import STORAGE, USES, Price, PriceList, Use, known_prices
from trainmaster.budget.refreshing import Refresh, keep
from trainmaster.datasets.showing.wording import counted
from trainmaster.errors import RefusedError, TrainmasterError, UnknownPriceError
from trainmaster.settings import Settings

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

DONE, REFUSED, FAILED = 0, 1, 2
_SHOWN = 10  # of what AWS's list says oddly
_NOT_ALLOWED = {"AccessDeniedException", "UnrecognizedClientException", "ExpiredTokenException"}


def add_parser(commands: Subparsers) -> None:
    """`trainmaster prices` and its subcommands. Exit codes: 0 done, 1 refused, 2 could not be done now."""
    about = "What instances cost, with the source and the date of every figure. What has no price is not launched."
    prices = commands.add_parser("prices", help="what instances cost, and asking AWS anew", description=about)
    subcommands = prices.add_subparsers(required=True, metavar="COMMAND")

    show = _parser(subcommands, "show", "known prices, cheapest first", _show)
    show.add_argument("type", nargs="?", metavar="TYPE", help="of this type only, such as ml.g5.xlarge, for every use")
    show.add_argument("--region", metavar="NAME", help="AWS_REGION without it")
    show.add_argument("--use", choices=USES, help="training, unless a TYPE is given")
    show.add_argument("--json", action="store_true", help="as one JSON object")

    refresh = _parser(subcommands, "refresh", "ask AWS's Price List API, and use its prices from now on", _refresh)
    refresh.add_argument(
        "--region", action="append", metavar="NAME", help="may be given several times; AWS_REGION without it"
    )
    refresh.add_argument("--use", action="append", choices=USES, help="may be given several times; all without it")
    refresh.add_argument("--dry-run", action="store_true", help="only say what would change")
    refresh.add_argument(
        "--accept-large-changes", action="store_true",
        help="take prices that are more than twice or less than half the known ones, and the loss of most of them",
    )  # fmt: skip

    equivalent = _parser(
        subcommands, "equivalent", "the SageMaker type for an instance of Lambda Labs, and what both cost", _equivalent
    )
    equivalent.add_argument("type", nargs="?", metavar="TYPE", help="Lambda's name, such as gpu_1x_a10; all without it")
    equivalent.add_argument("--region", metavar="NAME", help="AWS_REGION without it")


def _parser(
    prices: Subparsers, name: str, help_line: str, run: Callable[[argparse.Namespace, Settings], int]
) -> argparse.ArgumentParser:
    parser = prices.add_parser(name, help=help_line, description=f"{help_line[0].upper()}{help_line[1:]}.")
    parser.set_defaults(run=lambda args: _exit_code(run, args))
    return parser


def _exit_code(run: Callable[[argparse.Namespace, Settings], int], args: argparse.Namespace) -> int:
    try:
        return run(args, Settings())
    except ValidationError as error:
        for wrong in error.errors():
            print(f"{wrong['loc'][-1]} cannot be {wrong['input']!r}: {wrong['msg']}.", file=sys.stderr)
        return FAILED
    except TrainmasterError as error:
        print(error, file=sys.stderr)
        return REFUSED if isinstance(error, RefusedError) else FAILED
    except (BotoCoreError, ClientError) as error:
        allow = " Its caller must be allowed pricing:GetProducts." if code_of(error) in _NOT_ALLOWED else ""
        print(f"{error}.{allow} Nothing was changed.", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("\nInterrupted. Nothing was changed.", file=sys.stderr)
        return 130


def _show(args: argparse.Namespace, settings: Settings) -> int:
    region, known = args.region or settings.region, known_prices(settings.refreshed_prices)
    prices = _asked(known, args.type, args.use, region)
    if args.json:
        print(json.dumps({"region": region, "prices": [_facts(price) for price in prices]}))
        return DONE
    _print_table(
        ("TYPE", "USE", "USD", "PER", "VCPU", "MEMORY", "GPU", "AS OF", "SOURCE"), map(_row, prices), numbers={2, 4, 5}
    )
    return DONE


def _asked(known: PriceList, instance_type: str | None, use: Use | None, region: str) -> list[Price]:
    """Cheapest first, storage last. Raises UnknownPriceError when there are none."""
    uses: Sequence[Use] = [use] if use else USES if instance_type else ["training"]
    prices = [
        price for each in uses for price in known.of(each, region) if instance_type in (None, price.item)
    ]  # fmt: skip
    if not prices:
        use = use or ("training" if not instance_type or instance_type.startswith("ml.") else "ec2")
        raise UnknownPriceError(instance_type or "any type", use, region, known.instance_types(use, region))
    return sorted(prices, key=lambda price: (price.item == STORAGE, price.usd, price.item))


def _per(price: Price) -> str:
    return "GB-month" if price.item == STORAGE else "hour"


def _row(price: Price) -> tuple[str, ...]:
    hardware = hardware_of(price.item)
    inside = (str(hardware.vcpus), f"{hardware.memory_gib} GiB", hardware.gpus_said) if hardware else ("", "", "")
    return (price.item, price.use, f"{price.usd:f}", _per(price), *inside, price.as_of, price.source)


def _facts(price: Price) -> dict[str, Any]:
    """Money is a string: a JSON number would be read as a float."""
    hardware = hardware_of(price.item)
    inside = None
    if hardware:
        inside = {"vcpus": hardware.vcpus, "memory_gib": hardware.memory_gib, "gpus": hardware.gpus}
        if hardware.gpus:
            inside |= {"gpu": hardware.gpu, "gpu_memory_gb": hardware.gpu_memory_gb}  # type: ignore[dict-item]
    return {**price.row(), "per": _per(price), "hardware": inside}


def _refresh(args: argparse.Namespace, settings: Settings) -> int:
    known, client = known_prices(settings.refreshed_prices), price_list_client()
    regions = list(dict.fromkeys(args.region or [settings.region]))
    uses: Sequence[Use] = list(dict.fromkeys(args.use or USES))
    refreshes = []
    for region in regions:
        found = [_refreshed(client, use, region, known) for use in uses]
        if not any(refresh.prices for refresh in found):
            print(
                f"The price list that was asked has no price for {region}: check its spelling. An embedded AWS lists what is shipped"
                " alone; unset AWS_ENDPOINT_URL to ask AWS itself. Nothing was changed.",
                file=sys.stderr,
            )
            return REFUSED
        refreshes += [refresh for refresh in found if refresh.prices or refresh.known_before]
    doubts = [doubt for refresh in refreshes for doubt in refresh.doubts]
    if doubts and not args.accept_large_changes:
        print("Nothing was changed, for some of this is hard to believe:", file=sys.stderr)
        for doubt in doubts:
            print(f"  {doubt}", file=sys.stderr)
        print("If AWS's own price page agrees: the same command with --accept-large-changes.", file=sys.stderr)
        return REFUSED
    if args.dry_run:
        print("Nothing was changed. Do it: the same command without --dry-run.")
        return DONE
    keep(settings.refreshed_prices, refreshes)
    total = sum(len(refresh.prices) for refresh in refreshes)
    print(f"{counted(total, 'price')} in {settings.refreshed_prices}, used from now on.")
    return DONE


def _refreshed(client: Any, use: Use, region: str, known: PriceList) -> Refresh:
    """Ask, and say what differs."""
    offers = Offers(use, region)
    asked = queries(use, region)
    for query in asked:
        offers.read(query, products(client, query))
    # With its address, for that may be an AWS on this machine.
    source = f"AWS Price List API, {asked[0].service}, {client.meta.endpoint_url}"
    offered = offers.offered(datetime.now(UTC).date().isoformat(), source)
    refresh = Refresh.of(use, region, known, offered.prices)
    same = len(offered.prices) - sum(change.new is not None for change in refresh.changes)
    print(f"{region} {use}: {counted(len(offered.prices), 'price')}, {same} as known.")
    for change in refresh.changes:
        print(f"  {change}")
    _say_refused(offered)
    return refresh


def _say_refused(offered: Offered) -> None:
    for item, why in list(offered.refused.items())[:_SHOWN]:
        print(f"  refused  {item:<22} {why}", file=sys.stderr)
    if len(offered.refused) > _SHOWN:
        print(f"  refused  {len(offered.refused) - _SHOWN} more", file=sys.stderr)


def _equivalent(args: argparse.Namespace, settings: Settings) -> int:
    region, known = args.region or settings.region, known_prices(settings.refreshed_prices)
    if args.type:
        print(equivalent_of(args.type).sentence(known, region))
        return DONE

    def row(each: Equivalent) -> tuple[str, ...]:
        price = known.instance(each.sagemaker_type, "training", region)
        return (each.lambda_type, each.gpus, f"{each.usd:f}", each.sagemaker_type, f"{price.usd:f}", each.note)

    _print_table(
        ("LAMBDA LABS", "GPU", "USD", "SAGEMAKER", "USD", "NOTE"), map(row, equivalents().values()), numbers={2, 4}
    )
    return DONE


def _print_table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]], numbers: set[int]) -> None:
    table = [head, *rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table:
        cells = [
            cell.rjust(width) if at in numbers else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        print("  ".join(cells).rstrip())
