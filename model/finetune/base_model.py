"""The model that is trained further, and its tokenizer: from a channel, a path or the Hub, pinned, without pickles or programs of its own."""

from __future__ import annotations

import json
import os
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from jinja2.exceptions import TemplateError
from peft import LoraConfig
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils.import_utils import is_bitsandbytes_available, is_flash_attn_2_available

from model.finetune import hub, inference, processes
from model.finetune.combinations import ALL_LINEAR
from model.finetune.failures import is_out_of_memory
from model.finetune.hub_token import fetch_token
from model.finetune.hyperparameters import CHATML, Hyperparameters
from model.finetune.job import Place
from model.finetune.prepared import scratch
from model.finetune.problems import BadInputError
from model.finetune.rendering import CHATML as CHATML_TEMPLATE

CHANNEL = "model"
PINNED = "base-model.json"
"""Among the checkpoints: which commit of the Hub the run began with, and goes on with after every restart."""


@dataclass(frozen=True)
class BaseModel:
    """Where its files are, and what is known before its weights are read. `revision` is the Hub's commit, "" for others."""

    name: str
    revision: str
    folder: Path
    config: PretrainedConfig
    tokenizer: PreTrainedTokenizerBase
    token: str | None = field(default=None, repr=False)
    """Of the Hub, where one was given."""


def find_base_model(asked: Hyperparameters, place: Place) -> BaseModel:
    """Fetched if it is on the Hub; the same on every process. Raises BadInputError of whatever cannot be trained further."""
    token = fetch_token(asked.hub_token_secret_arn) if asked.hub_token_secret_arn else None
    if CHANNEL in place.channels:
        folder, revision = place.channel(CHANNEL), ""
    elif not asked.model_name:
        raise BadInputError("There is no base model: give model_name, or a channel named 'model'.")
    elif asked.model_name.startswith("s3://"):
        raise BadInputError(
            f"{asked.model_name} did not come by a channel named 'model'. Launch the job by a training config."
        )
    elif asked.model_name.startswith(("/", ".")) or Path(asked.model_name).is_dir():
        folder, revision = Path(asked.model_name), ""
    else:
        folder, revision = _from_the_hub(asked, place, token)
    name = asked.model_name or str(folder)
    check_files(folder, name)
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise BadInputError(f"{name} cannot be read as a model of transformers: {_first_line(error)}") from error
    return BaseModel(name, revision, folder, config, _tokenizer(asked, folder, name, config), token)


def check_files(folder: Path, name: str) -> None:
    """Raises BadInputError where a model's files are not all there."""
    remedy = "Upload the folder that `save_pretrained` wrote, with all its files."
    if not folder.is_dir():
        raise BadInputError(f"There is no base model at {folder}. Correct model_name.")
    if not (folder / "config.json").is_file():
        what = (
            " It has adapter_config.json: merge the adapter with its base model first."
            * (folder / "adapter_config.json").is_file()
        )
        raise BadInputError(f"{name} has no config.json.{what or f' {remedy}'}")
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        try:
            wanted = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        except (json.JSONDecodeError, KeyError, AttributeError) as error:
            raise BadInputError(f"{name} has an index of weights that cannot be read. {remedy}") from error
        missing = sorted(file for file in wanted if not (folder / file).is_file())
        if missing:
            raise BadInputError(
                f"{name} lacks {len(missing)} of {len(wanted)} files of weights, {missing[0]} for one. {remedy}"
            )
    elif not (folder / "model.safetensors").is_file():
        pickled = " It has pickles, which can run programs when they are read." * any(folder.glob("*.bin"))
        raise BadInputError(f"{name} has no weights as safetensors.{pickled} Save it anew with `save_pretrained`.")


def load_weights(asked: Hyperparameters, base: BaseModel) -> PreTrainedModel:
    """Raises BadInputError where they are not those the config describes, or this machine lacks what is asked for."""
    chosen = {} if asked.attention == "auto" else {"attn_implementation": asked.attention}
    if asked.attention == "flash_attention_2" and not is_flash_attn_2_available():
        raise BadInputError("attention is 'flash_attention_2', which this machine does not have. Set it to 'auto'.")
    quantised = quantization_config(asked)
    if quantised is not None:
        chosen |= {"quantization_config": quantised, "device_map": {"": int(os.environ.get("LOCAL_RANK", "0"))}}
    try:
        model, told = AutoModelForCausalLM.from_pretrained(
            base.folder, config=deepcopy(base.config), dtype=weights_dtype(asked), use_safetensors=True, local_files_only=True,
            trust_remote_code=False, output_loading_info=True, **chosen,
        )  # fmt: skip
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        if is_out_of_memory(error):
            raise
        raise BadInputError(f"The weights of {base.name} cannot be read: {_first_line(error)}") from error
    if missing := sorted(told["missing_keys"]):
        raise BadInputError(
            f"{base.name} lacks {len(missing):,} of its weights, {missing[0]} for one: they would begin at random. Choose a model for"
            " text generation, whole."
        )
    model.config._commit_hash = base.revision or None
    _make_generation_sound(model, base.tokenizer)
    return model


def _make_generation_sound(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """With whatever ends an answer among what ends generation; and such that transformers saves it, which it refuses of settings for
    sampling without sampling: at the end of a run, of a model that is trained."""
    config = model.generation_config
    if config is None:
        return
    config.eos_token_id = inference.end_tokens(model, tokenizer)
    try:
        config.validate(strict=True)
    except ValueError:
        config.do_sample = True


def fitted(asked: Hyperparameters, base: BaseModel) -> Hyperparameters:
    """With no longer sequences than the model has positions for; says so where that changes anything."""
    most = getattr(base.config.get_text_config(), "max_position_embeddings", None)
    if not isinstance(most, int) or most < 2 or asked.max_length <= most:
        return asked
    if processes.first_of_all():
        print(f"max_length is {most:,} and not {asked.max_length:,}: {base.name} has no more positions.", flush=True)
    return asked.model_copy(update={"max_length": most})


def computes_in_bf16(asked: Hyperparameters) -> bool:
    """Raises BadInputError where it is asked for and the GPU cannot."""
    able = torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
    if asked.bf16 and torch.cuda.is_available() and not able:
        raise BadInputError(
            f"bf16 is true, and {torch.cuda.get_device_name()} cannot compute in bfloat16. Set it to false, or choose instances with"
            " newer GPUs, such as ml.g5."
        )
    return able if asked.bf16 is None else asked.bf16


def weights_dtype(asked: Hyperparameters) -> torch.dtype:
    """Weights that are all trained are kept in float32: a step's change is often too small for bfloat16 to hold."""
    if asked.weights_dtype != "auto":
        return torch.float32 if asked.weights_dtype == "float32" else torch.bfloat16
    return torch.bfloat16 if asked.finetuning_type == "lora" and computes_in_bf16(asked) else torch.float32


def quantization_config(asked: Hyperparameters) -> BitsAndBytesConfig | None:
    """None when weights are not quantised. Raises BadInputError where they cannot be: without a GPU."""
    if asked.quantization == "none":
        return None
    if not torch.cuda.is_available():
        raise BadInputError(
            f"quantization is {asked.quantization!r}, which needs a GPU, and this machine has none. Choose an instance type with GPUs,"
            " such as ml.g5.xlarge, or set quantization to 'none'."
        )
    if not is_bitsandbytes_available():
        raise BadInputError("quantization needs bitsandbytes, which this container lacks. Set quantization to 'none'.")
    return _bits_and_bytes(asked)


def _bits_and_bytes(asked: Hyperparameters) -> BitsAndBytesConfig:
    if asked.quantization == "8bit":
        return BitsAndBytesConfig(load_in_8bit=True)
    compute = torch.bfloat16 if computes_in_bf16(asked) else torch.float16
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=compute,
        bnb_4bit_quant_storage=compute,
    )


def lora_config(asked: Hyperparameters) -> LoraConfig | None:
    """None when all weights are trained."""
    if asked.finetuning_type == "full":
        return None
    modules = list(asked.lora_target_modules)
    return LoraConfig(
        r=asked.lora_r,
        lora_alpha=asked.lora_alpha,
        lora_dropout=asked.lora_dropout,
        target_modules=ALL_LINEAR if modules == [ALL_LINEAR] else modules,
        modules_to_save=list(asked.lora_modules_to_save) or None,
        use_rslora=asked.use_rslora,
        use_dora=asked.use_dora,
        bias="none",
        task_type="CAUSAL_LM",
    )


def _from_the_hub(asked: Hyperparameters, place: Place, token: str | None) -> tuple[Path, str]:
    """Its folder and commit: the first process of all says which, from what the run began with, and the others take the same."""
    said: Any = None
    if processes.first_of_all():
        try:
            said = _pinned(asked, place, token)
        except BadInputError as error:
            said = error
    said = processes.gathered(said)[0]
    if isinstance(said, BadInputError):
        raise said
    return hub.download(asked.model_name, said, token, scratch() / "hub"), said


def _pinned(asked: Hyperparameters, place: Place, token: str | None) -> str:
    wanted = {"model_name": asked.model_name, "model_revision": asked.model_revision}
    file = place.checkpoints / PINNED
    if file.is_file():
        kept = json.loads(file.read_text(encoding="utf-8"))
        if {name: kept.get(name) for name in wanted} == wanted:
            return str(kept["commit"])
    commit = hub.commit_of(asked.model_name, asked.model_revision, token)
    print(f"The base model is {asked.model_name} at commit {commit}.", flush=True)
    place.checkpoints.mkdir(parents=True, exist_ok=True)
    being = file.with_suffix(".being-written")
    being.write_text(json.dumps({**wanted, "commit": commit}), encoding="utf-8")
    being.replace(file)
    return commit


def _tokenizer(asked: Hyperparameters, folder: Path, name: str, config: PretrainedConfig) -> PreTrainedTokenizerBase:
    """With something to pad with, and with the chat template that is asked for."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # tokenizers raises nothing more exact of a file it cannot read
        raise BadInputError(f"The tokenizer of {name} cannot be read: {_first_line(error)}") from error
    embedded = getattr(config.get_text_config(), "vocab_size", None)
    highest = max(tokenizer.get_vocab().values(), default=-1)
    if isinstance(embedded, int) and highest >= embedded:
        raise BadInputError(
            f"The tokenizer of {name} has tokens up to number {highest:,}, and the model embeds {embedded:,}: they do not belong"
            " together. Give the tokenizer that was saved with the model, or resize its embeddings and save both."
        )
    if tokenizer.eos_token is None:
        raise BadInputError(
            f"The tokenizer of {name} has no token that ends a text (eos_token). Set one in its tokenizer_config.json."
        )
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    if asked.chat_template:
        tokenizer.chat_template = CHATML_TEMPLATE if asked.chat_template == CHATML else asked.chat_template
    return _with_a_template_that_can_be_read(tokenizer, asked)


def _with_a_template_that_can_be_read(
    tokenizer: PreTrainedTokenizerBase, asked: Hyperparameters
) -> PreTrainedTokenizerBase:
    from transformers.utils.chat_template_utils import _compile_jinja_template  # noqa: PLC0415

    templates = tokenizer.chat_template
    for template in templates.values() if isinstance(templates, dict) else [templates]:
        try:
            if template:
                _compile_jinja_template(template)
        except TemplateError as error:
            whose = "chat_template" if asked.chat_template else "The base model's chat template"
            raise BadInputError(
                f"{whose} is no Jinja template: {error} (line {getattr(error, 'lineno', 1)})."
            ) from error
    return tokenizer


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:400]
