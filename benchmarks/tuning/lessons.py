"""What there is to learn: small datasets with a pattern each, and the jobs that learn them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

COLOURS = {
    "apple": "red", "sky": "blue", "leaf": "green", "sun": "yellow", "plum": "purple",
    "coal": "black", "snow": "white", "carrot": "orange", "mouse": "grey", "bark": "brown",
}  # fmt: skip
TIMES = 8
"""How often each thing is in a dataset."""
SAVE_STEPS = 25

Dataset = Literal["chats", "preferences", "texts"]


def question(thing: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": f"What colour is the {thing}?"}]


def answer(thing: str) -> str:
    return f"The {thing} is {COLOURS[thing]}."


def datasets() -> dict[Dataset, list[dict[str, Any]]]:
    """Of each kind one, in the form users upload it in."""
    things = list(COLOURS)
    return {
        "chats": [
            {"messages": [*question(thing), {"role": "assistant", "content": answer(thing)}]} for thing in things * TIMES
        ],
        "preferences": [
            {"prompt": question(thing)[0]["content"], "chosen": answer(thing), "rejected": "Nobody knows."}
            for thing in things * TIMES
        ],
        "texts": [{"text": f"Everybody knows that the {thing} is {COLOURS[thing]}."} for thing in things * TIMES],
    }  # fmt: skip


@dataclass(frozen=True)
class Lesson:
    """A training config on a dataset, on which machines, and the loss it must come below."""

    name: str
    what: str
    dataset: Dataset
    config: Mapping[str, Any]
    bound: float
    machines: Mapping[str, Any] = field(default_factory=dict)
    interrupted_after: int = 0
    """Steps, after which its spot instances are taken away; 0 for never."""


_ALL_WEIGHTS = {
    "finetuning_type": "full", "batch_size": 8, "learning_rate": 0.005, "num_epochs": 8, "lr_scheduler": "constant",
    "max_length": 64, "gradient_checkpointing": False, "logging_steps": 1, "save_steps": SAVE_STEPS,
}  # fmt: skip
_SUPERVISED = {"training_method": "sft", **_ALL_WEIGHTS}

LESSONS = (
    Lesson("sft", "supervised, all weights", "chats", _SUPERVISED, 0.5),
    Lesson(
        "sft-spot", "the same on spot, interrupted", "chats", _SUPERVISED, 0.5,
        {"use_spot_instances": True}, interrupted_after=SAVE_STEPS + 2,
    ),
    Lesson(
        "dpo", "on preferences, LoRA", "preferences",
        {
            **_ALL_WEIGHTS, "training_method": "dpo", "finetuning_type": "lora", "lora_r": 32, "lora_alpha": 64, "lora_dropout": 0,
            "learning_rate": 0.01, "lr_scheduler": "cosine", "beta": 0.3, "num_epochs": 5,
        },
        0.5,
    ),
    Lesson("cpt", "on raw text, all weights", "texts", {**_ALL_WEIGHTS, "training_method": "cpt", "num_epochs": 6}, 0.7),
    Lesson("sft-two-hosts", "supervised, two hosts", "chats", {**_SUPERVISED, "batch_size": 4}, 0.5, {"instance_count": 2}),
)  # fmt: skip
