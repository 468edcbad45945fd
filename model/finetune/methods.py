"""The trainer of each method, from TRL, told what was asked."""

from __future__ import annotations

from typing import Any

import torch
from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase, Trainer
from trl import DPOConfig, DPOTrainer, KTOConfig, KTOTrainer, ORPOConfig, ORPOTrainer, SFTConfig, SFTTrainer

from model.finetune.base_model import lora_config
from model.finetune.hyperparameters import Hyperparameters
from model.finetune.job import Place

TRAINERS = {
    "sft": (SFTConfig, SFTTrainer),
    "cpt": (SFTConfig, SFTTrainer),
    "dpo": (DPOConfig, DPOTrainer),
    "orpo": (ORPOConfig, ORPOTrainer),
    "kto": (KTOConfig, KTOTrainer),
}


def trainer_of(
    asked: Hyperparameters,
    place: Place,
    *,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    data: Dataset,
    held_out: Dataset | None,
) -> Trainer:
    config, trainer = TRAINERS[asked.training_method]
    return trainer(
        model=model,
        args=config(**_arguments(asked, place, held_out)),
        train_dataset=data,
        eval_dataset=held_out,
        processing_class=tokenizer,
        peft_config=lora_config(asked),
    )


def _arguments(asked: Hyperparameters, place: Place, held_out: Dataset | None) -> dict[str, Any]:
    told: dict[str, Any] = {
        "output_dir": str(place.staging),
        "num_train_epochs": asked.num_epochs,
        "max_steps": asked.max_steps or -1,
        "per_device_train_batch_size": asked.batch_size,
        "gradient_accumulation_steps": asked.gradient_accumulation_steps,
        "learning_rate": asked.learning_rate,
        "lr_scheduler_type": asked.lr_scheduler,
        "warmup_ratio": asked.warmup_ratio,
        "weight_decay": asked.weight_decay,
        "max_length": asked.max_length,
        "gradient_checkpointing": asked.gradient_checkpointing,
        "bf16": bool(asked.bf16),
        "seed": asked.seed,
        "data_seed": asked.seed,
        "logging_steps": asked.logging_steps,
        "save_steps": asked.save_steps,
        "save_total_limit": asked.save_total_limit,
        "eval_strategy": "no" if held_out is None else "steps" if asked.eval_steps else "epoch",
        "eval_steps": asked.eval_steps or None,
        "report_to": "none",
        "use_cpu": not torch.cuda.is_available(),
        "disable_tqdm": True,
        "dataloader_pin_memory": torch.cuda.is_available(),
    }
    if asked.training_method in ("sft", "cpt"):
        told["packing"] = asked.packing
    else:
        told["beta"] = asked.beta
    return told
