"""Why a run failed, in a sentence and what to change: what becomes the job's FailureReason. Imports no PyTorch."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from model.finetune.hyperparameters import Hyperparameters

LONGEST = 1024
"""Characters of a FailureReason (CreateTrainingJob's API); SageMaker cuts what is longer."""
SHORTEST_SECRET = 8
_OUT_OF_MEMORY = re.compile(
    r"out of memory|can't allocate memory|cannot allocate memory|not enough memory|std::bad_alloc|CUBLAS_STATUS_ALLOC_FAILED",
    re.IGNORECASE,
)
_SECRET_NAME = re.compile(r"token|secret|password|passwd|credential|api_?key|access_?key|private_?key", re.IGNORECASE)
_SECRETS = re.compile(
    r"hf_[A-Za-z0-9]{8,}|(?:AKIA|ASIA)[A-Z0-9]{12,}|sk-[A-Za-z0-9_-]{16,}|eyJ[\w-]{10,}\.[\w-]{10,}(?:\.[\w-]*)?"
    r"|(?<=://)[^\s/@:]+:[^\s/@]+(?=@)|(?i:(?<=bearer )[\w.~+/=-]{8,})|(?<=\?)[^\s\"'<>]*(?i:signature|token|credential)=[^\s\"'<>]*"
)


class RunFailedError(Exception):
    """Raised when a run cannot go on; its text says why and what to change, and becomes the job's FailureReason."""


class DivergedError(RunFailedError):
    """Raised when the loss, the gradients or the weights are not finite any more."""


class NoMemoryError(RunFailedError):
    """Raised in place of the error of an allocator, with what to change."""


@dataclass(frozen=True)
class Stage:
    """How far a run was when it failed: `step` is of those `done`, None before the first began. `gigabytes` is the memory of
    what ran out of it, 0 where it is not known."""

    step: int | None = None
    gpus: int = 0
    gigabytes: float = 0.0
    gpu: bool = False


def reason(text: str) -> str:
    """As much of a text as SageMaker shows of it, without secrets."""
    text = shown(text)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def shown(text: str, environment: Mapping[str, str] | None = None) -> str:
    """The text without what looks like a secret, or is one of the environment's."""
    for name, value in (os.environ if environment is None else environment).items():
        if _SECRET_NAME.search(name) and len(value) >= SHORTEST_SECRET:
            text = text.replace(value, "***")
    return _SECRETS.sub("***", text).strip()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a GPU or the host had no memory left, by PyTorch's kinds of errors and the words of its allocators."""
    kinds = {kind.__name__ for kind in type(error).__mro__}
    if kinds & {"OutOfMemoryError", "MemoryError"}:
        return True
    return isinstance(error, RuntimeError | OSError) and bool(_OUT_OF_MEMORY.search(str(error)))


def out_of_memory(asked: Hyperparameters, stage: Stage, said: str = "") -> str:
    """What to change, in the order of its effect on this very run. `said` are the words of whoever ran out of it."""
    what = f"a GPU{f' of {stage.gigabytes:.0f} GB' if stage.gigabytes else ''}" if stage.gpu else "the host"
    when = "before the first step" if stage.step is None else f"at step {stage.step + 1}"
    changes = "; ".join(f"{number}. {change}" for number, change in enumerate(_changes(asked, stage), 1))
    first = f"Out of memory: {what} had none left {when}, with {_settings(asked)}. Change, by effect: {changes}."
    told = " ".join(said.split())
    return f"{first} It said: {told}" if told else first


def killed(asked: Hyperparameters, stage: Stage, process: str = "The training process") -> str:
    """Of a process that the kernel ended by signal 9."""
    return (
        f"{process} was killed by signal 9, as the kernel does when a host is out of memory (OOM killer), with"
        f" {_settings(asked)}. Change, by effect: "
        + "; ".join(f"{number}. {change}" for number, change in enumerate(_changes(asked, stage), 1))
        + "."
    )


def diverged(
    asked: Hyperparameters, *, what: str, value: float, step: int, steps: int, last: float | None, at: float, sound: str
) -> str:
    """`what` was no finite number at a step; `last` is the loss of the step before, `at` the learning rate, `sound` what can be
    gone on from."""
    before = "no step before it had a finite one" if last is None else f"the step before had a loss of {last:.6g}"
    tries = [f"learning_rate {asked.learning_rate:g} → {asked.learning_rate / 10:g}"]
    if asked.warmup_ratio < 0.1:
        tries.append(f"warmup_ratio {asked.warmup_ratio:g} → 0.1")
    if last is None:
        tries.append(
            "another base model or dtype: its own weights may not be finite, or an example has nothing to learn from"
        )
    if asked.batch_size * asked.gradient_accumulation_steps < 8:
        tries.append(
            f"gradient_accumulation_steps {asked.gradient_accumulation_steps} → {asked.gradient_accumulation_steps * 4}"
        )
    if asked.quantization == "4bit":
        tries.append("quantization 8bit or none")
    shown = "infinite" if math.isinf(value) else "not a number (NaN)"
    return (
        f"Training diverged: {what} was {shown} at step {step} of {steps}; {before}, at a learning rate of {at:.3g}."
        f" Try: {'; '.join(tries)}. It was stopped at once and its weights were not saved; {sound}."
    )


def _settings(asked: Hyperparameters) -> str:
    return (
        f"batch_size {asked.batch_size}, max_length {asked.max_length}, finetuning_type {asked.finetuning_type},"
        f" quantization {asked.quantization}, gradient_checkpointing {str(asked.gradient_checkpointing).lower()}"
    )


def _changes(asked: Hyperparameters, stage: Stage) -> Iterator[str]:
    """Before the first step the weights are what is too much, later the activations of a batch."""
    weights, activations = list(_of_weights(asked, stage)), list(_of_activations(asked))
    yield from [*weights, *activations] if stage.step is None else [*activations, *weights]
    yield "an instance type with more memory: `trainmaster train estimate` names those that fit, and their cost"


def _of_activations(asked: Hyperparameters) -> Iterator[str]:
    if not asked.gradient_checkpointing:
        yield "gradient_checkpointing true"
    if asked.batch_size > 1:
        smaller = asked.batch_size // 2
        steps = math.ceil(asked.batch_size * asked.gradient_accumulation_steps / smaller)
        same = (
            "the same" if smaller * steps == asked.batch_size * asked.gradient_accumulation_steps else "about the same"
        )
        yield (
            f"batch_size {asked.batch_size} → {smaller} with gradient_accumulation_steps"
            f" {asked.gradient_accumulation_steps} → {steps}, {same} effective batch"
        )
    if asked.max_length > 256:
        yield f"max_length {asked.max_length} → {asked.max_length // 2}"


def _of_weights(asked: Hyperparameters, stage: Stage) -> Iterator[str]:
    if asked.finetuning_type == "full":
        yield "finetuning_type lora"
    if asked.quantization != "4bit" and (stage.gpu or stage.gpus):
        needs = "" if asked.finetuning_type == "lora" else " (with lora)"
        yield f"quantization {asked.quantization} → 4bit{needs}"
