"""Lambda Labs is no platform here any more: the SageMaker instance that does the same, and what both cost."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from importlib.resources import files

from trainmaster.budget.hardware import hardware_of
from trainmaster.budget.prices import PriceList
from trainmaster.errors import UnknownChoiceError


@dataclass(frozen=True)
class Equivalent:
    """An instance of Lambda's, with its price an hour in US dollars, and the SageMaker type for the same work."""

    lambda_type: str
    gpus: str
    usd: Decimal
    as_of: str
    source: str
    sagemaker_type: str
    note: str

    def sentence(self, prices: PriceList, region: str) -> str:
        """Both costs in words; raises UnknownPriceError when SageMaker's is not known in the region."""
        price = prices.instance(self.sagemaker_type, "training", region)
        hardware = hardware_of(self.sagemaker_type)
        inside = f" ({hardware.gpus_said})" if hardware and hardware.gpus else ""
        note = f" {self.note}." if self.note else ""
        return (
            f"{self.lambda_type} ({self.gpus}) cost ${self.usd} an hour at Lambda Labs on {self.as_of}. Train on "
            f"{self.sagemaker_type}{inside} instead: ${price.usd} an hour in {region}, less when on spot.{note}"
        )


def equivalent_of(lambda_type: str) -> Equivalent:
    """Raises UnknownChoiceError, naming the types that are known."""
    found = equivalents().get(lambda_type.strip().lower())
    if found is None:
        raise UnknownChoiceError(
            f"No equivalent of {lambda_type!r} is known. Those of Lambda Labs are: {', '.join(equivalents())}."
        )
    return found


@cache
def equivalents() -> dict[str, Equivalent]:
    """By Lambda's names, as in `lambda_labs.csv` beside this file."""
    with files("trainmaster.budget").joinpath("lambda_labs.csv").open(encoding="utf-8") as file:
        return {
            row["type"]: Equivalent(
                row["type"],
                f"{row['gpus']} × {row['gpu']} {row['gpu_memory_gb']} GB",
                Decimal(row["usd"]),
                row["as_of"],
                row["source"],
                row["sagemaker"],
                row["note"],
            )
            for row in csv.DictReader(file)
        }
