"""Which hyperparameters exclude each other."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from model.finetune.hyperparameters import Hyperparameters

PREFERENCES = frozenset({"dpo", "orpo", "kto"})
"""Methods that learn from answers that are better and worse."""
ALL_LINEAR = "all-linear"
_ELSEWHERE = ("s3://", "/", ".")
"""How a model_name begins that is not of the Hub."""
_HUB_ID = re.compile(r"([A-Za-z0-9][\w.-]*/)?[A-Za-z0-9][\w.-]*")


def hub_id(value: str) -> str:
    """Raises ValueError where it can be no repository's id; empty is none."""
    if value and not _HUB_ID.fullmatch(value):
        raise ValueError("is no id of the Hub")
    return value


def conflicts(asked: Hyperparameters) -> Iterator[tuple[set[str], str]]:
    """The hyperparameters concerned, and a sentence with what to do."""
    yield from _of_the_method(asked)
    yield from _of_weights(asked)
    yield from _of_places(asked)


def _of_the_method(asked: Hyperparameters) -> Iterator[tuple[set[str], str]]:
    method = asked.training_method
    if asked.packing and method in PREFERENCES:
        said = f"packing is true and training_method {method!r}: only examples of sft and cpt can be packed. Set packing to false."
        yield {"packing", "training_method"}, said
    if method == "kto" and asked.batch_size < 2:
        said = (
            f"batch_size is {asked.batch_size} and training_method 'kto', which compares the examples of a batch. Set it to 2 or"
            " more; gradient_accumulation_steps can be the smaller for it."
        )
        yield {"batch_size", "training_method"}, said
    if method == "kto" and asked.eval_batch_size not in (0, asked.batch_size):
        said = (
            f"eval_batch_size is {asked.eval_batch_size} and batch_size {asked.batch_size}: kto evaluates in the batches it trains"
            " in. Leave eval_batch_size out."
        )
        yield {"eval_batch_size", "batch_size", "training_method"}, said
    if asked.label_smoothing and method == "dpo" and asked.preference_loss not in ("sigmoid", "robust"):
        said = (
            f"label_smoothing is {asked.label_smoothing} and preference_loss {asked.preference_loss!r}, which has none. Set it to"
            " 0, or preference_loss to 'sigmoid' or 'robust'."
        )
        yield {"label_smoothing", "preference_loss", "training_method"}, said


def _of_weights(asked: Hyperparameters) -> Iterator[tuple[set[str], str]]:
    bits, modules = asked.quantization, asked.lora_target_modules
    if asked.finetuning_type == "full" and bits != "none":
        said = (
            f"quantization is {bits!r} and finetuning_type 'full': quantised weights cannot be trained. Set finetuning_type to"
            " 'lora', or quantization to 'none'."
        )
        yield {"finetuning_type", "quantization"}, said
    if asked.use_dora and bits == "8bit":
        said = "use_dora is true and quantization '8bit', which DoRA cannot. Set quantization to '4bit'."
        yield {"use_dora", "quantization"}, said
    if not modules or (len(modules) > 1 and ALL_LINEAR in modules):
        said = f"lora_target_modules {f'has {ALL_LINEAR!r} beside names' if modules else 'is empty'}."
        yield {"lora_target_modules"}, f"{said} Give names of layers, or {ALL_LINEAR!r} alone."
    if asked.bf16 is False and asked.weights_dtype == "bfloat16":
        said = "bf16 is false and weights_dtype 'bfloat16'. Leave one of them out."
        yield {"bf16", "weights_dtype"}, said


def _of_places(asked: Hyperparameters) -> Iterator[tuple[set[str], str]]:
    name = asked.model_name
    if asked.push_to_hub and not asked.hub_model_id:
        said = "push_to_hub is true, and hub_model_id says no repository. Set it to owner/name."
        yield {"push_to_hub", "hub_model_id"}, said
    if asked.push_to_hub and not asked.hub_token_secret_arn:
        said = "push_to_hub is true without hub_token_secret_arn. Keep a token that may write in Secrets Manager, and give its ARN."
        yield {"push_to_hub", "hub_token_secret_arn"}, said
    if asked.model_revision and name.startswith(_ELSEWHERE):
        said = f"model_revision is {asked.model_revision!r}, and {name} is not on the Hub. Leave model_revision out."
        yield {"model_revision", "model_name"}, said
    if name and not name.startswith(_ELSEWHERE) and not _HUB_ID.fullmatch(name):
        said = f"model_name is {name[:80]!r}; it takes an id of the Hub such as owner/name, or s3://bucket/prefix/."
        yield {"model_name"}, said
