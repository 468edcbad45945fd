"""The model that is trained further, and its tokenizer."""

from __future__ import annotations

from pathlib import Path

import torch
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from model.finetune.hyperparameters import Hyperparameters
from model.finetune.problems import BadInputError

CHANNEL = "model"


def load_base_model(
    asked: Hyperparameters, channels: dict[str, Path]
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """From its channel, or by model_name from a path or the Hub. Raises BadInputError."""
    source = str(channels.get(CHANNEL) or asked.model_name)
    if not source:
        raise BadInputError("There is no base model: give model_name, or a channel named 'model'.")
    tokenizer = AutoTokenizer.from_pretrained(source)
    dtype = torch.bfloat16 if asked.bf16 else torch.float32
    return AutoModelForCausalLM.from_pretrained(source, dtype=dtype), tokenizer


def lora_config(asked: Hyperparameters) -> LoraConfig | None:
    """None when all weights are trained."""
    if asked.finetuning_type == "full":
        return None
    return LoraConfig(
        r=asked.lora_r,
        lora_alpha=asked.lora_alpha,
        lora_dropout=asked.lora_dropout,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
