"""What a workspace costs an hour: its machine, what the service adds, and its files. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from trainmaster.budget.prices import SESSION, PriceList, Use
from trainmaster.workspaces.templates.template import Template
from trainmaster.workspaces.workspace import ServiceType, Workspace

FREE = Decimal(0)
_USES: dict[ServiceType, Use] = {"ec2": "ec2", "sagemaker_studio": "studio"}
"""Of services that run on a machine with a volume."""


@dataclass(frozen=True)
class Rates:
    """US dollars an hour, at most. The machine and what the service adds are paid for while it runs, its storage for as long as it is
    there."""

    machine: Decimal
    service: Decimal
    storage: Decimal

    @property
    def running(self) -> Decimal:
        """What stops with it."""
        return self.machine + self.service

    @property
    def total(self) -> Decimal:
        """While it runs."""
        return self.running + self.storage


def rates_of(
    prices: PriceList,
    of: Template | Workspace,
    region: str,
    *,
    instance_type: str = "",
    volume_gb: int | None = None,
) -> Rates:
    """Of a template, as it is asked for, or of a workspace. Canvas costs by the session and Studio Lab nothing, whatever their size.

    Raises UnknownPriceError for a type, a service or a region nobody has a price of.
    """
    if of.service_type == "sagemaker_lab":
        return Rates(FREE, FREE, FREE)
    if of.service_type == "sagemaker_canvas":
        return Rates(FREE, prices.instance(SESSION, "canvas", region).usd, FREE)
    use, (its_type, its_gb) = _USES[of.service_type], _size(of)
    machine = prices.instance(instance_type or its_type, use, region).usd
    return Rates(machine, FREE, prices.storage_hour(volume_gb or its_gb, region, use))


def _size(of: Template | Workspace) -> tuple[str, int]:
    """The instance type and the GB of its volume."""
    if isinstance(of, Workspace):
        return of.instance_type, of.volume_gb
    return of.service_config.default_instance_type, of.service_config.volume_gb
