"""How the weights of a run lie on its processes: a copy on each (DDP), or a part of them on each (FSDP)."""

from __future__ import annotations

import os
from typing import Any

import torch

from model.finetune import processes
from model.finetune.hyperparameters import Hyperparameters
from model.finetune.problems import BadInputError


def is_sharded(asked: Hyperparameters) -> bool:
    """Whether each process holds a part of the weights. Raises BadInputError when those asked for cannot be taken apart.

    All weights that are trained on several GPUs do not fit on one, with their gradients and optimizer states; an adapter's do,
    and DDP is faster then.
    """
    if processes.count() == 1 or asked.sharding == "none":
        return False
    if asked.sharding == "auto":
        return asked.finetuning_type == "full" and torch.cuda.is_available()
    if asked.quantization != "none":
        raise BadInputError(
            f"sharding is full and quantization is {asked.quantization}: quantized weights are not taken apart. Ask for sharding"
            " none, or quantization none."
        )
    return True


def prepare_sharding(asked: Hyperparameters) -> None:
    """To be called before the model is loaded: of sharded weights only the first process of all reads any from disk."""
    if is_sharded(asked):
        os.environ |= {
            "ACCELERATE_USE_FSDP": "true",
            "FSDP_VERSION": "1",
            "FSDP_CPU_RAM_EFFICIENT_LOADING": "true",
            "FSDP_STATE_DICT_TYPE": "SHARDED_STATE_DICT",
        }


def arguments(asked: Hyperparameters) -> dict[str, Any]:
    """What the Trainer is told of other processes: they wait for each other only so long, and checkpoints of parts stay parts."""
    told: dict[str, Any] = {
        "ddp_timeout": int(processes.PATIENCE.total_seconds()),
        "log_on_each_node": False,
        "save_on_each_node": False,
        "ddp_find_unused_parameters": False,
    }
    if is_sharded(asked):
        told["fsdp"] = "full_shard auto_wrap"
        told["fsdp_config"] = {"cpu_ram_efficient_loading": True, "sync_module_states": True}
    return told
