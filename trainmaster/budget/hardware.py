"""What is in an instance type: processors, memory, GPUs. For people to choose by; no cost depends on it."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

_WITH_DISKS = frozenset(
    ["g4dn", "g5", "g6", "g6e", "p3dn", "p4d", "p4de", "p5", "p5e", "p5en", "r5d", "trn1", "trn1n", "trn2"]
)
"""Families whose instances come with NVMe disks, which SageMaker uses in place of a volume; see ResourceConfig in its API."""


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


def known_types() -> list[str]:
    """The instance types whose hardware is known, as EC2 names them."""
    return list(_known())


def has_own_disks(instance_type: str) -> bool:
    """Whether a type trains on disks of its own: those are encrypted by themselves, and take no KMS key."""
    return instance_type.removeprefix("ml.").partition(".")[0] in _WITH_DISKS


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
