"""What the trainer of language models would refuse, said before an instance is paid for. Pure.

Each function says nothing of a config whose trainer is another.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from model.finetune.formats import USABLE, misfit
from model.finetune.hyperparameters import notes_of, problems_of
from trainmaster.catalog.datasets import Dataset
from trainmaster.datasets.formats import Format
from trainmaster.training.problems import Problem
from trainmaster.training.trainers import FINE_TUNING, Trainer

_CANONICAL: Mapping[str, str] = {
    **dict.fromkeys((Format.CHATML, Format.SHAREGPT, Format.ALPACA, Format.OPENORCA, Format.UNNATURAL), "chatml"),
    **{format_: format_.value for format_ in (Format.DPO, Format.RLHF, Format.KTO, Format.RAW_TEXT)},
}
"""What the rows of a checked dataset of each format are."""


def wrong_hyperparameters(trainer: Trainer | None, settings: Mapping[str, Any]) -> Iterator[Problem]:
    """Those that are unknown, out of bounds or at odds."""
    for said in problems_of(settings) if trainer is FINE_TUNING else ():
        yield Problem("hyperparameters", f"Hyperparameter {said}", "Correct it in the config, or in the request.")


def fine_tuning_problems(trainer: Trainer | None, settings: Mapping[str, Any]) -> Iterator[Problem]:
    """All that is wrong with the hyperparameters of a job, a base model that nobody named too."""
    yield from wrong_hyperparameters(trainer, settings)
    if trainer is FINE_TUNING and not settings.get("model_name"):
        remedy = "Set model_name in the config to an id of the Hub, or to the s3:// prefix of a model."
        yield Problem("hyperparameters", "There is no base model: model_name is not set.", remedy)


def fine_tuning_notes(trainer: Trainer | None, settings: Mapping[str, Any]) -> list[str]:
    """Which hyperparameters change nothing, once nothing is wrong with them."""
    if trainer is not FINE_TUNING or problems_of(settings):
        return []
    return [f"Hyperparameter {said}" for said in notes_of(settings)]


def misfits(trainer: Trainer | None, settings: Mapping[str, Any], datasets: Iterable[Dataset]) -> Iterator[Problem]:
    """Datasets of which the method learns nothing. A `jsonl` is left to the job: only its rows tell."""
    method = str(settings.get("training_method", "sft"))
    if trainer is not FINE_TUNING or method not in USABLE:
        return
    for dataset in datasets:
        kind = _CANONICAL.get(dataset.format)
        if kind and (said := misfit(method, kind)):
            message = f"Dataset {dataset.id} ({dataset.name!r}) is {dataset.format}, and {said}"
            yield Problem("datasets", message, "Set another training_method, or name other datasets in the config.")
