"""Instance types as people choose them in a form: each with what an hour of it costs and what is in it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from trainmaster.budget.hardware import hardware_of
from trainmaster.budget.money import CENT
from trainmaster.budget.prices import PriceList, Use, shipped_prices

REGION = "us-east-1"
"""Whose prices a form shows: it is made before anybody says where. What a run costs is worked out with those of its own region."""
_BETWEEN = " · "


def instance_label(instance_type: str, use: Use, prices: PriceList) -> str:
    """Such as `ml.g5.xlarge · $1.408/h · 1 × A10G 24 GB`. Raises UnknownPriceError."""
    hardware = hardware_of(instance_type)
    inside = [hardware.gpus_said or f"{hardware.vcpus} vCPU, {hardware.memory_gib} GiB"] if hardware else []
    usd = prices.instance(instance_type, use, REGION).usd
    hourly = f"${usd.quantize(CENT) if usd == usd.quantize(CENT) else usd:f}/h"
    return _BETWEEN.join([instance_type, hourly, *inside])


def instance_of(choice: Any) -> Any:
    """The instance type that a choice names, label or plain; what is no text is left to whoever validates it."""
    return choice.partition(_BETWEEN)[0].strip() if isinstance(choice, str) else choice


def known_types(use: Use) -> list[str]:
    """Those with a price, cheapest first."""
    return shipped_prices().instance_types(use, REGION)


def instance_choices(use: Use, types: Iterable[str]) -> list[str]:
    """What a form offers of them, in their order; then the plain names, which scripts give."""
    named = list(types)
    return [*(instance_label(one, use, shipped_prices()) for one in named), *named]
