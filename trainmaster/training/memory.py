"""How much memory fine-tuning a language model takes of each GPU. Pure; docs/fine-tuning.md has what it was checked against.

    bytes = 1.05 × (weights + gradients + optimizer + activations) + 1.2 GB

- All parameters: 4 for the weight, 4 for its gradient and 8 for Adam's moments, the 16 of Rajbhandari et al. (ZeRO, arXiv:1910.02054,
  section 3.1); and 2 for the copies in 16 bits that autocasting keeps where the model is not sharded.
- LoRA: 2 for the frozen weight, and 16 for each parameter of the adapters, which are on every linear layer. On 8 bits 1, on 4 bits
  0.516 for the weights of linear layers, which is half a byte and 0.127 bits of constants (Dettmers et al., QLoRA, arXiv:2305.14314,
  section 3); embedding and output layer keep 2.
- Activations of a token: 2 × width for each layer and 42 × width for the one at hand, with gradient checkpointing; 42 × width for each
  layer without (Korthikanti et al., arXiv:2205.05198, have 34 for a plain feed-forward layer and attention that is recomputed);
  and 12 for each word of the vocabulary, for logits in 16 and in 32 bits and their gradients.
- Preferences are learnt from two answers at once, which doubles the tokens; DPO and KTO with all parameters keep a second model.

Where all weights are trained, GPUs share weights, gradients and optimizer (FSDP), each with two layers and the embeddings whole as it
works on them; beside adapters each GPU has the model whole, unless `sharding` says otherwise, and a quantised one always. What is not
shared does not become less by more GPUs: a model fits only if it fits each of them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from trainmaster.budget.hardware import Hardware
from trainmaster.training.shapes import Shape

Trained = Literal["full", "lora"]
Bits = Literal["none", "8bit", "4bit"]
LINEAR_BYTES: Mapping[Bits, float] = {"none": 2.0, "8bit": 1.0, "4bit": 0.516}
WEIGHT, GRADIENT, COPY, FROZEN = 4.0, 4.0, 2.0, 2.0
LAYER, KEPT, LOGIT = 42, 2, 12
FRAGMENTS, CUDA = 1.05, 1.2e9
USABLE = 0.96
"""Of a GPU's memory; the driver and error correction keep the rest (a T4 of 16 GB shows 15.6, an A10G of 24 shows 23.7)."""
WITHOUT_BF16 = frozenset({"T4", "V100"})
"""GPUs that compute in 32 bits what others do in 16."""
MOST = 1e12
"""Of anything that is counted; what is said beyond is taken for this."""
_EIGHT_BITS = re.compile(r"8 ?bit")


@dataclass(frozen=True)
class Setup:
    """How a model is trained, as far as its memory and its time depend on it. `rank` is LoRA's."""

    method: str = "sft"
    trained: Trained = "lora"
    bits: Bits = "none"
    max_length: int = 2048
    batch_size: int = 4
    accumulation: int = 1
    checkpointing: bool = True
    optimizer: str = "adamw_torch"
    rank: int = 16
    packing: bool = False
    epochs: float = 3.0
    max_steps: int = 0
    sharding: str = "auto"
    narrow: bool = False
    """Whether all weights are trained in 16 bits, and their optimizer too."""

    @property
    def is_sharded(self) -> bool:
        """Whether several GPUs share the model, or each has all of it: as our trainer has it, where all weights are trained."""
        if self.bits != "none" or self.sharding == "none":
            return False
        return self.trained == "full" or self.sharding == "full"

    @property
    def answers(self) -> int:
        """Sequences an example is."""
        return 2 if self.method in ("dpo", "orpo") else 1

    @property
    def reference(self) -> bool:
        """Whether what is learnt is compared with the model as it was."""
        return self.method in ("dpo", "kto")

    def sentence(self) -> str:
        """Such as `LoRA on 4 bits`."""
        if self.trained == "full":
            return "all its parameters"
        return "LoRA" + ("" if self.bits == "none" else f" on {self.bits[0]} bits")


@dataclass(frozen=True)
class Memory:
    """Bytes of one GPU, by what they are for."""

    weights: float
    gradients: float
    optimizer: float
    activations: float

    @property
    def gigabytes(self) -> float:
        """Of 10⁹ bytes, all together."""
        return (FRAGMENTS * (self.weights + self.gradients + self.optimizer + self.activations) + CUDA) / 1e9


def memory(shape: Shape, setup: Setup, *, gpus: int = 1, longest: int = 0, wide: bool = False) -> Memory:
    """Of each of so many GPUs. `longest` are the tokens of the longest sequence there is, where that is known; `wide` for GPUs without
    bfloat16."""
    share = gpus if setup.is_sharded else 1
    width = 2.0 if wide else 1.0
    each, states, gradient = WEIGHT, _states(setup.optimizer), GRADIENT
    if setup.trained == "full":
        trained = shape.parameters
        if setup.narrow and not wide:
            each, states, gradient = WEIGHT / 2, min(states, _states("adam") / 2), GRADIENT / 2
        copied = 0.0 if wide or share > 1 or setup.narrow else COPY
        weights = (each * (2 if setup.reference else 1) + copied) * trained
    else:
        trained = shape.adapter(setup.rank)
        linear = LINEAR_BYTES[setup.bits] * (width if setup.bits == "none" else 1)
        weights = linear * (shape.parameters - shape.embeddings) + FROZEN * width * shape.embeddings + WEIGHT * trained
    working = FROZEN * width * (2 * shape.layer + shape.embeddings) if share > 1 else 0.0
    length = min(setup.max_length, longest) if longest and not setup.packing else setup.max_length
    tokens = setup.batch_size * setup.answers * length
    layers = KEPT * shape.layers + LAYER if setup.checkpointing else LAYER * shape.layers
    return Memory(
        weights=weights / share + working,
        gradients=gradient * trained / share,
        optimizer=states * trained / share,
        activations=tokens * (width * layers * shape.hidden + LOGIT * shape.vocabulary),
    )


def fits(need: Memory, hardware: Hardware) -> bool:
    """Whether each GPU of an instance has that much."""
    return bool(hardware.gpus) and need.gigabytes <= USABLE * hardware.gpu_memory_gb


def setup_of(settings: Mapping[str, Any]) -> Setup:
    """From hyperparameters as the usual trainers name them, nested or not; what is not said is as our own trainer has it, but that
    all parameters are trained unless one says otherwise."""
    said = {name: value for name, value in flat(settings) if str(value).strip()}
    trained, bits = _trained(said)
    usual = Setup()

    def number(default: float, *names: str) -> float:
        for name in names:
            try:
                value = float(said[name])
            except (KeyError, TypeError, ValueError, OverflowError):
                continue
            if math.isfinite(value):
                return min(max(value, 0.0), MOST)
        return default

    method = str(said.get("training_method", "sft")).lower()
    return Setup(
        method=method if method in ("sft", "dpo", "orpo", "kto", "cpt") else "sft",
        trained=trained,
        bits=bits,
        max_length=int(number(usual.max_length, "max_length", "max_seq_length", "cutoff_len", "model_max_length")) or 1,
        batch_size=int(number(usual.batch_size, "batch_size", "per_device_train_batch_size", "micro_batch_size")) or 1,
        accumulation=int(number(1, "gradient_accumulation_steps")) or 1,
        checkpointing=on(said.get("gradient_checkpointing", True)),
        optimizer=str(said.get("optimizer", said.get("optim", usual.optimizer))),
        rank=int(number(usual.rank, "lora_r", "lora_rank", "r")) or usual.rank,
        packing=on(said.get("packing", False)),
        epochs=number(usual.epochs, "num_epochs", "num_train_epochs", "epochs"),
        max_steps=int(number(0, "max_steps")),
        sharding=str(said.get("sharding", "auto")).lower(),
        narrow=str(said.get("weights_dtype", "")).lower() in ("bfloat16", "bf16", "float16", "fp16"),
    )


def flat(settings: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Every setting by its plain name, those of nested ones too."""
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from flat(value)
            yield str(name).lower().replace("-", "_"), value.get("name", value.get("enabled", bool(value)))
        else:
            yield str(name).lower().replace("-", "_"), value


def on(value: Any) -> bool:
    """Whether a setting is one that switches something on."""
    return str(value).lower() not in {"", "0", "false", "no", "none", "null", "off"}


def _trained(said: Mapping[str, Any]) -> tuple[Trained, Bits]:
    kinds = {str(said.get(name, "")).lower() for name in ("method", "finetuning_type", "training_method", "peft_type")}
    bits = str(said.get("quantization") or said.get("quantization_bits") or said.get("bits") or "").lower()
    if on(said.get("load_in_4bit")) or "qlora" in kinds or re.search(r"(?<!\d)4(?!\d)|qlora", bits):
        return "lora", "4bit"
    if on(said.get("load_in_8bit")) or re.search(r"(?<!\d)8(?!\d)", bits):
        return "lora", "8bit"
    if "full" in kinds:
        return "full", "none"
    lora = any(on(value) for name, value in said.items() if re.match(r"(use_)?(lora|peft|dora)(_|$)", name))
    ours = str(said.get("training_method", "")).lower() in ("sft", "dpo", "orpo", "kto", "cpt")
    return ("lora" if lora or ours or kinds & {"lora", "dora", "peft"} else "full"), "none"


def _states(optimizer: str) -> float:
    """Bytes an optimizer keeps for a parameter."""
    name = optimizer.lower().replace("_", "")
    if "adam" in name:
        return 2.0 if _EIGHT_BITS.search(name) else 8.0
    return 0.1 if "adafactor" in name else 0.0
