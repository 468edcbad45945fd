"""Whether the instances that are asked for hold the models they are to serve. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from trainmaster.budget.hardware import Hardware, hardware_of
from trainmaster.budget.prices import PriceList
from trainmaster.endpoints.models.package import ModelPackage
from trainmaster.endpoints.request import EndpointChoices
from trainmaster.errors import ModelRefusedError

_SHOWN = 3
_ACCELERATED = ("inf", "trn")
"""Families whose chips the containers here know nothing of."""


def require_fitting(packages: Sequence[ModelPackage], choices: EndpointChoices, prices: PriceList, region: str) -> None:
    """Raises ModelRefusedError for a model larger than an instance's memory, and for models of several kinds on one endpoint.

    A type whose hardware nobody knows is let pass.
    """
    main = packages[0]
    for package in packages[1:]:
        if package.kind is not main.kind:
            raise ModelRefusedError(
                f"{package.uri} is a {package.kind.name} and {main.uri} a {main.kind.name}: one endpoint serves models of one"
                " kind. Give each an endpoint of its own."
            )
    for package in packages:
        _require_room(package, choices, prices, region)


def _require_room(package: ModelPackage, choices: EndpointChoices, prices: PriceList, region: str) -> None:
    least = package.kind.needed_gib(package.card, on_gpus=False)
    if not least:
        return
    if choices.serverless:
        if least > choices.serverless.memory_mb / 1024:
            has = f"a serverless place has {choices.serverless.memory_mb:,} MB"
            raise ModelRefusedError(
                f"{package.uri} needs about {least:,.1f} GiB to be served, and {has}. Ask for more, or for instances."
            )
        return
    kind, hardware = choices.instance_type, hardware_of(choices.instance_type)
    if hardware is None or _holds(package, kind, hardware):
        return
    fitting = [
        one
        for one in prices.instance_types("hosting", region)
        if (known := hardware_of(one)) is not None and _holds(package, one, known)
    ]
    with_gpu = next((one for one in fitting if (known := hardware_of(one)) and known.gpus), "")
    cheapest = list(dict.fromkeys([*fitting[:_SHOWN], *([with_gpu] if with_gpu else [])]))
    has = f"{hardware.gpus_said} on its GPUs" if hardware.gpus else f"{hardware.memory_gib} GiB"
    if kind.removeprefix("ml.").startswith(_ACCELERATED):
        has = "chips that AWS's container for it does not use"
    needed = package.kind.needed_gib(package.card, on_gpus=bool(hardware.gpus))
    raise ModelRefusedError(
        f"{package.uri} needs about {needed:,.1f} GiB to be served, and {kind} has {has}."
        f" Choose {', '.join(cheapest) or 'an instance type with a known price and more memory; there is none'}."
    )


def _holds(package: ModelPackage, instance_type: str, hardware: Hardware) -> bool:
    if instance_type.removeprefix("ml.").startswith(_ACCELERATED):
        return False
    has = hardware.gpus * hardware.gpu_memory_gb * 1e9 / (1 << 30) if hardware.gpus else hardware.memory_gib
    return package.kind.needed_gib(package.card, on_gpus=bool(hardware.gpus)) <= has
