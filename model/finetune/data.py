"""Datasets as they come by channels, ready for the trainer of a method."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from datasets import Dataset, load_dataset

from model.finetune.hyperparameters import Hyperparameters
from model.finetune.problems import BadInputError


def read_datasets(asked: Hyperparameters, channels: dict[str, Path]) -> tuple[Dataset, Dataset | None]:
    """What to train on, and what to evaluate on, if anything. Raises BadInputError."""
    training = _read(channels, "training")
    if training is None:
        raise BadInputError("There is no data: the job has no channel named 'training'.")
    validation = _read(channels, "validation")
    if validation is None and asked.validation_fraction:
        parts = training.train_test_split(test_size=asked.validation_fraction, seed=asked.seed)
        return parts["train"], parts["test"]
    return training, validation


def _read(channels: dict[str, Path], role: str) -> Dataset | None:
    files = [
        file
        for name in sorted(channels)
        if name == role or name.startswith(f"{role}-")
        for file in _files(channels[name])
    ]
    if not files:
        return None
    return load_dataset("json", data_files=[str(file) for file in files], split="train")


def _files(folder: Path) -> Iterator[Path]:
    yield from sorted(path for path in folder.rglob("*") if path.is_file() and ".jsonl" in path.name)
