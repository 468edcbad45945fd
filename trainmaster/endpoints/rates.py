"""What an endpoint's configuration costs by the hour at most, and how much of that runs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from trainmaster.budget.prices import PriceList
from trainmaster.endpoints.plan import SCALING_TAG, hosting_rate, variants_rate
from trainmaster.endpoints.scaling import tagged_scaling

_MEMORY = re.compile(r"(?P<variant>[^=,\s]+)=(?P<memory>\d+) MB")
Described = Mapping[str, Any]


def most_hourly(prices: PriceList, config: Described, tags: Mapping[str, str], region: str) -> Decimal:
    """US dollars an hour at most: of each variant, a shadow too, every instance autoscaling may add by what the configuration's tags
    say; what is serverless with every place taken. Raises UnknownPriceError."""
    scaling = tagged_scaling(tags.get(SCALING_TAG))
    return variants_rate(prices, list(variants(config)), region, scaling.max_instances if scaling else None)


def running_hourly(prices: PriceList, config: Described, region: str, what: str) -> Decimal:
    """US dollars an hour of the instances that run, by what `running` said. Raises UnknownPriceError."""
    counts = instances_in(what)
    kinds = [
        (one["InstanceType"], counts.get(one["VariantName"], 0)) for one in variants(config) if "InstanceType" in one
    ]
    return hosting_rate(prices, kinds, region)


def running(endpoint: Described, config_name: str) -> str:
    """What runs of a configuration, as `all-traffic=2` or, paid by use, `all-traffic=2048 MB`; "" where AWS does not say.

    Instances that are being started are paid for, and so are those that are being taken away.
    """
    pending = endpoint.get("PendingDeploymentSummary", {})
    of_it = endpoint if endpoint["EndpointConfigName"] == config_name else pending
    if of_it.get("EndpointConfigName") != config_name:
        return ""
    return ", ".join(said for variant in variants(of_it) if (said := _said(variant)))


def instances_in(what: str) -> dict[str, int]:
    """By variant how many instances run, by what `running` said."""
    told = (one.partition("=") for one in what.split(", "))
    return {variant: int(count) for variant, _, count in told if count.isdecimal()}


def memory_in(what: str) -> dict[str, int]:
    """By variant that is paid by use its memory in MB, by what `running` said."""
    return {found["variant"]: int(found["memory"]) for found in _MEMORY.finditer(what)}


def variants(config: Described) -> Iterator[Described]:
    """Those that answer, and those that only listen."""
    yield from config.get("ProductionVariants") or ()
    yield from config.get("ShadowProductionVariants") or ()


def _said(variant: Described) -> str:
    name = variant["VariantName"]
    serverless = variant.get("CurrentServerlessConfig") or variant.get("DesiredServerlessConfig")
    if serverless:
        return f"{name}={serverless['MemorySizeInMB']} MB"
    counts = [variant[member] for member in ("CurrentInstanceCount", "DesiredInstanceCount") if member in variant]
    return f"{name}={max(counts)}" if counts else ""
