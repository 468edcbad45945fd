"""Whether a fine-tuning has room where it is to run: on the disk for what it reads and leaves, and a GPU for what needs one. Pure.

    GB of disk = base model + 20 × datasets + (checkpoints kept + 1) × checkpoint + trained model

A checkpoint of all weights is 12 bytes a parameter: its float32 and Adam's two moments. Of an adapter it is that of 1 % of the
parameters. What is trained is left in float32, or as an adapter and 16 bits of the merged model. Datasets are kept in
gzip, and unpacked, tokenized and cached there: twenty times is an allowance of ours.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from model.finetune.hyperparameters import Hyperparameters
from trainmaster.budget.hardware import hardware_of, has_own_disks
from trainmaster.training.base_model import BaseModel
from trainmaster.training.problems import Problem
from trainmaster.training.request import TrainingRequest
from trainmaster.training.sizing import ADAPTER_SHARE

DATASETS = 20
CHECKPOINT_BYTES, WEIGHT_BYTES, MERGED_BYTES = 12, 4, 2
CPU_BYTES = 18
"""Memory for a parameter that is trained without a GPU: float32 weight, gradient, two moments, and a fifth for activations."""
LARGEST_ON_CPU = 100_000_000
"""Parameters beyond which training without a GPU takes days."""


def disk_bytes(asked: Hyperparameters, model: BaseModel, datasets: int) -> int:
    """Of each instance, by the formula above; `datasets` are the bytes of all. 0 where the model's size is not known."""
    if not model.parameters:
        return 0
    share = 1.0 if asked.finetuning_type == "full" else ADAPTER_SHARE
    trained = share * model.parameters
    checkpoints = (asked.save_total_limit + 1) * CHECKPOINT_BYTES * trained
    merged = MERGED_BYTES * model.parameters if share < 1 and asked.merge_weights else 0
    return int(model.size + DATASETS * datasets + checkpoints + WEIGHT_BYTES * trained + merged)


def room_problems(
    asked: Hyperparameters, model: BaseModel, datasets: int, request: TrainingRequest
) -> Iterator[Problem]:
    """What keeps it from being trained where it was asked for."""
    need = disk_bytes(asked, model, datasets)
    volume = request.volume_size_gb
    if need > volume * 2**30 and not has_own_disks(request.instance_type):
        enough = math.ceil(1.1 * need / 2**30)
        said = (
            f"The base model, the datasets, {asked.save_total_limit + 1} checkpoints and the trained model take about"
            f" {need / 2**30:.0f} GB of disk; volume_size_gb is {volume}."
        )
        yield Problem("request", said, f"Set volume_size_gb to at least {enough}.")
    hardware = hardware_of(request.instance_type)
    if hardware is None or hardware.gpus:
        return
    for name, value, otherwise in (
        ("quantization", asked.quantization, "none"),
        ("optimizer", asked.optimizer, "adamw_torch"),
    ):
        if value != otherwise and ("bit" in value):
            said = f"{name} is {value!r}, which needs a GPU, and {request.instance_type} has none."
            yield Problem("instance_type", said, f"Choose ml.g5.xlarge or larger, or set {name} to {otherwise!r}.")


def room_notes(model: BaseModel, request: TrainingRequest) -> Iterator[str]:
    """What is worth knowing of where it is to run."""
    hardware = hardware_of(request.instance_type)
    if hardware is None or hardware.gpus:
        return
    yield (
        f"{request.instance_type} has no GPU. AWS makes the container of fine-tuning for GPUs; it trains without one as well, as slowly"
        " as that is."
    )
    if model.parameters > LARGEST_ON_CPU:
        need = CPU_BYTES * model.parameters / 2**30
        yield (
            f"{model.named} has about {model.parameters / 1e9:.2g} billion parameters: training all of them takes some {need:.0f} GB"
            f" of memory ({request.instance_type} has {hardware.memory_gib} GB) and days without a GPU. Choose ml.g5.xlarge or larger."
        )
