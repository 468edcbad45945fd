"""What a fine-tuning run says when it fails: a sentence, the settings to change in the order of their effect, and no secret."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest

from model.finetune import gpus
from model.finetune.failures import (
    LONGEST,
    Stage,
    diverged,
    is_out_of_memory,
    killed,
    out_of_memory,
    reason,
    shown,
)
from model.finetune.hyperparameters import Hyperparameters

ON_GPU = Stage(step=4, gpus=1, gigabytes=23.7, gpu=True)


def order(text: str, *names: str) -> list[str]:
    """Those of the names in the numbered changes, as they stand there."""
    changes = text.partition("Change, by effect: ")[2]
    return sorted((name for name in names if name in changes), key=changes.index)


@pytest.mark.parametrize(
    ("settings", "stage", "expected"),
    [
        ({}, ON_GPU, ["batch_size", "max_length", "quantization", "instance type"]),
        (
            {"gradient_checkpointing": False}, ON_GPU,
            ["gradient_checkpointing", "batch_size", "max_length", "quantization", "instance type"],
        ),
        (
            {"finetuning_type": "full", "batch_size": 1}, ON_GPU,
            ["max_length", "finetuning_type", "quantization", "instance type"],
        ),
        (
            {"finetuning_type": "full"}, Stage(gpus=8, gpu=True),
            ["finetuning_type", "quantization", "batch_size", "max_length", "instance type"],
        ),
        ({"quantization": "4bit", "batch_size": 1, "max_length": 128}, ON_GPU, ["instance type"]),
        ({}, Stage(step=0), ["batch_size", "max_length", "instance type"]),
    ],
    ids=["activations first", "checkpointing before all", "full", "weights before the first step", "nothing left", "on a CPU"],
)  # fmt: skip
def test_the_changes_that_matter_for_this_run_are_named_in_the_order_of_their_effect(
    settings: dict[str, Any], stage: Stage, expected: list[str]
) -> None:
    said = out_of_memory(Hyperparameters(**settings), stage)
    names = (
        "gradient_checkpointing", "batch_size", "max_length", "finetuning_type lora", "quantization", "instance type",
    )  # fmt: skip
    assert [name.removesuffix(" lora") for name in order(said, *names)] == expected


@pytest.mark.parametrize(
    ("batch", "steps", "said"),
    [
        (8, 2, "batch_size 8 → 4 with gradient_accumulation_steps 2 → 4, the same effective batch"),
        (3, 1, "batch_size 3 → 1 with gradient_accumulation_steps 1 → 3, the same effective batch"),
        (5, 1, "batch_size 5 → 2 with gradient_accumulation_steps 1 → 3, about the same effective batch"),
    ],
)
def test_a_smaller_batch_is_made_up_for_by_accumulation(batch: int, steps: int, said: str) -> None:
    asked = Hyperparameters(batch_size=batch, gradient_accumulation_steps=steps)
    assert said in out_of_memory(asked, ON_GPU)


def test_the_sentence_comes_first_with_what_ran_out_where_and_with_which_settings() -> None:
    said = out_of_memory(Hyperparameters(batch_size=8), ON_GPU, "CUDA out of memory.\n Tried to allocate 2 GiB.")
    assert said.startswith(
        "Out of memory: a GPU of 24 GB had none left at step 5, with batch_size 8, max_length 2048, finetuning_type lora,"
    )
    assert said.endswith("It said: CUDA out of memory. Tried to allocate 2 GiB.")
    assert out_of_memory(Hyperparameters(), Stage()).startswith(
        "Out of memory: the host had none left before the first"
    )
    assert killed(Hyperparameters(), Stage(), "The process of rank 1").startswith("The process of rank 1 was killed by")


def test_what_is_too_long_for_a_failure_reason_loses_its_end_not_its_advice() -> None:
    said = reason(out_of_memory(Hyperparameters(gradient_checkpointing=False), ON_GPU, "GPU 0 has " * 500))
    assert len(said) == LONGEST
    assert "`trainmaster train estimate`" in said


def test_divergence_names_the_step_the_last_finite_loss_the_learning_rate_and_what_to_try() -> None:
    asked = Hyperparameters(learning_rate=0.001, batch_size=2)
    said = diverged(asked, what="the loss", value=math.nan, step=12, steps=40, last=2.25, at=8e-4, sound="x is sound")
    assert said == (
        "Training diverged: the loss was not a number (NaN) at step 12 of 40; the step before had a loss of 2.25, at a learning"
        " rate of 0.0008. Try: learning_rate 0.001 → 0.0001; warmup_ratio 0.03 → 0.1; gradient_accumulation_steps 1 → 4. It was"
        " stopped at once and its weights were not saved; x is sound."
    )
    assert "was infinite at step 1 of 40; no step before it had a finite one" in diverged(
        asked,
        what="the norm of the gradients",
        value=math.inf,
        step=1,
        steps=40,
        last=None,
        at=0,
        sound="there is none",
    )


class OutOfMemoryError(RuntimeError):
    """As PyTorch's is called."""


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OutOfMemoryError("CUDA out of memory."), True),
        (MemoryError(), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 74 bytes"), True),
        (OSError("[Errno 12] Cannot allocate memory"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("out of memory is only spoken of"), False),
    ],
    ids=["gpu", "python", "cpu allocator", "fork", "another", "of another kind"],
)  # fmt: skip
def test_memory_that_ran_out_is_known_by_the_kind_and_the_words_of_an_error(error: Exception, expected: bool) -> None:
    assert is_out_of_memory(error) is expected


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("401 for hf_abcdefghijklmnop", "hf_abcdefghijklmnop"),
        ("key ASIA0123456789ABCDEF was refused", "ASIA0123456789ABCDEF"),
        ("GET https://b.s3.amazonaws.com/k?X-Amz-Credential=c&X-Amz-Signature=0a1b2c failed", "0a1b2c"),
        ("Authorization: Bearer abc.def-0123456789", "abc.def-0123456789"),
        ("https://me:hunter2secret@hub.example/x", "hunter2secret"),
        ("the mirror says s3cr3t-of-the-run is wrong", "s3cr3t-of-the-run"),
    ],
    ids=["hub", "aws", "presigned", "bearer", "password in a URL", "of the environment"],
)
def test_secrets_are_never_in_what_is_told(text: str, secret: str) -> None:
    told = shown(text, {"MIRROR_TOKEN": "s3cr3t-of-the-run", "TOKENIZERS_PARALLELISM": "false"})
    assert secret not in told
    assert "***" in told


def cuda(utilization: Any) -> SimpleNamespace:
    """As much of `torch.cuda` as is asked, of a GPU of 24 GB."""
    return SimpleNamespace(
        is_available=lambda: True,
        current_device=lambda: 1,
        max_memory_reserved=lambda device: 18_000_000_000 * device,
        get_device_properties=lambda device: SimpleNamespace(total_memory=24_000_000_000 * device),
        utilization=utilization,
    )


def test_a_gpu_tells_its_memory_and_how_busy_it_is_and_a_cpu_nothing() -> None:
    told = gpus.figures(cuda(lambda _device: 97))
    assert told == {"gpu_memory_gb": 18.0, "gpu_memory_percent": 75.0, "gpu_utilization": 97.0}
    assert gpus.memory_gb(cuda(None)) == 24.0
    assert gpus.figures(SimpleNamespace(is_available=lambda: False)) == {}
    assert gpus.memory_gb(SimpleNamespace(is_available=lambda: False)) == 0


class NVMLError(Exception):
    """As pynvml's errors are kin of no other."""


class NotTold(NVMLError):  # noqa: N818 - as NVMLError_NotSupported is named
    """What a part of a GPU, or a shared one, tells of itself."""


@pytest.mark.parametrize(
    "error",
    [ModuleNotFoundError("No module named 'pynvml'"), NotTold("Not Supported")],
    ids=["not installed", "not told"],
)
def test_a_gpu_whose_library_does_not_tell_how_busy_it_is_tells_its_memory_alone(error: Exception) -> None:
    def absent(_device: int) -> int:
        raise error

    assert set(gpus.figures(cuda(absent))) == {"gpu_memory_gb", "gpu_memory_percent"}
