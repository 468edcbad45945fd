"""How large a language model is: its parameters, and the widths its activations and adapters follow from. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_SIZE = re.compile(r"(?<![a-z0-9.])(?:(\d{1,3})x)?(\d{1,6}(?:\.\d{1,9})?)([bm])(?![a-z0-9])")
_EXPERTS = re.compile(r"(?<![a-z0-9])\d+e(?![a-z0-9])")
"""As in `17B-16E`: the size that is named is not that of all experts together."""
_WITHOUT_SIZE = {
    "distilgpt2": 0.082, "gpt2": 0.124, "gpt2-medium": 0.355, "gpt2-large": 0.774, "gpt2-xl": 1.558, "phi-2": 2.78,
}  # fmt: skip
_VOCABULARIES = (
    (r"llama-?2|llama-(?:7|13|30|65)b|vicuna|tinyllama|mistral-7b-(?:instruct-)?v0\.[12]|mixtral|yi-|phi-?3", 32_064),
    (r"llama-?[34]", 128_256), (r"mistral|ministral", 131_072), (r"qwen", 151_936), (r"gemma", 256_128),
    (r"smollm", 49_152), (r"gpt2|pythia|opt|phi-?[12]|mpt|falcon|olmo", 65_024),
)  # fmt: skip
"""Of families by their names, the largest of each."""
LARGE_VOCABULARY = 151_936
"""Of a model whose family is not known: that of Qwen, as large as is usual today."""


@dataclass(frozen=True)
class Shape:
    """A decoder's parameters and widths. `heads_width` is that of all its keys together, `middle` of its feed-forward layers."""

    parameters: float
    hidden: int
    layers: int
    middle: int
    heads_width: int
    vocabulary: int
    tied: bool = False
    """Whether its output layer is its embedding."""

    @property
    def embeddings(self) -> float:
        """Parameters of the embedding and the output layer: quantisation leaves them as they are."""
        return min(self.vocabulary * self.hidden * (1 if self.tied else 2), 0.6 * self.parameters)

    @property
    def layer(self) -> float:
        """Parameters of one layer."""
        return (self.parameters - self.embeddings) / self.layers

    def adapter(self, rank: int) -> float:
        """Parameters of LoRA on every linear layer: (in + out) × rank each."""
        h, kv, f = self.hidden, self.heads_width, self.middle
        return self.layers * rank * (4 * h + 2 * (h + kv) + 3 * (h + f))


def parameters_of(model: str) -> float | None:
    """Billions of parameters of a model, by its name: `meta-llama/Llama-3.1-8B` has 8; None when its name does not tell."""
    name = _plain(model)
    if _EXPERTS.search(name):
        return None
    sizes = [
        int(experts or 1) * float(number) / (1 if unit == "b" else 1000)
        for experts, number, unit in _SIZE.findall(name)
    ]
    return max(sizes, default=_WITHOUT_SIZE.get(name))


def shape_of_size(billions: float, model: str = "") -> Shape:
    """What a decoder of this size usually looks like: layers 1/128 of its width, 12 × width² parameters in each (Kaplan et al.,
    arXiv:2001.08361, section 2.1). Its vocabulary is its family's, where the model's name tells that."""
    name = _plain(model)
    vocabulary = next((size for sign, size in _VOCABULARIES if re.search(sign, name)), LARGE_VOCABULARY)
    hidden = max((billions * 1e9 * 128 / 12) ** (1 / 3), 64)
    layers = max(round(hidden / 128), 1)
    return Shape(billions * 1e9, round(hidden), layers, round(8 * hidden / 3), round(hidden / 4), vocabulary)


def shape_of_config(config: Mapping[str, Any]) -> Shape | None:
    """From a model's `config.json` as transformers write it; None when it is not that of a decoder known so."""
    inner = config.get("text_config")
    told = inner if isinstance(inner, Mapping) else config

    def number(*names: str) -> int:
        return next(
            (int(each) for name in names if isinstance(each := told.get(name), int | float) and 0 < each < 1e9), 0
        )

    hidden, layers = number("hidden_size", "n_embd", "d_model"), number("num_hidden_layers", "n_layer", "num_layers")
    vocabulary, heads = number("vocab_size"), number("num_attention_heads", "n_head")
    if not (hidden > 0 and layers > 0 and vocabulary > 0 and heads > 0):
        return None
    middle = number("intermediate_size", "n_inner", "ffn_dim") or 4 * hidden
    width = number("head_dim") or hidden // heads
    keys = (number("num_key_value_heads") or heads) * width
    experts = max(number("num_local_experts", "num_experts", "n_routed_experts"), 1)
    gated = 2 if "n_inner" in told or "n_embd" in told or "ffn_dim" in told else 3
    tied = bool(told.get("tie_word_embeddings", "n_embd" in told))
    attention = 2 * hidden * heads * width + 2 * hidden * keys
    layer = attention + experts * gated * hidden * (
        number("moe_intermediate_size") or middle if experts > 1 else middle
    )
    parameters = layers * layer + vocabulary * hidden * (1 if tied else 2)
    return Shape(float(parameters), hidden, layers, middle, keys, vocabulary, tied)


def _plain(model: str) -> str:
    return model.lower().rstrip("/").rpartition("/")[2].replace("_", "-")
