"""What is most like something that is not allowed, among what is. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from difflib import SequenceMatcher
from math import log2

from trainmaster.budget.hardware import Hardware, hardware_of, known_types

_ALIKE: Mapping[str, tuple[str, ...]] = {
    "sagemaker_studio": ("sagemaker_lab", "ec2", "sagemaker_canvas"),
    "sagemaker_lab": ("sagemaker_studio", "ec2", "sagemaker_canvas"),
    "sagemaker_canvas": ("sagemaker_studio", "sagemaker_lab", "ec2"),
    "ec2": ("sagemaker_studio", "sagemaker_lab", "sagemaker_canvas"),
}
"""What does most of the same work first. Nothing does the work of training or of an endpoint."""


def nearest_service(asked: str, allowed: Sequence[str]) -> str:
    """The one of those allowed that does most of the same; "" where none does."""
    return next((one for one in _ALIKE.get(asked, ()) if one in allowed), "")


def nearest_type(asked: str, choices: Mapping[str, Decimal] | None, allowed: Callable[[str], bool]) -> str:
    """The allowed one of `choices` that has GPUs if `asked` has, then the one nearest in their number, in processors, family and
    cost; "" where none is allowed. Without choices: of all types whose hardware is known."""
    prefix = "ml." if asked.startswith("ml.") else ""
    costs = dict.fromkeys((f"{prefix}{one}" for one in known_types()), Decimal(0)) if choices is None else choices
    fit = sorted(one for one in costs if allowed(one))
    hardware = hardware_of(asked)
    if hardware is None:
        return min(fit, key=lambda one: (-SequenceMatcher(None, asked, one).ratio(), costs[one], one), default="")
    return min(fit, key=lambda one: (*_distance(asked, hardware, one), costs[one], one), default="")


def _distance(asked: str, hardware: Hardware, other: str) -> tuple[float, ...]:
    theirs = hardware_of(other)
    if theirs is None:
        return (2, 0, 0, 0)
    return (
        bool(hardware.gpus) != bool(theirs.gpus),
        abs(hardware.gpus - theirs.gpus),
        abs(log2(hardware.vcpus / theirs.vcpus)),
        asked.rpartition(".")[0] != other.rpartition(".")[0],
    )
