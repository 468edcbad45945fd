"""Which instance types a fine-tuning fits, how long it takes on each, and what it costs: cheapest first. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from decimal import ROUND_UP, Decimal
from typing import Any

from trainmaster.budget.approval import training_rate
from trainmaster.budget.hardware import Hardware, hardware_of, known_types
from trainmaster.budget.prices import PriceList
from trainmaster.datasets.tokens import CHARACTERS_PER_TOKEN
from trainmaster.errors import UnknownPriceError
from trainmaster.training.memory import USABLE, WITHOUT_BF16, Memory, Setup, fits, memory
from trainmaster.training.shapes import Shape
from trainmaster.training.speed import Data, seconds

TOKENS_MORE = 1.5
"""By how much more tokens the longest example may have than its characters say, before it is thought shorter than max_length."""
COUNTS = (1, 2, 4, 8)
"""How many instances are tried when one is not enough."""


@dataclass(frozen=True)
class Market:
    """Where so many instances are taken, at what prices, each with a volume."""

    prices: PriceList
    region: str
    instances: int = 1
    volume_gb: int = 30


@dataclass(frozen=True)
class Choice:
    """An instance type and how many of it. `usd` is on demand, None where no price is known; `seconds` None where nobody said how much
    there is to train on, or the GPU's speed is not known."""

    instance_type: str
    instances: int
    hardware: Hardware
    need: Memory
    hourly: Decimal | None
    seconds: float | None
    usd: Decimal | None
    is_best: bool = False
    """Whether no other is both cheaper and quicker."""

    @property
    def fits(self) -> bool:
        return fits(self.need, self.hardware)

    @property
    def is_tight(self) -> bool:
        """Whether it fits by less than the estimate may be off."""
        return self.fits and self.need.gigabytes > 0.8 * USABLE * self.hardware.gpu_memory_gb

    def spot_usd(self, share: Decimal) -> Decimal | None:
        """What it is likely to cost on spot instances, at their usual share of the price."""
        return None if self.usd is None else self.usd * share


@dataclass(frozen=True)
class Estimate:
    """Of a model that is trained in one way on some data. `choices` fit, cheapest first, those of unknown price last; `too_small` do not."""

    shape: Shape
    setup: Setup
    data: Data | None
    choices: tuple[Choice, ...]
    too_small: tuple[Choice, ...]


def estimate(
    shape: Shape, setup: Setup, data: Data | None, market: Market, types: Iterable[str] | None = None
) -> Estimate:
    """Of all types with GPUs that are known, or of those named. Never raises: what has no price is said to have none."""
    named = types if types is not None else (f"ml.{one}" for one in known_types())
    found = [
        _choice(one, hardware, shape, setup, data, market)
        for one in named
        if (hardware := hardware_of(one)) and hardware.gpus
    ]
    fitting = sorted((one for one in found if one.fits), key=_dearness)
    return Estimate(shape, setup, data, tuple(_with_best(fitting)), tuple(one for one in found if not one.fits))


def instances_needed(shape: Shape, setup: Setup, instance_type: str, *, longest: int = 0) -> int | None:
    """The least of 1, 2, 4 and 8 instances that it fits; None when it fits none of them."""
    hardware = hardware_of(instance_type)
    if hardware is None or not hardware.gpus:
        return None
    return next((n for n in COUNTS if fits(need_on(shape, setup, hardware, n, longest), hardware)), None)


def need_on(shape: Shape, setup: Setup, hardware: Hardware, instances: int = 1, longest: int = 0) -> Memory:
    """Of each GPU of so many instances."""
    gpus, wide = max(hardware.gpus, 1) * instances, hardware.gpu in WITHOUT_BF16
    return memory(shape, setup, gpus=gpus, longest=longest, wide=wide)


def data_of(
    total_examples: int | None,
    average_characters: float | None,
    metadata: Mapping[str, Any] | None = None,
) -> Data | None:
    """Of a dataset as the catalogue has counted it: tokens by its tokenizer where one was named, else a fourth of the characters. None
    where nobody has counted."""
    if not total_examples or average_characters is None:
        return None
    counted = (metadata or {}).get("statistics")
    statistics: Mapping[str, Any] = counted if isinstance(counted, Mapping) else {}
    exact = statistics.get("exact_tokens")
    tokens = (
        exact / total_examples if isinstance(exact, int) and exact > 0 else average_characters / CHARACTERS_PER_TOKEN
    )
    highest = [
        part["high"]
        for part in (statistics.get("input_length"), statistics.get("output_length"))
        if isinstance(part, Mapping) and isinstance(part.get("high"), int)
    ]
    longest = round(TOKENS_MORE * sum(highest) / CHARACTERS_PER_TOKEN) if len(highest) == 2 else 0
    return Data(total_examples, max(tokens, 1.0), longest)


def together(parts: Iterable[Data | None]) -> Data | None:
    """Several datasets as one; None when one of them has not been counted, or there is none."""
    found = list(parts)
    known = [one for one in found if one]
    examples = sum(one.examples for one in known)
    if not examples or len(known) != len(found):
        return None
    tokens = sum(one.examples * one.tokens for one in known) / examples
    return Data(examples, tokens, max(one.longest for one in known) if all(one.longest for one in known) else 0)


def _choice(  # noqa: PLR0917 - one for each thing it depends on
    instance_type: str, hardware: Hardware, shape: Shape, setup: Setup, data: Data | None, market: Market
) -> Choice:
    instances = market.instances
    need = need_on(shape, setup, hardware, instances, data.longest if data else 0)
    took = seconds(shape, setup, data, hardware, instances) if data else None
    try:
        rate = training_rate(market.prices, instance_type, instances, market.volume_gb, market.region)
    except UnknownPriceError:
        return Choice(instance_type, instances, hardware, need, None, took, None)
    usd = None if took is None else rate.cost(int(Decimal(took).to_integral_value(ROUND_UP)))
    return Choice(instance_type, instances, hardware, need, rate.hourly, took, usd)


def _dearness(one: Choice) -> tuple[bool, bool, Decimal, float, str]:
    amount = one.usd if one.usd is not None else one.hourly
    return one.hourly is None, one.usd is None, amount or Decimal(0), one.seconds or 0.0, one.instance_type


def _with_best(fitting: list[Choice]) -> Iterable[Choice]:
    """Cheapest first: each that is quicker than all before it is one of the best."""
    quickest = float("inf")
    for one in fitting:
        is_best = one.usd is not None and one.seconds is not None and one.seconds < quickest
        if is_best and one.seconds is not None:
            quickest = one.seconds
        yield replace(one, is_best=is_best)
