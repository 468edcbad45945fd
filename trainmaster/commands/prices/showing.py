"""`trainmaster prices show|equivalent`: what instances cost, and by whom that is said. Asks nothing of AWS."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from trainmaster.budget.equivalents import equivalent_of, equivalents
from trainmaster.budget.hardware import hardware_of
from trainmaster.budget.prices import STORAGE, USES, Price, PriceList, Use, known_prices
from trainmaster.commands.terminal.reporting import DONE, add_local_command, say, say_json
from trainmaster.commands.terminal.tables import table
from trainmaster.errors import UnknownPriceError

if TYPE_CHECKING:
    from trainmaster.local_settings import LocalSettings

    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]


def add_commands(prices: Subparsers) -> None:
    """Those that look and change nothing."""
    show = add_local_command(prices, "show", "known prices, cheapest first", _show)
    show.add_argument("type", nargs="?", metavar="TYPE", help="of this type only, such as ml.g5.xlarge, for every use")
    show.add_argument("--region", metavar="NAME", help="AWS_REGION without it")
    show.add_argument("--use", choices=USES, help="training, unless a TYPE is given")
    equivalent = add_local_command(
        prices, "equivalent", "the SageMaker type for an instance of Lambda Labs, and what both cost", _equivalent
    )
    equivalent.add_argument("type", nargs="?", metavar="TYPE", help="Lambda's name, such as gpu_1x_a10; all without it")
    equivalent.add_argument("--region", metavar="NAME", help="AWS_REGION without it")


def _show(args: argparse.Namespace, settings: LocalSettings) -> int:
    region, known = args.region or settings.region, known_prices(settings.refreshed_prices)
    prices = _asked(known, args.type, args.use, region)
    if args.json:
        say_json({"region": region, "prices": [_facts(price) for price in prices]})
        return DONE
    head = ("TYPE", "USE", "USD", "PER", "VCPU", "MEMORY", "GPU", "AS OF", "SOURCE")
    say(*table([head, *map(_row, prices)], frozenset({2, 4, 5})))
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


def _equivalent(args: argparse.Namespace, settings: LocalSettings) -> int:
    region, known = args.region or settings.region, known_prices(settings.refreshed_prices)
    chosen = [equivalent_of(args.type)] if args.type else list(equivalents().values())
    usd = {one.sagemaker_type: known.instance(one.sagemaker_type, "training", region).usd for one in chosen}
    if args.json:
        told = [
            {**asdict(one), "usd": f"{one.usd:f}", "sagemaker_usd": f"{usd[one.sagemaker_type]:f}"} for one in chosen
        ]
        say_json({"region": region, "equivalents": told})
    elif args.type:
        say(chosen[0].sentence(known, region))
    else:
        rows = [
            (one.lambda_type, one.gpus, f"{one.usd:f}", one.sagemaker_type, f"{usd[one.sagemaker_type]:f}", one.note)
            for one in chosen
        ]
        say(*table([("LAMBDA LABS", "GPU", "USD", "SAGEMAKER", "USD", "NOTE"), *rows], frozenset({2, 4})))
    return DONE
