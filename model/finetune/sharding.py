"""How the weights of a run lie on its processes: a copy on each (DDP), or a part of them on each (FSDP)."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import torch
import torch.distributed.checkpoint as dcp
from accelerate import DistributedType, FullyShardedDataParallelPlugin, PartialState
from accelerate.utils.constants import FSDP_MODEL_NAME, OPTIMIZER_NAME
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_optimizer_state_dict,
)
from torch.nn import Module
from transformers import Trainer

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
    if asked.sharding == "auto" and (asked.finetuning_type != "full" or not torch.cuda.is_available()):
        return False
    if asked.quantization != "none":
        raise BadInputError(
            f"sharding is full and quantization is {asked.quantization}: quantized weights are not taken apart. Ask for sharding"
            " none, or quantization none."
        )
    if asked.optimizer == "adafactor":
        raise BadInputError(
            "optimizer is adafactor and weights are to lie in parts: it needs whole matrices, and of parts no checkpoint could be saved."
            " Ask for optimizer adamw_torch, or sharding none."
        )
    return True


def lies_in_parts(checkpoint: Path) -> bool:
    """Whether the weights in this folder are those of a run whose processes held parts of them."""
    return (checkpoint / f"{FSDP_MODEL_NAME}_0").is_dir()


def prepare_sharding(asked: Hyperparameters) -> None:
    """To be called before the model is loaded: of sharded weights only the first process of all reads any from disk."""
    if is_sharded(asked):
        warnings.filterwarnings(
            "ignore", module=r"torch\.distributed\."
        )  # of its own next version, with every checkpoint
        os.environ |= {
            "ACCELERATE_USE_FSDP": "true",
            "FSDP_VERSION": "1",
            "FSDP_CPU_RAM_EFFICIENT_LOADING": str(torch.cuda.is_available()),
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
        gpus = torch.cuda.is_available()  # accelerate sends the weights of the first process to GPUs only
        told["fsdp_config"] = {"cpu_ram_efficient_loading": gpus, "sync_module_states": gpus}
    return told


def shard_on_cpus(trainer: Trainer) -> None:
    """Let weights that are asked for in parts be so on CPUs too: PyTorch can, accelerate (1.10) asks for it on GPUs only."""
    state = trainer.accelerator.state
    if not trainer.args.fsdp or trainer.is_fsdp_enabled:
        return
    state.fsdp_plugin = FullyShardedDataParallelPlugin()
    state.distributed_type = PartialState().distributed_type = DistributedType.FSDP
    trainer.is_fsdp_enabled = True
    trainer.accelerator.get_state_dict = _whole  # type: ignore[method-assign]


def bring_back_parts(trainer: Trainer) -> None:
    """Let a trainer that resumes have the parts of its optimizer as they were saved.

    accelerate (1.10) reads what the optimizer holds already: before the first step nothing, so that its moments would begin anew.
    """
    if not trainer.is_fsdp_enabled:
        return
    load = trainer._load_optimizer_and_scheduler

    def load_all(checkpoint: str) -> None:
        load(checkpoint)
        options = StateDictOptions(cpu_offload=True)
        optimizer = trainer.optimizer.optimizer  # accelerate wraps it
        parts = get_optimizer_state_dict(trainer.model, optimizer, options=options)
        dcp.load({"optimizer": parts}, checkpoint_id=Path(checkpoint) / f"{OPTIMIZER_NAME}_0")
        set_optimizer_state_dict(trainer.model, optimizer, parts, options=options)

    trainer._load_optimizer_and_scheduler = load_all  # type: ignore[method-assign]


def _whole(model: Module, unwrap: bool = True) -> dict[str, Any]:  # noqa: ARG001 - as accelerate's own
    """All weights, on every process; accelerate's own moves them to the CPU, where they are freed while they are read."""
    return get_model_state_dict(model, options=StateDictOptions(full_state_dict=True))
