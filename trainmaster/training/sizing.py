"""Whether instances have the GPU memory that training a model takes, told from a request's hyperparameters before a dollar is spent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trainmaster.budget.hardware import hardware_of
from trainmaster.budget.money import shown
from trainmaster.budget.prices import PriceList
from trainmaster.training.estimate import Market, estimate, need_on
from trainmaster.training.memory import Setup, fits, flat, setup_of
from trainmaster.training.shapes import Shape, parameters_of, shape_of_size

ADAPTER_SHARE = 0.01
"""Of a model's parameters, what adapters have at the usual ranks, as far as files are concerned."""
SMALLEST_SIZED = 1e8
"""Parameters of a model below which nobody asks whether it fits a GPU."""
SUGGESTED = 3
_NAMED_IN = ("base_model", "model_name_or_path", "model_id", "base_model_id", "pretrained_model", "model_name", "model")


@dataclass(frozen=True)
class MemoryNeed:
    """What training a model takes: see `memory`. `longest` are the tokens of the longest example, 0 where that is not known."""

    model: str
    shape: Shape
    setup: Setup
    longest: int = 0

    def gigabytes(self, instance_type: str, instance_count: int) -> float:
        """Of each GPU; 0 for a type that is not known or has none."""
        hardware = hardware_of(instance_type)
        if hardware is None or not hardware.gpus:
            return 0.0
        return need_on(self.shape, self.setup, hardware, instance_count, self.longest).gigabytes

    def fits(self, instance_type: str, instance_count: int) -> bool:
        """Whether each GPU of so many instances has that much."""
        hardware = hardware_of(instance_type)
        if hardware is None:
            return False
        return fits(need_on(self.shape, self.setup, hardware, instance_count, self.longest), hardware)

    def sentence(self, instance_type: str, instance_count: int) -> str:
        """What it takes there, and what there is."""
        hardware = hardware_of(instance_type)
        what = (
            f"Training {self.model} ({self.shape.parameters / 1e9:.3g} billion parameters, {self.setup.sentence()}, batches of"
            f" {self.setup.batch_size} × {self.setup.max_length} tokens)"
        )
        where = f"{instance_count} × {instance_type}"
        if hardware is None or not hardware.gpus:
            return f"{what} needs a GPU, and {where} has none"
        return (
            f"{what} is estimated to take {self.gigabytes(instance_type, instance_count):.0f} GB of each GPU;"
            f" {where} has {hardware.gpu_memory_gb} GB on each"
        )

    def suggestion(self, prices: PriceList, region: str, instance_count: int) -> str:
        """The cheapest types that fit with what an hour of them costs, as a sentence; what else to change where none does."""
        found = estimate(self.shape, self.setup, None, Market(prices, region, instance_count))
        named = [
            f"{one.instance_type} ({shown(one.hourly)} an hour)" for one in found.choices if one.hourly is not None
        ]
        if named:
            return f"It fits {', '.join(named[:SUGGESTED])}: `trainmaster train estimate` has all, with time and cost."
        return "It fits no type of known price so: take more instances, LoRA, quantization 4bit or a smaller batch."


def memory_need(hyperparameters: Mapping[str, Any]) -> MemoryNeed | None:
    """What a job of these hyperparameters takes; nested ones count too. None when they do not tell the model's size."""
    settings = dict(flat(hyperparameters))
    for name in _NAMED_IN:
        model = str(settings.get(name) or "")
        billions = parameters_of(model)
        if billions:
            return MemoryNeed(model, shape_of_size(billions, model), setup_of(hyperparameters))
    return None


def gpu_memory_gb(instance_type: str) -> int:
    """Of all its GPUs; 0 for none, and for a type that is not known."""
    hardware = hardware_of(instance_type)
    return hardware.gpus * hardware.gpu_memory_gb if hardware else 0


def can_hold(need: MemoryNeed | None, asked: str, instance_type: str, instance_count: int) -> bool:
    """Whether a type is worth suggesting in place of the one that was asked for: it holds the model, or where the model's size
    is not known, has no less GPU memory than that one."""
    if need:
        return need.fits(instance_type, instance_count)
    return gpu_memory_gb(instance_type) >= gpu_memory_gb(asked)
