"""The trainer of each method, from TRL, told what was asked."""

from __future__ import annotations

from typing import Any

import torch
from transformers import PreTrainedModel, Trainer
from trl import DPOConfig, DPOTrainer, KTOConfig, KTOTrainer, ORPOConfig, ORPOTrainer, SFTConfig, SFTTrainer
from trl.models.utils import prepare_fsdp

from model.finetune import sharding
from model.finetune.base_model import BaseModel, computes_in_bf16, lora_config
from model.finetune.data import Data
from model.finetune.hyperparameters import Hyperparameters
from model.finetune.job import Place

TRAINERS = {
    "sft": (SFTConfig, SFTTrainer),
    "cpt": (SFTConfig, SFTTrainer),
    "dpo": (DPOConfig, DPOTrainer),
    "orpo": (ORPOConfig, ORPOTrainer),
    "kto": (KTOConfig, KTOTrainer),
}


def trainer_of(asked: Hyperparameters, place: Place, *, model: PreTrainedModel, base: BaseModel, data: Data) -> Trainer:
    """With an adapter on the model where one is trained: without it, it is the reference that dpo and kto compare with; of a model whose
    weights are all trained they keep a copy."""
    config, kind = TRAINERS[asked.training_method]
    trainer = kind(
        model=model,
        args=config(**_arguments(asked, place, data)),
        train_dataset=data.training,
        eval_dataset=data.validation,
        processing_class=base.tokenizer,
        peft_config=lora_config(asked),
    )
    if asked.packing:  # by positions transformers keeps packed examples apart; TRL gives them to flash attention alone
        trainer.data_collator.return_position_ids = True
    part_reference(trainer)
    return trainer


def part_reference(trainer: Trainer) -> None:
    """Of kto, where the model is to lie in parts: its trainer (TRL 0.23) leaves the copy whole on the CPU of each process, as dpo's does
    not, and all processes but the first have read nothing into theirs."""
    if isinstance(trainer, KTOTrainer) and trainer.is_fsdp_enabled and trainer.ref_model is not None:
        trainer.ref_model = prepare_fsdp(trainer.ref_model, trainer.accelerator)


def _arguments(asked: Hyperparameters, place: Place, data: Data) -> dict[str, Any]:
    bf16 = computes_in_bf16(asked)
    told: dict[str, Any] = {
        "output_dir": str(place.staging),
        "num_train_epochs": asked.num_epochs,
        "max_steps": asked.max_steps or -1,
        "per_device_train_batch_size": asked.batch_size,
        "per_device_eval_batch_size": asked.eval_batch_size or asked.batch_size,
        "gradient_accumulation_steps": asked.gradient_accumulation_steps,
        "learning_rate": asked.learning_rate,
        "lr_scheduler_type": asked.lr_scheduler,
        "warmup_ratio": asked.warmup_ratio,
        "weight_decay": asked.weight_decay,
        "max_grad_norm": asked.max_grad_norm,
        "optim": asked.optimizer,
        "gradient_checkpointing": asked.gradient_checkpointing,
        "gradient_checkpointing_kwargs": {"use_reentrant": False} if asked.gradient_checkpointing else None,
        "bf16": bf16,
        "fp16": False,
        "seed": asked.seed,
        "data_seed": asked.seed,
        "logging_steps": asked.logging_steps,
        "save_steps": asked.save_steps,
        "save_total_limit": asked.save_total_limit,
        "eval_strategy": "no" if data.validation is None else "steps" if asked.eval_steps else "epoch",
        "eval_steps": asked.eval_steps or None,
        "report_to": "none",
        "use_cpu": not torch.cuda.is_available(),
        "disable_tqdm": True,
        "dataloader_pin_memory": torch.cuda.is_available(),
    }
    return told | sharding.arguments(asked) | _OF_METHOD[asked.training_method](asked)


def _of_sequences(asked: Hyperparameters) -> dict[str, Any]:
    """Examples are tokens already, and short enough; what is packed is cut to no other length."""
    return {
        "max_length": asked.max_length if asked.packing else None,
        "packing": asked.packing,
        "packing_strategy": "bfd",
        "eval_packing": asked.packing,
        "assistant_only_loss": False,  # the masks that come with the examples decide, not the template's marks
        "completion_only_loss": False,
        "neftune_noise_alpha": asked.neftune_noise_alpha or None,
    }


def _of_preferences(asked: Hyperparameters) -> dict[str, Any]:
    """Examples are short enough already, but for the answers to other prompts that kto compares with."""
    return {
        "beta": asked.beta,
        "max_length": asked.max_length,
        "max_prompt_length": asked.max_length // 2,
        "max_completion_length": None,
        "truncation_mode": "keep_end",
        "disable_dropout": True,
    }


def _of_pairs(asked: Hyperparameters) -> dict[str, Any]:
    """Its prompts would lose their beginnings even where there is room for them."""
    return _of_preferences(asked) | {
        "max_prompt_length": None,
        "loss_type": [asked.preference_loss],
        "label_smoothing": asked.label_smoothing,
    }


def _of_judgements(asked: Hyperparameters) -> dict[str, Any]:
    weights = {"desirable_weight": asked.desirable_weight, "undesirable_weight": asked.undesirable_weight}
    return _of_preferences(asked) | weights | {"loss_type": "kto"}


_OF_METHOD = {
    "sft": _of_sequences,
    "cpt": _of_sequences,
    "dpo": _of_pairs,
    "orpo": _of_preferences,
    "kto": _of_judgements,
}
