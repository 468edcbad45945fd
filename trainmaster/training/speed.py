"""How long fine-tuning takes on a GPU: operations of a token, what GPUs do of them, and the share of that which training reaches. Pure.

    seconds of a batch = 0.08 + tokens × operations of a token ÷ (peak of the GPU × share reached) + unpacking of quantised weights
    seconds of a job = batches × that ÷ (GPUs × share that several reach) + start

A parameter costs 2 operations in a forward pass, 2 for the gradient of what came in, and 2 for its own, which a frozen one has not; and
2 again where checkpointing computes the forward pass twice. Attention adds 2 × layers × width × length to a forward pass (Chowdhery et
al., PaLM, arXiv:2204.02311, appendix B, halved for causal masks). A reference model costs a forward pass.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from trainmaster.budget.hardware import Hardware
from trainmaster.training.memory import Setup
from trainmaster.training.shapes import Shape


@dataclass(frozen=True)
class Speed:
    """10¹² operations a second at most, without sparsity, in the precision that is trained in; the share training reaches of them; and
    what its memory gives in GB a second. `linked` when the GPUs of an instance have NVLink."""

    peak: float
    reached: float
    bandwidth: float
    linked: bool = False


SPEEDS: Mapping[str, Speed] = {
    "T4": Speed(8.1, 0.6, 320), "V100": Speed(15.7, 0.6, 900, linked=True), "A10G": Speed(70, 0.5, 600),
    "L4": Speed(121, 0.35, 300), "L40S": Speed(362, 0.4, 864), "A100": Speed(312, 0.55, 2039, linked=True),
    "H100": Speed(989, 0.44, 3350, linked=True), "H200": Speed(989, 0.44, 4800, linked=True),
}  # fmt: skip
"""Peaks and bandwidths are NVIDIA's, of bfloat16, of 32 bits where there is none; the A10G's is AWS's. The A100's share is what Qwen's
table of LoRA comes to (github.com/QwenLM/Qwen, README, "Profiling of Memory and Speed": 0.56 for 7B, 0.58 for 14B), the H100's that times
0.8, by which MosaicML's table has it below the A100 (github.com/mosaicml/llm-foundry, scripts/train/benchmarking). Of the others no such
table was found: theirs are allowances by the A100's, lower where memory or power is narrow."""
BATCH_SECONDS = 0.08
"""That a batch takes however small it is: Qwen's table again, 0.06 to 0.10 s for 1.8B to 14B."""
UNPACKED = {"none": 0.0, "4bit": 77.0, "8bit": 154.0}
"""Bytes of memory traffic for a quantised parameter in each batch: Qwen's table of Q-LoRA on an A100 comes to 74 to 79 for 7B, 14B and 72B.
Twice that for 8 bits is an allowance of ours."""
LINKED, UNLINKED, BETWEEN = 0.9, 0.7, 0.8
"""What several GPUs reach of their sum: with NVLink, over PCI Express, and several instances besides. Allowances of ours."""
PADDING = 1.3
"""What batches of examples that are not packed grow by: each is as long as its longest."""
STARTING_SECONDS, LOADED_BYTES = 240, 200e6
"""Billed before the first step and after the last: container, data, libraries; and the model, so many bytes a second."""


@dataclass(frozen=True)
class Data:
    """What is trained on: examples, their tokens on average, and those of the longest, 0 where that is not known."""

    examples: int
    tokens: float
    longest: int = 0


def operations(shape: Shape, setup: Setup, length: float) -> float:
    """Of one token of a sequence of this length."""
    forward = 2 * shape.parameters + 2 * shape.layers * shape.hidden * length
    learning = 4 * shape.parameters if setup.trained == "full" else 2 * shape.parameters
    backward = learning + 4 * shape.layers * shape.hidden * length
    return forward * (1 + setup.checkpointing + setup.reference) + backward


def batch_seconds(shape: Shape, setup: Setup, gpu: str, length: float) -> float | None:
    """Of one batch of sequences of this length on one GPU, its gradients included; None of a GPU whose speed is not known."""
    speed = SPEEDS.get(gpu)
    if speed is None:
        return None
    tokens = setup.batch_size * setup.answers * length
    working = tokens * operations(shape, setup, length) / (speed.peak * 1e12 * speed.reached)
    return BATCH_SECONDS + working + UNPACKED[setup.bits] * shape.parameters / (speed.bandwidth * 1e9)


def seconds(shape: Shape, setup: Setup, data: Data, hardware: Hardware, instances: int = 1) -> float | None:
    """That AWS bills for; None of a GPU whose speed is not known."""
    pieces = math.ceil(data.tokens / setup.max_length) if setup.method == "cpt" else 1  # raw text is split, else cut
    length = max(min(data.tokens / pieces, setup.max_length), 1.0)
    grown = min(length * (1.0 if setup.batch_size == 1 else PADDING), setup.max_length)
    each = batch_seconds(shape, setup, hardware.gpu, float(setup.max_length) if setup.packing else grown)
    if each is None or not hardware.gpus:
        return None
    sequences = data.examples * pieces * setup.epochs * (length / setup.max_length if setup.packing else 1.0)
    gpus = hardware.gpus * instances
    batches = max(math.ceil(sequences / setup.batch_size), 1)
    if setup.max_steps:  # in place of the epochs, be they more or fewer
        batches = setup.max_steps * setup.accumulation * gpus
    return (
        STARTING_SECONDS
        + 2 * shape.parameters / LOADED_BYTES
        + batches * each / (gpus * _together(hardware, instances))
    )


def _together(hardware: Hardware, instances: int) -> float:
    """The share that several GPUs reach of their sum."""
    speed = SPEEDS[hardware.gpu]
    inside = 1.0 if hardware.gpus == 1 else LINKED if speed.linked else UNLINKED
    return inside * (BETWEEN if instances > 1 else 1.0)
