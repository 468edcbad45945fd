"""How much GPU memory fine-tuning a language model takes, estimated before a dollar is spent, and which instances have it.

    GB = 1.2 × (parameters in billions × bytes per parameter) + 1.5

The bytes of a parameter while it is trained:

- all parameters in mixed precision with Adam: 16, which is 2 for the weight, 2 for its gradient and 12 for the optimizer's copy
  and moments (Rajbhandari et al., ZeRO, arXiv:1910.02054, section 3.1);
- LoRA: 2 for the frozen weight, and 16 for each parameter of the adapters, taken as 1 % of the model's (Hu et al.,
  arXiv:2106.09685, train less at the usual ranks);
- LoRA on 8 bits: 1 and the adapters; on 4 bits (QLoRA, Dettmers et al., arXiv:2305.14314, section 3): 0.516, which is half a byte
  and 0.127 bits of constants, and the adapters.

The fifth above that is for activations with gradient checkpointing, the 1.5 GB for CUDA; both are allowances of ours. Batches of
long sequences take more. GPUs are taken to share the model, all of a job's instances together, as FSDP and DeepSpeed have it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from trainmaster.budget.hardware import hardware_of

Method = Literal["full", "lora", "lora on 8 bits", "lora on 4 bits"]
ADAPTER_SHARE = 0.01
BYTES: Mapping[Method, float] = {
    "full": 16.0,
    "lora": 2.0 + 16 * ADAPTER_SHARE,
    "lora on 8 bits": 1.0 + 16 * ADAPTER_SHARE,
    "lora on 4 bits": 0.516 + 16 * ADAPTER_SHARE,
}
ACTIVATIONS, CUDA_GB = 1.2, 1.5

_NAMED_IN = ("base_model", "model_name_or_path", "model_id", "base_model_id", "pretrained_model", "model_name", "model")
_SIZE = re.compile(r"(?<![a-z0-9.])(?:(\d+)x)?(\d+(?:\.\d+)?)([bm])(?![a-z0-9])")
_EXPERTS = re.compile(r"(?<![a-z0-9])\d+e(?![a-z0-9])")
"""As in `17B-16E`: the size that is named is not that of all experts together."""
_WITHOUT_SIZE = {
    "distilgpt2": 0.082, "gpt2": 0.124, "gpt2-medium": 0.355, "gpt2-large": 0.774, "gpt2-xl": 1.558, "phi-2": 2.78,
}  # fmt: skip


@dataclass(frozen=True)
class MemoryNeed:
    """What training a model takes, in GB of GPU memory, by the estimate above."""

    model: str
    billions: float
    method: Method

    @property
    def gigabytes(self) -> float:
        return ACTIVATIONS * self.billions * BYTES[self.method] + CUDA_GB

    def fits(self, instance_type: str, instance_count: int) -> bool:
        """Whether the GPUs of so many instances have that much together."""
        return gpu_memory_gb(instance_type) * instance_count >= self.gigabytes

    def sentence(self) -> str:
        how = "all its parameters" if self.method == "full" else self.method.replace("lora", "LoRA")
        return (
            f"Training {self.model} ({self.billions:g} billion parameters, {how}) is estimated to take"
            f" {self.gigabytes:.0f} GB of GPU memory"
        )


def memory_need(hyperparameters: Mapping[str, Any]) -> MemoryNeed | None:
    """What a job of these hyperparameters takes; nested ones count too. None when they do not tell the model's size."""
    settings = dict(_flat(hyperparameters))
    named = [str(settings[name]) for name in _NAMED_IN if settings.get(name)]
    for model in named:
        billions = parameters_of(model)
        if billions:
            return MemoryNeed(model, billions, method_of(settings))
    return None


def parameters_of(model: str) -> float | None:
    """Billions of parameters of a model, by its name: `meta-llama/Llama-3.1-8B` has 8; None when its name does not tell."""
    name = model.lower().rstrip("/").rpartition("/")[2].replace("_", "-")
    if _EXPERTS.search(name):
        return None
    sizes = [
        int(experts or 1) * float(number) / (1 if unit == "b" else 1000)
        for experts, number, unit in _SIZE.findall(name)
    ]
    return max(sizes, default=_WITHOUT_SIZE.get(name))


def method_of(settings: Mapping[str, Any]) -> Method:
    """How the model is trained, by hyperparameters as the usual trainers name them; all parameters unless one says otherwise."""
    said = {
        str(settings.get(name, "")).lower() for name in ("method", "finetuning_type", "training_method", "peft_type")
    }
    quantization = str(settings.get("quantization") or settings.get("quantization_bits") or settings.get("bits") or "")
    if _on(settings.get("load_in_4bit")) or "qlora" in said or re.search(r"(?<!\d)4(?!\d)|qlora", quantization.lower()):
        return "lora on 4 bits"
    if _on(settings.get("load_in_8bit")) or re.search(r"(?<!\d)8(?!\d)", quantization):
        return "lora on 8 bits"
    lora = any(_on(value) for name, value in settings.items() if re.match(r"(use_)?(lora|peft|dora)(_|$)", name))
    return "lora" if lora or said & {"lora", "dora", "peft"} else "full"


def gpu_memory_gb(instance_type: str) -> int:
    """Of all its GPUs; 0 for none, and for a type that is not known."""
    hardware = hardware_of(instance_type)
    return hardware.gpus * hardware.gpu_memory_gb if hardware else 0


def can_hold(need: MemoryNeed | None, asked: str, instance_type: str, instance_count: int) -> bool:
    """Whether a type is worth suggesting in place of the one that was asked for: it holds the model, or where the model's size
    is not known, has no less GPU memory than that one."""
    if need:
        return need.fits(instance_type, instance_count)
    return gpu_memory_gb(instance_type) >= gpu_memory_gb(asked)


def _flat(settings: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value)
            yield str(name).lower().replace("-", "_"), value.get("name", value.get("enabled", bool(value)))
        else:
            yield str(name).lower().replace("-", "_"), value


def _on(value: Any) -> bool:
    return str(value).lower() not in {"", "0", "false", "no", "none", "null", "off"}
