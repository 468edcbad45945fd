"""What a fine-tuning job can be told: one typed model, checked before a launch and again inside the job. Imports no PyTorch."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from model.finetune.combinations import ALL_LINEAR, PREFERENCES, conflicts, hub_id
from model.finetune.foreign_names import OURS
from model.finetune.problems import BadInputError
from model.finetune.wanted import wanted

Method = Literal["sft", "dpo", "orpo", "kto", "cpt"]
CHATML = "chatml"
_SHOWN = 80  # characters of a value that a message quotes
_LEARNING_RATES = {("lora", False): 2e-4, ("lora", True): 1e-5, ("full", False): 2e-5, ("full", True): 1e-6}
"""By what is trained and whether it is on preferences, which need smaller steps."""
_ADAPTER_ONLY = (
    "lora_r", "lora_alpha", "lora_dropout", "lora_target_modules", "lora_modules_to_save", "use_rslora", "use_dora",
)  # fmt: skip


def _arn_of_a_secret(value: str) -> str:
    if value and not re.fullmatch(
        r"arn:aws[a-z-]*:(secretsmanager:[a-z0-9-]+:\d{12}:secret:|ssm:[a-z0-9-]+:\d{12}:parameter/)\S+", value
    ):
        raise ValueError("is no ARN of a secret")
    return value


Names = tuple[Annotated[str, Field(min_length=1, max_length=200)], ...]


class Hyperparameters(BaseModel):
    """Every hyperparameter with its bounds. Values may be strings, as SageMaker sends them."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    training_method: Annotated[
        Method,
        Field(
            description="What is learned from: conversations (`sft`), pairs of answers (`dpo`, `orpo`), single answers that are good or bad (`kto`), plain text (`cpt`, continued pre-training)."
        ),
    ] = "sft"
    model_name: Annotated[
        str,
        Field(
            max_length=1024,
            description="The base model: an id of the Hugging Face Hub, or the s3:// prefix below which `save_pretrained` left it; then it comes by a channel and the job needs no network for it.",
        ),
    ] = ""
    model_revision: Annotated[
        str,
        Field(
            max_length=256,
            description="Commit, tag or branch of the base model on the Hub; `main` without it. The commit it is at the first start is kept to in every restart.",
        ),
    ] = ""
    finetuning_type: Annotated[Literal["lora", "full"], Field(description="Train an adapter, or all weights.")] = "lora"
    quantization: Annotated[
        Literal["none", "4bit", "8bit"],
        Field(
            description="Bits that the base model's weights are kept in below an adapter; `4bit` is QLoRA (NF4, quantised twice, computing in bfloat16). Needs a GPU."
        ),
    ] = "none"
    num_epochs: Annotated[
        float,
        Field(allow_inf_nan=False, gt=0, le=1000, description="Times through the training data; 0.5 is half of it."),
    ] = 3.0
    max_steps: Annotated[
        int,
        Field(
            ge=0, le=100_000_000, description="Optimizer steps at most, in place of the epochs; 0 for no such limit."
        ),
    ] = 0
    batch_size: Annotated[int, Field(ge=1, le=4096, description="Examples at once on each GPU. `kto` needs 2.")] = 4
    eval_batch_size: Annotated[
        int, Field(ge=0, le=4096, description="The same in an evaluation; 0 for as many as in training.")
    ] = 0
    gradient_accumulation_steps: Annotated[
        int,
        Field(
            ge=1,
            le=4096,
            description="Batches whose gradients make one optimizer step: a step is batch_size × this × GPUs examples.",
        ),
    ] = 1
    learning_rate: Annotated[
        float,
        Field(
            allow_inf_nan=False,
            gt=0,
            le=1,
            description="Peak learning rate. Without it 2e-4 for LoRA and 2e-5 for all weights; on preferences 1e-5 and 1e-6.",
        ),
    ] = 2e-4
    lr_scheduler: Annotated[
        Literal["linear", "cosine", "constant", "constant_with_warmup", "polynomial", "inverse_sqrt"],
        Field(description="How the learning rate falls after the warmup."),
    ] = "cosine"
    warmup_ratio: Annotated[
        float,
        Field(
            allow_inf_nan=False,
            ge=0,
            lt=1,
            description="Share of all steps in which the learning rate rises to its peak.",
        ),
    ] = 0.03
    weight_decay: Annotated[
        float, Field(allow_inf_nan=False, ge=0, le=1, description="Decay of weights at each step, as AdamW applies it.")
    ] = 0.0
    max_grad_norm: Annotated[
        float,
        Field(allow_inf_nan=False, ge=0, le=1000, description="Norm that gradients are clipped to; 0 clips none."),
    ] = 1.0
    optimizer: Annotated[
        Literal[
            "adamw_torch",
            "adamw_torch_fused",
            "adamw_8bit",
            "paged_adamw_8bit",
            "paged_adamw_32bit",
            "adafactor",
            "sgd",
        ],
        Field(description="The optimizer. Those with `8bit` or `paged` save memory, and need a GPU."),
    ] = "adamw_torch"
    max_length: Annotated[
        int,
        Field(
            ge=8,
            le=1_048_576,
            description="Tokens of an example at most, and of a packed sequence. Longer raw text is split, none of it lost; for other examples see `long_examples`.",
        ),
    ] = 2048
    long_examples: Annotated[
        Literal["cut", "drop", "refuse"],
        Field(
            description="What is done with examples longer than max_length: conversations lose their end, preferences the beginning of their prompt; or they are left out; or nothing is trained. How many is told."
        ),
    ] = "cut"
    packing: Annotated[
        bool, Field(description="Several examples in one sequence, which see nothing of one another (`sft`, `cpt`).")
    ] = False
    completion_only_loss: Annotated[
        bool,
        Field(description="Learn the assistant's turns alone (`sft`); those with weight 0 never. Otherwise all turns."),
    ] = True
    chat_template: Annotated[
        str,
        Field(
            max_length=2400,
            description="Jinja template of conversations in place of the base model's, or `chatml`. A longer one belongs into the base model's folder, as chat_template.jinja.",
        ),
    ] = ""
    system_prompt: Annotated[
        str, Field(max_length=2400, description="First turn of every conversation that has no system turn of its own.")
    ] = ""
    lora_r: Annotated[int, Field(ge=1, le=1024, description="Rank of the adapter's matrices.")] = 16
    lora_alpha: Annotated[
        float, Field(allow_inf_nan=False, gt=0, le=4096, description="Weight of the adapter, divided by its rank.")
    ] = 32.0
    lora_dropout: Annotated[
        float,
        Field(
            allow_inf_nan=False, ge=0, lt=1, description="Share of the adapter's inputs that is left out in training."
        ),
    ] = 0.05
    lora_target_modules: Annotated[
        Names,
        Field(
            max_length=64,
            description="Layers with an adapter, by the end of their names, such as q_proj; `all-linear` for every linear layer but the last.",
        ),
    ] = (ALL_LINEAR,)
    lora_modules_to_save: Annotated[
        Names,
        Field(
            max_length=64,
            description="Layers that are trained whole beside the adapter, such as embed_tokens and lm_head.",
        ),
    ] = ()
    use_rslora: Annotated[bool, Field(description="Divide lora_alpha by the square root of the rank.")] = False
    use_dora: Annotated[bool, Field(description="Train magnitude and direction of weights apart (DoRA).")] = False
    beta: Annotated[
        float,
        Field(
            allow_inf_nan=False,
            gt=0,
            le=10,
            description="How close to the base model to stay (`dpo`, `kto`), or how much the odds ratio weighs (`orpo`).",
        ),
    ] = 0.1
    preference_loss: Annotated[
        Literal["sigmoid", "hinge", "ipo", "robust", "apo_zero", "apo_down", "sppo_hard", "nca_pair"],
        Field(description="Loss of `dpo`."),
    ] = "sigmoid"
    label_smoothing: Annotated[
        float,
        Field(
            allow_inf_nan=False,
            ge=0,
            lt=0.5,
            description="Share of pairs that are taken to be the wrong way round (`dpo`, with the loss sigmoid or robust).",
        ),
    ] = 0.0
    desirable_weight: Annotated[
        float,
        Field(
            allow_inf_nan=False,
            gt=0,
            le=100,
            description="Weight of good answers (`kto`); raise it where they are the fewer.",
        ),
    ] = 1.0
    undesirable_weight: Annotated[
        float, Field(allow_inf_nan=False, gt=0, le=100, description="Weight of bad answers (`kto`).")
    ] = 1.0
    reward_threshold: Annotated[
        float,
        Field(
            allow_inf_nan=False,
            ge=-1e9,
            le=1e9,
            description="An rlhf example is a good answer for `kto` when its reward is above this, and a bad one when below.",
        ),
    ] = 0.0
    neftune_noise_alpha: Annotated[
        float,
        Field(
            allow_inf_nan=False,
            ge=0,
            le=100,
            description="Noise on embeddings in training (NEFTune); 0 for none, 5 is common.",
        ),
    ] = 0.0
    bf16: Annotated[bool | None, Field(description="Compute in bfloat16. Without it: where the GPU can.")] = None
    weights_dtype: Annotated[
        Literal["auto", "float32", "bfloat16"],
        Field(
            description="What weights are kept in. `auto`: float32 where all are trained; below an adapter bfloat16 where it is computed in."
        ),
    ] = "auto"
    attention: Annotated[
        Literal["auto", "sdpa", "eager", "flash_attention_2"],
        Field(description="Implementation of attention; `auto` leaves it to the model."),
    ] = "auto"
    gradient_checkpointing: Annotated[
        bool,
        Field(
            description="Compute activations again in the backward pass: much less memory for about a third more time."
        ),
    ] = True
    seed: Annotated[
        int,
        Field(
            ge=0, lt=2**32, description="Of everything random: adapter, order of examples, dropout, held-out examples."
        ),
    ] = 7
    validation_fraction: Annotated[
        float,
        Field(
            allow_inf_nan=False,
            ge=0,
            lt=1,
            description="Share of the training examples that is held out for evaluation where there is no validation channel.",
        ),
    ] = 0.0
    logging_steps: Annotated[int, Field(ge=1, le=1_000_000, description="Steps between two lines of progress.")] = 10
    eval_steps: Annotated[
        int, Field(ge=0, le=100_000_000, description="Steps between two evaluations; 0 for one an epoch.")
    ] = 0
    save_steps: Annotated[
        int,
        Field(
            ge=1,
            le=100_000_000,
            description="Steps between two checkpoints: at most so many are lost when a spot instance is taken away.",
        ),
    ] = 100
    save_total_limit: Annotated[int, Field(ge=2, le=100, description="Checkpoints that are kept.")] = 2
    merge_weights: Annotated[
        bool,
        Field(
            description="Leave the whole model beside the adapter. A quantised base model is loaded again for it, in bfloat16."
        ),
    ] = True
    push_to_hub: Annotated[bool, Field(description="Upload what was trained to the Hub, as hub_model_id.")] = False
    hub_model_id: Annotated[
        str,
        AfterValidator(hub_id),
        Field(max_length=96, description="Repository on the Hub to push to, owner/name."),
    ] = ""
    hub_private: Annotated[bool, Field(description="Make that repository private where it is new.")] = True
    hub_token_secret_arn: Annotated[
        str,
        AfterValidator(_arn_of_a_secret),
        Field(
            max_length=2048,
            description="ARN of the secret in Secrets Manager, or of the SecureString in SSM, that has the Hub's token. The job's role must be allowed to read it.",
        ),
    ] = ""
    processes_per_host: Annotated[
        int, Field(ge=0, le=64, description="Training processes on each host; 0 for one a GPU.")
    ] = 0
    sharding: Annotated[
        Literal["auto", "none", "full"],
        Field(
            description="Weights on several processes: a copy on each (`none`, DDP) or a part on each (`full`, FSDP). `auto` takes parts"
            " where all weights are trained on several GPUs."
        ),
    ] = "auto"

    @field_validator("*", mode="before")
    @classmethod
    def _as_it_was_meant(cls, value: Any, info: ValidationInfo) -> Any:
        """No boolean for a number; and names as JSON or with commas between them, where there is one string."""
        kind = cls.model_fields[info.field_name or ""].annotation
        if kind in (int, float) and isinstance(value, bool):
            raise ValueError("is a boolean")
        if kind != Names or not isinstance(value, str):
            return value
        if value.lstrip().startswith("["):
            return json.loads(value)
        return [name.strip() for name in value.split(",") if name.strip()]

    @model_validator(mode="before")
    @classmethod
    def _fitting_the_others(cls, values: Any) -> Any:
        """What is not given and depends on what is."""
        if not isinstance(values, Mapping):
            return values
        trained = (values.get("finetuning_type", "lora"), values.get("training_method") in PREFERENCES)
        return {"learning_rate": _LEARNING_RATES.get(trained, 2e-4), **values}


def read_hyperparameters(given: Mapping[str, Any]) -> Hyperparameters:
    """Raises BadInputError that names everything wrong, unknown names with the nearest known."""
    problems = problems_of(given)
    if problems:
        raise BadInputError(f"Hyperparameters: {' '.join(problems)}")
    return Hyperparameters.model_validate(_said(given))


def problems_of(given: Mapping[str, Any]) -> list[str]:
    """A sentence for each thing that is wrong: unknown names, values out of bounds, settings that exclude each other."""
    known = {name: value for name, value in _said(given).items() if name in Hyperparameters.model_fields}
    problems = [_unknown(str(name), given) for name in given if name not in Hyperparameters.model_fields]
    wrong = set[str]()
    try:
        asked = Hyperparameters.model_validate(known)
    except ValidationError as error:
        wrong = {str(one["loc"][0]) for one in error.errors(include_url=False)}
        problems += [_out_of_bounds(name, known[name]) for name in known if name in wrong]
        asked = Hyperparameters.model_validate({name: value for name, value in known.items() if name not in wrong})
    return problems + [said for names, said in conflicts(asked) if not wrong & set(names)]


def notes_of(given: Mapping[str, Any]) -> list[str]:
    """A sentence for each setting that is right, but changes nothing in this combination."""
    asked = read_hyperparameters(given)
    said = _said(given)
    unused = list[str]()
    if asked.finetuning_type == "full":
        unused += [f"{name} is not used: all weights are trained." for name in _ADAPTER_ONLY if name in said]
    users = {
        "beta": PREFERENCES, "preference_loss": {"dpo"}, "label_smoothing": {"dpo"}, "desirable_weight": {"kto"},
        "undesirable_weight": {"kto"}, "reward_threshold": {"kto"}, "completion_only_loss": {"sft"},
        "neftune_noise_alpha": {"sft", "cpt"},
    }  # fmt: skip
    for name, methods in users.items():
        if name in said and asked.training_method not in methods:
            unused.append(f"{name} is not used by {asked.training_method}.")
    return unused


def _said(given: Mapping[str, Any]) -> dict[str, Any]:
    """Without what a form left empty."""
    return {name: value for name, value in given.items() if value is not None}


def _unknown(name: str, given: Mapping[str, Any]) -> str:
    told = f"{_quoted(name)} is unknown"
    plain = re.sub(r"[^a-z0-9]+", "_", name.strip().lower()).strip("_")
    ours = plain if plain in Hyperparameters.model_fields else OURS.get(plain)
    if ours is None:
        near = get_close_matches(plain[:_SHOWN], [*Hyperparameters.model_fields, *OURS], 1)
        ours = OURS.get(near[0], near[0]) if near else None
    if ours is None:
        return f"{told}: no such hyperparameter is taken. docs/reference/hyperparameters.md lists all."
    if ours in given:
        return f"{told}; {ours}, which is given as well, is its name here. Leave {_quoted(name)} out."
    return f"{told}; its name here is {ours}, which takes {wanted(Hyperparameters, ours)}."


def _out_of_bounds(name: str, value: Any) -> str:
    takes = wanted(Hyperparameters, name)
    if name == "hub_token_secret_arn":  # it may be the token itself
        return "hub_token_secret_arn is no ARN of a secret; it takes arn:aws:secretsmanager:… or arn:aws:ssm:…:parameter/…."
    if name == "finetuning_type" and str(value).lower() == "qlora":
        return "finetuning_type is 'qlora'; that is finetuning_type 'lora' with quantization '4bit' here."
    if name == "quantization" and str(value).lower() in ("4", "8"):
        takes += f": {value!s}bit is meant, it seems"
    return f"{name} is {_quoted(value)}; it takes {takes}."


def _quoted(value: Any) -> str:
    said = repr(value)
    return said if len(said) <= _SHOWN else f"{said[:_SHOWN]}…"
