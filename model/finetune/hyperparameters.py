"""What a fine-tuning job can be told: one typed model, checked before a launch and again inside the job. Imports no PyTorch."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from model.finetune.problems import BadInputError

Method = Literal["sft", "dpo", "orpo", "kto", "cpt"]


class Hyperparameters(BaseModel):
    """Every hyperparameter with its bounds. Values may be strings, as SageMaker sends them."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    training_method: Annotated[
        Method, Field(description="Supervised, DPO, ORPO, KTO, or continued pre-training on text.")
    ] = "sft"
    model_name: Annotated[
        str, Field(max_length=1024, description="Hub id, s3:// prefix or path of the base model; its channel wins.")
    ] = ""
    model_revision: Annotated[
        str, Field(max_length=256, description="Commit, tag or branch of the Hub's repository.")
    ] = ""
    num_epochs: Annotated[float, Field(gt=0, le=1000, description="Times through the training data.")] = 3.0
    max_steps: Annotated[int, Field(ge=0, description="Optimizer steps at most; 0 for no limit but the epochs.")] = 0
    batch_size: Annotated[int, Field(ge=1, le=4096, description="Examples per step on each GPU.")] = 4
    gradient_accumulation_steps: Annotated[int, Field(ge=1, le=4096)] = 1
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 2e-4
    lr_scheduler: Literal["linear", "cosine", "constant", "constant_with_warmup"] = "cosine"
    warmup_ratio: Annotated[float, Field(ge=0, lt=1)] = 0.03
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 0.0
    max_length: Annotated[int, Field(ge=8, le=1_048_576, description="Tokens of an example; longer ones are cut.")] = (
        2048
    )
    packing: Annotated[bool, Field(description="Several examples in one sequence (sft, cpt).")] = False
    finetuning_type: Annotated[Literal["lora", "full"], Field(description="Adapters, or all weights.")] = "lora"
    lora_r: Annotated[int, Field(ge=1, le=1024)] = 16
    lora_alpha: Annotated[float, Field(gt=0, le=4096)] = 32
    lora_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.05
    quantization: Literal["none", "4bit", "8bit"] = "none"
    beta: Annotated[float, Field(gt=0, le=10, description="How close to the reference to stay (dpo, orpo, kto).")] = 0.1
    bf16: bool | None = None
    gradient_checkpointing: bool = True
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 7
    validation_fraction: Annotated[
        float, Field(ge=0, lt=1, description="Held out where there is no validation channel.")
    ] = 0.0
    logging_steps: Annotated[int, Field(ge=1)] = 10
    eval_steps: Annotated[int, Field(ge=0, description="0 for once an epoch.")] = 0
    save_steps: Annotated[int, Field(ge=1)] = 100
    save_total_limit: Annotated[int, Field(ge=2, le=100)] = 2
    merge_weights: Annotated[bool, Field(description="Leave the whole model beside the adapter.")] = True
    processes_per_host: Annotated[int, Field(ge=0, le=64, description="0 for one a GPU.")] = 0


def read_hyperparameters(given: Mapping[str, Any]) -> Hyperparameters:
    """Raises BadInputError that names everything wrong, unknown names with the nearest known."""
    problems = list[str]()
    for name in given:
        if name not in Hyperparameters.model_fields:
            near = get_close_matches(str(name), Hyperparameters.model_fields, 1)
            problems.append(f"{name} is unknown" + (f"; did you mean {near[0]}?" if near else ""))
    try:
        read = Hyperparameters.model_validate({k: v for k, v in given.items() if k in Hyperparameters.model_fields})
    except ValidationError as error:
        problems += [f"{one['loc'][0]} is {str(one['input'])[:80]!r}: {one['msg']}" for one in error.errors()]
    if problems:
        raise BadInputError(f"Hyperparameters: {'; '.join(problems)}.")
    return read
