"""Datasets as they come by channels, ready for the trainer of a method."""

from __future__ import annotations

import hashlib
import json
import os
import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset, disable_progress_bars
from transformers import PreTrainedTokenizerBase

from model.finetune.hyperparameters import Hyperparameters
from model.finetune.prepared import ROW, Prepared, Statistics, prepared, scratch
from model.finetune.problems import BadInputError
from model.finetune.rows import channels_of, files_in

_DECIDING = (
    "training_method", "max_length", "long_examples", "completion_only_loss", "chat_template", "system_prompt", "reward_threshold",
)  # fmt: skip
"""Hyperparameters that decide what examples are made of rows."""


@dataclass(frozen=True)
class Data:
    """What to train on, and what to evaluate on if anything; some rows of the training data as they were."""

    training: Dataset
    validation: Dataset | None
    first_rows: list[dict[str, Any]]
    statistics: Mapping[str, Statistics]


def read_datasets(
    asked: Hyperparameters, channels: Mapping[str, Path], tokenizer: PreTrainedTokenizerBase, folder: Path | None = None
) -> Data:
    """The same on every process and after every restart. Says once how much there is. Raises BadInputError of all that cannot be
    trained on."""
    disable_progress_bars()
    names = {role: channels_of(role, channels) for role in ("training", "validation")}
    if not names["training"]:
        raise BadInputError("There is no data: the job has no channel named 'training'.")
    kept = (folder or scratch()) / _fingerprint(asked, channels, names, tokenizer)
    made = {
        role: prepared(role, {name: channels[name] for name in several}, asked, tokenizer, kept)
        for role, several in names.items()
        if several
    }
    training, validation = made["training"].examples, made["validation"].examples if "validation" in made else None
    if validation is None and asked.validation_fraction:
        training, validation = _held_out(made["training"], asked)
    if os.environ.get("RANK", "0") == "0":
        _say(made, validation, asked)
    return Data(
        training.remove_columns(ROW),
        None if validation is None else validation.remove_columns(ROW),
        made["training"].first_rows,
        {role: each.statistics for role, each in made.items()},
    )


def _held_out(made: Prepared, asked: Hyperparameters) -> tuple[Dataset, Dataset]:
    """Whole rows by the seed: of a text in several pieces, or a pair that became two examples, all are on one side."""
    rows = made.examples.with_format("numpy", columns=[ROW])[:][ROW] if len(made.examples) else np.array([])
    usable = np.unique(rows)
    count = min(max(round(len(usable) * asked.validation_fraction), 1), len(usable) - 1)
    if count < 1:
        raise BadInputError(
            f"There is {len(usable)} row for training, and validation_fraction {asked.validation_fraction} is to be held out. Set it"
            " to 0, or give more data."
        )
    chosen = random.Random(asked.seed).sample(range(len(usable)), count)  # noqa: S311 - no secret
    outside = np.isin(rows, usable[np.array(chosen)])
    return made.examples.select(np.flatnonzero(~outside)), made.examples.select(np.flatnonzero(outside))


def _say(made: Mapping[str, Prepared], validation: Dataset | None, asked: Hyperparameters) -> None:
    for role, each in made.items():
        print(f"Data for {each.statistics.sentence(role, asked)}", flush=True)
    if validation is not None and "validation" not in made:
        print(f"Data for validation: {len(validation):,} examples held out by seed {asked.seed}.", flush=True)
    if validation is None and asked.eval_steps:
        print("eval_steps is not used: there is no validation channel, and validation_fraction is 0.", flush=True)


def _fingerprint(
    asked: Hyperparameters,
    channels: Mapping[str, Path],
    names: Mapping[str, list[str]],
    tokenizer: PreTrainedTokenizerBase,
) -> str:
    """Of all that decides the examples."""
    files = [
        [role, name, path.relative_to(channels[name]).as_posix(), path.stat().st_size, path.stat().st_mtime_ns]
        for role, several in names.items()
        for name in several
        for path in files_in(channels[name])
    ]
    vocabulary = tokenizer.backend_tokenizer.to_str() if tokenizer.is_fast else sorted(tokenizer.get_vocab().items())
    said = [
        {name: getattr(asked, name) for name in _DECIDING}, [str(channels[name]) for several in names.values() for name in several],
        files, vocabulary, tokenizer.chat_template, {name: str(token) for name, token in tokenizer.special_tokens_map.items()},
    ]  # fmt: skip
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:16]
