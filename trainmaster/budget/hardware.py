"""What is in an instance type: processors, memory, GPUs. For people to choose by; no cost depends on it."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from importlib.resources import files


@dataclass(frozen=True)
class Hardware:
    """Memory in GiB, that of a GPU in GB each. Trainium and Inferentia are no GPUs."""

    vcpus: int
    memory_gib: int
    gpus: int
    gpu: str
    gpu_memory_gb: int

    @property
    def gpus_said(self) -> str:
        """Such as `4 × A10G 24 GB`; empty without one."""
        return f"{self.gpus} × {self.gpu} {self.gpu_memory_gb} GB" if self.gpus else ""


def hardware_of(instance_type: str) -> Hardware | None:
    """That of `ml.g5.xlarge`, the same as of `g5.xlarge`; None when it is not known."""
    return _known().get(instance_type.removeprefix("ml."))


@cache
def _known() -> dict[str, Hardware]:
    with files("trainmaster.budget").joinpath("instances.csv").open(encoding="utf-8") as file:
        return {
            row["type"]: Hardware(
                int(row["vcpus"]),
                int(row["memory_gib"]),
                int(row["gpus"]),
                row["gpu"],
                int(row["gpu_memory_gb"] or 0),
            )
            for row in csv.DictReader(file)
        }
