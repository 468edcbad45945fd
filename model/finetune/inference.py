"""Serves a fine-tuned language model: JSON `{"messages": […]}` or `{"inputs": "…"}` in, `{"generated_text": "…"}` out; or a list of them.

Runs as it is in AWS's Hugging Face container for inference (Python 3.12). There only what `output_fn` says by its context carries a
status of its own, so a refusal travels as a value through the three functions. Answers are given whole: what streams is no part of
that container. It stands alone: nothing but what lies in the artifact is imported, unpickled or run.
"""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from jinja2 import TemplateError
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

JSON = "application/json"
LARGEST_BODY = 1 << 20
MOST_ASKED = 16
"""Requests of one list; they are answered one after the other, each as if it came alone."""
MOST_MESSAGES = 256
MOST_NEW_TOKENS, USUAL_NEW_TOKENS = 4096, 256
MOST_STOPS, LONGEST_STOP = 4, 64
LONGEST_SECONDS = 50.0
"""Of all answers to one call: SageMaker gives up after 60."""
PARAMETERS = ("max_new_tokens", "temperature", "top_p", "stop", "seed")
ROLES = ("system", "user", "assistant", "tool")
SHOWN_CHARACTERS = 80
STAND_IN = "\ue000stand-in\ue001"
"""Of an answer, to find what a template writes behind it; from Unicode's private use area."""
SHORTEST_ENDING = 3
"""Characters that end a turn where no token does: shorter ones stand in answers as well."""


@dataclass(frozen=True)
class Loaded:
    """A model that answers, the version it answers with, and how many tokens it takes, prompt and answer together."""

    model: Any
    tokenizer: Any
    version: str
    context_length: int
    turn: threading.Lock = field(default_factory=threading.Lock)
    """Seeds are the process's own: one answer is made at a time."""


@dataclass(frozen=True)
class Ask:
    """One request that can be answered: a conversation or a text to go on with, and how."""

    messages: Sequence[Mapping[str, Any]] = ()
    inputs: str = ""
    max_new_tokens: int | None = None
    temperature: float = 0.0
    top_p: float = 1.0
    stop: Sequence[str] = ()
    seed: int | None = None


@dataclass(frozen=True)
class Asked:
    """What came in one body; `batch` when a list is answered."""

    requests: Sequence[Ask]
    batch: bool


@dataclass(frozen=True)
class Refusal:
    """Why a body is not answered, and the HTTP status that says whose doing it is."""

    error: str
    status: int = 400


class RefusedError(Exception):
    """Raised when a request cannot be answered."""


def model_fn(model_dir: str, context: Any = None) -> Loaded:
    """The merged weights of the folder, or its adapter on the base model that its card names, on the GPUs there are.

    A base model is loaded from the Hub at the card's revision: that takes the internet and, for a gated one, HF_TOKEN.
    """
    folder = Path(model_dir)
    card = json.loads((folder / "model_card.json").read_text(encoding="utf-8"))
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    how: dict[str, Any] = {"torch_dtype": _dtype(), "use_safetensors": True, "trust_remote_code": False}
    several = torch.cuda.is_available() and torch.cuda.device_count() > 1
    if several:
        how["device_map"] = "auto"
    if (folder / "config.json").is_file():
        model = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True, **how)
    else:
        from peft import PeftModel  # noqa: PLC0415 - merged weights are served without it

        base = card["base_model"]
        model = AutoModelForCausalLM.from_pretrained(base["name"], revision=base.get("revision") or "main", **how)
        model = untied(PeftModel.from_pretrained(model, folder / "adapter")).merge_and_unload()
    if torch.cuda.is_available() and not several:
        model = model.to("cuda")
    return Loaded(model.eval(), tokenizer, card["model_version"], context_length(model))


def untied(model: Any) -> Any:
    """A model with an adapter, ready to be merged: where embeddings and last layer share their weights and one of them was trained, each
    has its own, for what is merged into one would change both, and what is read again would be one again."""
    base = model.get_base_model()
    first, last = base.get_input_embeddings(), base.get_output_embeddings()
    plain = [getattr(one, "base_layer", getattr(one, "original_module", one)) for one in (first, last)]
    if last is None or plain == [first, last] or plain[0].weight is not plain[1].weight:
        return model
    plain[1].weight = torch.nn.Parameter(plain[1].weight.detach().clone(), requires_grad=False)
    for config in (base.config, base.config.get_text_config()):
        config.tie_word_embeddings = False
    return model


def input_fn(body: str | bytes, content_type: str | None, context: Any = None) -> Asked | Refusal:
    kind = (content_type or JSON).partition(";")[0].strip().lower()
    if kind != JSON:
        return Refusal(f"Content type {shown(kind)} is not supported; send {JSON}.", 415)
    if len(body) > LARGEST_BODY:
        return Refusal(f"The body has {len(body):,} bytes; at most {LARGEST_BODY:,} are taken.", 413)
    try:
        content = json.loads(body)
    except (ValueError, RecursionError) as error:
        return Refusal(f"The body is not JSON: {error}.")
    batch = isinstance(content, list)
    listed = content if batch else [content]
    if not 1 <= len(listed) <= MOST_ASKED:
        return Refusal(f"The list has {len(listed)} requests; 1 to {MOST_ASKED} are taken.")
    asked = []
    for number, one in enumerate(listed, 1):
        try:
            asked.append(ask_of(one))
        except RefusedError as error:
            return Refusal(f"Request {number}: {error}." if batch else f"{str(error)[0].upper()}{str(error)[1:]}.")
    return Asked(asked, batch)


def predict_fn(asked: Asked | Refusal, loaded: Loaded, context: Any = None) -> Any:
    """An answer, or a list of them, or a refusal of them all."""
    if isinstance(asked, Refusal):
        return asked
    try:
        prompts = [prompt_of(one, loaded) for one in asked.requests]
    except RefusedError as error:
        return Refusal(f"{str(error)[0].upper()}{str(error)[1:]}.")
    seconds = LONGEST_SECONDS / len(prompts)
    answers = [
        answer(loaded, one, prompt, seconds=seconds) for one, prompt in zip(asked.requests, prompts, strict=True)
    ]
    return answers if asked.batch else answers[0]


def output_fn(answered: Any, accept: str | None, context: Any = None) -> str:
    """JSON whatever is accepted: nothing else can be said. A refusal is `{"error": "…"}` with its status."""
    kinds = {part.partition(";")[0].strip().lower() for part in (accept or "*/*").split(",")}
    if not isinstance(answered, Refusal) and not kinds & {JSON, "application/*", "*/*"}:
        answered = Refusal(f"None of {shown(accept)} can be answered; accept {JSON}.", 406)
    if not isinstance(answered, Refusal):
        return json.dumps(answered)
    if context is not None:
        context.set_response_status(answered.status, "Refused")
    return json.dumps({"error": answered.error})


def ask_of(value: Any) -> Ask:
    """Raises RefusedError."""
    if not isinstance(value, dict):
        raise RefusedError(f'an object with "messages" or "inputs" is wanted, not {shown(value)}')
    if unknown := [name for name in value if name not in ("messages", "inputs", "parameters")]:
        raise RefusedError(f"{shown(unknown[0])} is not known; known are messages, inputs and parameters")
    if ("messages" in value) == ("inputs" in value):
        raise RefusedError('give either "messages" or "inputs"')
    how = _parameters(value.get("parameters", {}))
    if "inputs" in value:
        if not isinstance(value["inputs"], str) or not value["inputs"]:
            raise RefusedError(f"inputs is {shown(value['inputs'])}; a text to go on with is wanted")
        return Ask(inputs=value["inputs"], **how)
    return Ask(messages=_messages(value["messages"]), **how)


def prompt_of(ask: Ask, loaded: Loaded) -> list[int]:
    """Its tokens. Raises RefusedError for more than the model takes."""
    tokenizer = loaded.tokenizer
    if ask.messages:
        if not tokenizer.chat_template:
            raise RefusedError('this model has no chat template, so it takes no "messages"; send "inputs"')
        try:
            text = tokenizer.apply_chat_template(list(ask.messages), add_generation_prompt=True, tokenize=False)
        except TemplateError as error:
            raise RefusedError(f"the model's chat template does not take these messages: {error}") from error
        tokens: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    else:
        tokens = tokenizer(ask.inputs)["input_ids"]
    most, wanted = loaded.context_length, ask.max_new_tokens or 1
    if not tokens:
        raise RefusedError("the prompt has no tokens")
    if len(tokens) + wanted > most:
        asked = f" and {wanted:,} are asked for" if ask.max_new_tokens else ""
        raise RefusedError(f"the prompt has {len(tokens):,} tokens{asked}; the model takes {most:,} together")
    return tokens


@torch.inference_mode()
def answer(loaded: Loaded, ask: Ask, prompt: Sequence[int], *, seconds: float = LONGEST_SECONDS) -> dict[str, Any]:
    """What the model goes on with; at a temperature of 0 always the same."""
    model, tokenizer = loaded.model, loaded.tokenizer
    left = loaded.context_length - len(prompt)
    most = ask.max_new_tokens or min(USUAL_NEW_TOKENS, left)
    ends = end_tokens(model, tokenizer)
    ending = turn_end(tokenizer) if ask.messages else ""
    stops = [*ask.stop, *([ending] if len(ending) >= SHORTEST_ENDING and _token_of(ending, tokenizer) is None else [])]
    config = GenerationConfig(
        max_new_tokens=most,
        do_sample=ask.temperature > 0,
        eos_token_id=ends or None,
        pad_token_id=tokenizer.pad_token_id if tokenizer.pad_token_id is not None else next(iter(ends), 0),
        max_time=seconds,
        **({"temperature": ask.temperature, "top_p": ask.top_p, "top_k": 0} if ask.temperature > 0 else {}),
        **({"stop_strings": stops} if stops else {}),
    )
    ids = torch.tensor([list(prompt)], device=model.device)
    with loaded.turn:
        if ask.temperature > 0 and ask.seed is not None:
            torch.manual_seed(ask.seed)
        elif ask.temperature > 0:
            torch.seed()
        made = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            generation_config=config,
            tokenizer=tokenizer if stops else None,
            use_model_defaults=False,  # else what is asked for here gives way to what the model was published with
        )
    new: list[int] = made[0, len(prompt) :].tolist()
    ended = bool(new) and new[-1] in ends
    text: str = tokenizer.decode(new, skip_special_tokens=True)
    found = [at for stop in stops if (at := text.find(stop)) >= 0]
    reason = "stop" if ended or found else "length" if len(new) >= most else "time"
    return {
        "generated_text": text[: min(found)] if found else text,
        "model_version": loaded.version,
        "finish_reason": reason,
        "usage": {"prompt_tokens": len(prompt), "completion_tokens": len(new)},
    }


def end_tokens(model: Any, tokenizer: Any) -> list[int]:
    """Those that end an answer: chat models often have one more than their tokenizer says, and base models turns that end otherwise
    than texts."""
    told = getattr(model.generation_config, "eos_token_id", None)
    ends = list(told) if isinstance(told, (list, tuple)) else [told]
    turn = _token_of(turn_end(tokenizer), tokenizer)
    return sorted({end for end in (*ends, tokenizer.eos_token_id, turn) if isinstance(end, int)})


def turn_end(tokenizer: Any) -> str:
    """What the chat template writes behind an answer; "" where that is nothing, or there is no template."""
    if not tokenizer.chat_template:
        return ""
    messages = [{"role": "user", "content": "?"}, {"role": "assistant", "content": STAND_IN}]
    try:
        text: str = tokenizer.apply_chat_template(messages, tokenize=False)
    except (TemplateError, TypeError, ValueError, KeyError, AttributeError):  # whoever asks it something is told
        return ""
    return text.partition(STAND_IN)[2].strip()


def _token_of(ending: str, tokenizer: Any) -> int | None:
    """The token a text begins with, where it is one of those that were added to the vocabulary as a whole."""
    added = {number: token.content for number, token in tokenizer.added_tokens_decoder.items()}
    found = [number for number, content in added.items() if content and ending.startswith(content)]
    return max(found, key=lambda number: len(added[number]), default=None)


def context_length(model: Any) -> int:
    """Tokens; of a configuration that does not say, as many as any answers may have."""
    config = model.config.get_text_config() if hasattr(model.config, "get_text_config") else model.config
    return int(getattr(config, "max_position_embeddings", 0) or MOST_NEW_TOKENS)


def _dtype() -> torch.dtype:
    if not torch.cuda.is_available():
        return torch.float32
    return torch.bfloat16 if torch.cuda.get_device_capability()[0] >= 8 else torch.float16  # Ampere and newer


def _messages(value: Any) -> list[dict[str, Any]]:
    if not isinstance(value, list) or not 1 <= len(value) <= MOST_MESSAGES:
        raise RefusedError(f"messages is {shown(value)}; a list of 1 to {MOST_MESSAGES} is wanted")
    for number, one in enumerate(value, 1):
        if not isinstance(one, dict) or one.get("role") not in ROLES or not isinstance(one.get("content"), str):
            raise RefusedError(
                f'message {number} is {shown(one)}; wanted is {{"role": "…", "content": "…"}} with a role of {", ".join(ROLES)}'
            )
    return value


def _parameters(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise RefusedError(f"parameters is {shown(value)}; an object is wanted")
    for name in value:
        if name not in PARAMETERS:
            raise RefusedError(f"parameter {shown(name)} is not known; known are {', '.join(PARAMETERS)}")
    told = dict(value)
    for name, (low, high, whole) in {
        "max_new_tokens": (1, MOST_NEW_TOKENS, True),
        "temperature": (0, 2, False),
        "top_p": (1e-6, 1, False),
        "seed": (0, 2**63 - 1, True),
    }.items():
        if name in told and not _is_within(told[name], low, high, whole):
            number = "a whole number" if whole else "a number"
            raise RefusedError(f"{name} is {shown(told[name])}; accepted is {number} from {low:g} to {high:g}")
    if "stop" in told:
        stops = [told["stop"]] if isinstance(told["stop"], str) else told["stop"]
        if (
            not isinstance(stops, list)
            or len(stops) > MOST_STOPS
            or not all(isinstance(one, str) and 0 < len(one) <= LONGEST_STOP for one in stops)
        ):
            raise RefusedError(
                f"stop is {shown(told['stop'])}; at most {MOST_STOPS} texts of at most {LONGEST_STOP} characters are taken"
            )
        told["stop"] = stops
    return told


def _is_within(value: Any, low: float, high: float, whole: bool) -> bool:
    if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
        return False
    return math.isfinite(value) and low <= value <= high


def shown(value: Any) -> str:
    """What came, in JSON, cut where it is long."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[: SHOWN_CHARACTERS - 1]}…"
