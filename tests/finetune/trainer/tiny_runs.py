"""Fine-tuning runs in this process: a tiny base model, channels of rows, and what a method's trainer makes of them."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import Trainer, set_seed

from benchmarks.tiny_model import make_tiny_model, texts_in
from model.finetune.base_model import BaseModel, find_base_model, fitted, load_weights
from model.finetune.data import Data, read_datasets
from model.finetune.hyperparameters import Hyperparameters, read_hyperparameters
from model.finetune.job import Place
from model.finetune.methods import trainer_of

torch.set_num_threads(1)  # of such small matrices more make it slower
THINGS = ("apple", "sky", "sea", "pear", "plum", "book", "house", "tree")


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def assistant(text: str, **others: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": text, **others}


CHATS = [{"messages": [user(f"What colour has the {thing}?"), assistant(f"The {thing} is blue.")]} for thing in THINGS]
PAIRS = [
    {"prompt": [user(f"What colour has the {thing}?")], "chosen": [assistant("It is blue.")], "rejected": [assistant("It is red.")]}
    for thing in THINGS
]  # fmt: skip
LABELLED = [
    {"prompt": [user(f"What colour has the {thing}?")], "completion": [assistant(f"It is {colour}.")], "label": colour == "blue"}
    for thing in THINGS for colour in ("blue", "red")
]  # fmt: skip
REWARDED = [
    {"prompt": each["prompt"], "response": each["completion"], "reward": 1.5 if each["label"] else -0.5}
    for each in LABELLED
]
TEXTS = [{"text": f"The {thing} is blue, and it is here. " * 3} for thing in THINGS]


def tiny_model(folder: Path) -> Path:
    """A base model of one layer that knows the words of all of these."""
    said = [text for rows in (CHATS, PAIRS, LABELLED, TEXTS) for row in rows for text in texts_in(row)]
    return make_tiny_model(folder, said, hidden=32, layers=1)


def channel(folder: Path, rows: Iterable[Any], *, file: str = "data.jsonl.gz") -> Path:
    """A folder with a file of these rows, text as it is."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = "".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows).encode()
    (folder / file).write_bytes(gzip.compress(lines) if file.endswith(".gz") else lines)
    return folder


def place_in(folder: Path, base: Path | None, rows: Mapping[str, Iterable[Any]]) -> Place:
    """As SageMaker lays a job out, with these channels."""
    data = folder / "input/data"
    for name, several in rows.items():
        channel(data / name, several)
    names = list(rows)
    if base is not None:
        (data / "model").parent.mkdir(parents=True, exist_ok=True)
        (data / "model").symlink_to(base)
        names.append("model")
    for made in ("model", "output", "checkpoints"):
        (folder / made).mkdir(parents=True, exist_ok=True)
    return Place(
        ("algo-1",),
        "algo-1",
        0,
        folder / "input",
        folder / "model",
        folder / "output",
        folder / "checkpoints",
        tuple(names),
    )


def asked(**given: Any) -> Hyperparameters:
    """What trains these in seconds, and whatever else is given."""
    usual = {
        "max_length": 64,
        "batch_size": 4,
        "learning_rate": 0.01,
        "num_epochs": 3,
        "logging_steps": 1,
        "gradient_checkpointing": False,
    }
    return read_hyperparameters({**usual, **given})


class Run:
    """From what is asked to its trainer, as a process of a job does it."""

    def __init__(self, folder: Path, base: Path, rows: Mapping[str, Iterable[Any]], **given: Any) -> None:
        self.asked = asked(**given)
        self.place = place_in(folder, base, rows)
        set_seed(self.asked.seed)
        self.base: BaseModel = find_base_model(self.asked, self.place)
        self.asked = fitted(self.asked, self.base)
        channels = {name: self.place.channel(name) for name in self.place.channels}
        self.data: Data = read_datasets(self.asked, channels, self.base.tokenizer, folder / "scratch")
        weights = load_weights(self.asked, self.base)
        self.trainer: Trainer = trainer_of(self.asked, self.place, model=weights, base=self.base, data=self.data)

    def losses(self) -> list[float]:
        """Of each step of the training."""
        self.trainer.train()
        return [entry["loss"] for entry in self.trainer.state.log_history if "loss" in entry]
