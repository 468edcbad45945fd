"""What to ask AWS's Price List API for, and how to read a price out of its answers. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from typing import Any

from trainmaster.budget.prices import BUILDER, SESSION, STORAGE, Price, Use

_INSTANCE = r"[a-z0-9-]+\.[a-z0-9-]+"
_PLACE = r"(?:[A-Z0-9]+-)?"  # such as USE1-; EC2 in us-east-1 has none
_HOURS, _GB_MONTHS = {"hrs", "hours", "hour"}, {"gb-mo", "gb-month", "gbmonth"}
_MINUTES = {"minutes", "minute", "mins"}


@dataclass(frozen=True)
class Query:
    """One GetProducts: the filters are TERM_MATCH, and `usage_type` matches exactly the products that are meant. `part` is, where the
    filters alone leave thousands, what their usage type contains.

    AWS prices free hours, spot, capacity reservations and training plans under types of their own, some with the same
    attributes as the plain instance; the usage type tells them apart. Its group 1 is the instance type.
    """

    service: str
    filters: Mapping[str, str]
    usage_type: re.Pattern[str]
    units: frozenset[str]
    part: str = ""
    times: int = 1
    """How many of AWS's units are one of ours: 60 where it prices minutes."""

    def item(self, usage_type: str) -> str | None:
        """The instance type, SESSION or STORAGE, that a product of this usage type prices; None for one that is not meant."""
        found = self.usage_type.fullmatch(usage_type)
        return (found[1] if found.re.groups else STORAGE) if found else None


_SAGEMAKER: dict[Use, tuple[str, str, str]] = {
    "training": ("Training", "Train:", r"Train:VolumeUsage\.gp2"),
    "hosting": ("Hosting", "Host:", r"Host:VolumeUsage\.gp2"),
    "studio": ("Studio-JupyterLab", "Studio:JupyterLab-", r"Studio:VolumeUsage\.gp3"),
}
"""By use: `platoinstancetype`, what comes before the instance in the usage type, and that of the volume."""


def queries(use: Use, region: str) -> tuple[Query, ...]:
    """Those for the instances, or sessions, and for the storage of a use, as far as it has them."""
    place = {"regionCode": region}
    if use == "canvas":
        return (_query("AmazonSageMaker", place, f"Canvas:({SESSION})", _HOURS, f"Canvas:{SESSION}"),)
    if use == "build":
        builds = _query("CodeBuild", place, rf"Build-Min:Linux:({re.escape(BUILDER)})", _MINUTES, "Build-Min:Linux:g1")
        return (replace(builds, times=60),)
    if use == "efs":
        return (_query("AmazonEFS", place | {"productFamily": "Storage"}, "TimedStorage-ByteHrs", _GB_MONTHS),)
    if use == "ec2":
        plain = {"tenancy": "Shared", "operatingSystem": "Linux", "preInstalledSw": "NA", "capacitystatus": "Used"}
        return (
            _query("AmazonEC2", place | {"productFamily": "Compute Instance"} | plain, f"BoxUsage:({_INSTANCE})", _HOURS),
            _query("AmazonEC2", place | {"productFamily": "Storage", "volumeApiName": "gp3"}, r"EBS:VolumeUsage\.gp3", _GB_MONTHS),
        )  # fmt: skip
    component, before, volume = _SAGEMAKER[use]
    instances = place | {"productFamily": "ML Instance", "platoinstancetype": component}
    return (
        _query("AmazonSageMaker", instances, rf"{before}(ml\.{_INSTANCE})", _HOURS),
        _query("AmazonSageMaker", place | {"productFamily": "Storage"}, volume, _GB_MONTHS),
    )


def _query(service: str, filters: Mapping[str, str], usage_type: str, units: set[str], part: str = "") -> Query:
    return Query(service, filters, re.compile(_PLACE + usage_type), frozenset(units), part)


@dataclass(frozen=True)
class Offered:
    """What AWS offers for a use: the prices, and why others were refused, by their item."""

    prices: list[Price]
    refused: dict[str, str]


class Offers:
    """Gathers the prices of one use in one region from any number of answers; keeps nothing else of them."""

    def __init__(self, use: Use, region: str) -> None:
        self._use, self._region = use, region
        self._amounts: dict[str, set[Decimal]] = {}
        self._wrong: dict[str, str] = {}

    def read(self, query: Query, documents: Iterable[str]) -> None:
        """Take up the answers to a query: JSON documents of one product each, in the format `aws_v1`."""
        for document in documents:
            product = json.loads(document)
            attributes = product.get("product", {}).get("attributes", {})
            item = query.item(attributes.get("usagetype", ""))
            if item is None or attributes.get("regionCode", self._region) != self._region:
                continue
            try:
                amounts = {amount * query.times for amount in _amounts(product, query.units) if amount}
            except ValueError as error:
                self._wrong.setdefault(item, str(error))
            except KeyError as lacking:
                self._wrong.setdefault(item, f"its terms lack {lacking}")
            else:
                self._amounts.setdefault(item, set()).update(amounts)

    def offered(self, as_of: str, source: str) -> Offered:
        """Exactly one price for each item, or it is refused. One that costs nothing is a free tier's, and no price."""
        refused = dict(self._wrong)
        prices = []
        for item, amounts in sorted(self._amounts.items()):
            if item in refused:
                continue
            if len(amounts) == 1:
                prices.append(Price(self._region, self._use, item, next(iter(amounts)), as_of, source))
            else:
                refused[item] = f"{len(amounts)} prices: {_listed(amounts)}" if amounts else "no price but $0"
        return Offered(prices, refused)


def _amounts(product: Mapping[str, Any], units: frozenset[str]) -> Iterable[Decimal]:
    """Raises ValueError for a unit or a currency that is none of ours."""
    for term in product.get("terms", {}).get("OnDemand", {}).values():
        for dimension in term["priceDimensions"].values():
            if dimension["unit"].lower() not in units:
                raise ValueError(f"priced by {dimension['unit']!r}")
            dollars = dimension["pricePerUnit"].get("USD")
            if dollars is None:
                raise ValueError(f"priced in {', '.join(dimension['pricePerUnit'])}, not in USD")
            try:
                amount = Decimal(dollars)
            except InvalidOperation:
                raise ValueError(f"priced at {dollars!r}") from None
            if not (amount.is_finite() and amount >= 0):
                raise ValueError(f"priced at {dollars}")
            yield Decimal(f"{amount.normalize():f}")


def _listed(amounts: set[Decimal]) -> str:
    return ", ".join(f"${amount}" for amount in sorted(amounts))
