"""From a training config as the application keeps it to who trains, with which hyperparameters, on which role of dataset. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from trainmaster.training.problems import Problem
from trainmaster.training.secrets import is_secret
from trainmaster.training.trainers import FINE_TUNING, SHIPPED, Trainer

CHOOSING = frozenset({"trainer", "dataset_roles"})
"""Keys of a config that choose the trainer and its inputs; every other is a hyperparameter."""
ROLES: Mapping[str, str] = {"train": "training", "training": "training", "validation": "validation", "test": "test"}
"""From what a dataset is for to the channel it comes by."""
MOST_METRICS, LONGEST_METRIC, LONGEST_REGEX = 40, 255, 500
"""AWS's (CreateTrainingJob, MetricDefinitions)."""
_SHOWN = 80  # characters of what a message quotes
_HOW_TO_CHOOSE = (
    f"Set `trainer` in the config to one of {', '.join(map(repr, SHIPPED))}, or to an object with image_uri, source_uri"
    " (a sourcedir.tar.gz in S3) and entry_point for a program of your own."
)


class OwnTrainer(BaseModel):
    """A user's own program for script mode, as a config's `trainer` describes it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    image_uri: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/:@-]*$", max_length=255)]
    source_uri: Annotated[str, Field(pattern=r"^s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]/\S+\.tar\.gz$", max_length=1024)]
    entry_point: Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_./-]*\.(py|sh)$", max_length=256)]
    metrics: dict[str, str] = {}
    content_type: Annotated[str, Field(pattern=r"^[\x21-\x7e]+$", max_length=256)] = "application/jsonl"
    most_instances: Annotated[int, Field(ge=1, le=20)] = 20
    checkpoints: bool = False

    @field_validator("entry_point")
    @classmethod
    def _stays_inside(cls, entry_point: str) -> str:
        if ".." in entry_point.split("/"):
            raise ValueError("must lie within the sourcedir.tar.gz")
        return entry_point

    @field_validator("metrics")
    @classmethod
    def _can_be_searched(cls, metrics: dict[str, str]) -> dict[str, str]:
        if len(metrics) > MOST_METRICS:
            raise ValueError(f"has {len(metrics)} metrics; SageMaker takes {MOST_METRICS}")
        for name, regex in metrics.items():
            if not 1 <= len(name) <= LONGEST_METRIC or not 1 <= len(regex) <= LONGEST_REGEX:
                raise ValueError(
                    f"has a name of {len(name)} characters for a regular expression of {len(regex)}; SageMaker takes"
                    f" {LONGEST_METRIC} and {LONGEST_REGEX}"
                )
            try:
                re.compile(regex)
            except re.error as error:
                raise ValueError(f"has no regular expression for {name!r}: {error}") from error
        return metrics

    def trainer(self) -> Trainer:
        return Trainer(
            name=self.entry_point.rpartition("/")[2].rpartition(".")[0],
            entry_point=self.entry_point,
            source_uri=self.source_uri,
            image_uri=self.image_uri,
            metrics=self.metrics,
            content_type=self.content_type,
            most_instances=self.most_instances,
            checkpoints=self.checkpoints,
        )


@dataclass(frozen=True)
class Recipe:
    """What a config says. `roles` are channels by dataset; `trainer` is None when `problems` say why."""

    trainer: Trainer | None
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)
    roles: Mapping[UUID, str] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()


def read_recipe(config: Any) -> Recipe:
    """Never raises: whatever the application let somebody write comes back as problems, all of them."""
    if not isinstance(config, Mapping):
        said = f"The training config is a JSON {_kind(config)}, not an object of settings."
        return Recipe(None, problems=(Problem("config", said, "Correct it in the config."),))
    problems = list[Problem]()
    trainer = _trainer(config, problems)
    roles = _roles(config.get("dataset_roles"), problems)
    hyperparameters = {str(key): value for key, value in config.items() if key not in CHOOSING}
    return Recipe(trainer, hyperparameters, roles, tuple(problems))


def channel_of_role(role: Any, subject: str) -> tuple[str, Problem | None]:
    """The channel of what a dataset is said to be for; a problem as well when it is said to be for something unknown."""
    channel = ROLES.get(role.strip().lower()) if isinstance(role, str) else None
    if channel:
        return channel, None
    said = f"{subject} is to be for {_short(role)}, which is no role.{_nearest(str(role), ROLES)}"
    return "training", Problem("config", said, f"Choose one of: {', '.join(sorted(set(ROLES) - {'training'}))}.")


def _trainer(config: Mapping[str, Any], problems: list[Problem]) -> Trainer | None:
    chosen = config.get("trainer", FINE_TUNING.name if "training_method" in config else None)
    if isinstance(chosen, Mapping):
        found = list(_problems_of(chosen))
        problems += found
        return None if found else OwnTrainer.model_validate(dict(chosen)).trainer()
    if isinstance(chosen, str) and chosen in SHIPPED:
        return SHIPPED[chosen]
    if isinstance(chosen, str) and chosen:
        said = f"There is no trainer {_short(chosen)}.{_nearest(chosen, SHIPPED)}"
    elif chosen:
        said = f"`trainer` of the training config is a JSON {_kind(chosen)}."
    else:
        said = "The training config does not say which program trains."
    problems.append(Problem("config", said, _HOW_TO_CHOOSE))
    return None


def _problems_of(chosen: Mapping[str, Any]) -> Iterator[Problem]:
    fields = OwnTrainer.model_fields
    for key in chosen:
        if key not in fields:
            said = f"`trainer` of the training config has an unknown key {_short(key)}.{_nearest(str(key), fields)}"
            yield Problem("config", said, f"It can have: {', '.join(fields)}.")
    try:
        OwnTrainer.model_validate({key: value for key, value in chosen.items() if key in fields}, strict=True)
    except ValidationError as error:
        for wrong in error.errors(include_input=False, include_url=False):
            name = ".".join(str(part) for part in wrong["loc"])
            said = f"`trainer.{name}` of the training config: {wrong['msg'].removeprefix('Value error, ')}."
            yield Problem("config", said, "Correct it in the config.")


def _roles(given: Any, problems: list[Problem]) -> dict[UUID, str]:
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        said = f"`dataset_roles` of the training config is a JSON {_kind(given)}."
        problems.append(Problem("config", said, 'Write {"<dataset id>": "train" or "validation"}.'))
        return {}
    roles = dict[UUID, str]()
    for key, role in given.items():
        try:
            dataset_id = UUID(str(key))
        except ValueError:
            said = f"`dataset_roles` of the training config names {_short(key)}, which is no dataset's id."
            problems.append(Problem("config", said, "Give the dataset's UUID."))
            continue
        roles[dataset_id], wrong = channel_of_role(role, f"Dataset {dataset_id} (in `dataset_roles`)")
        problems += [wrong] if wrong else []
    return roles


def _nearest(name: str, known: Mapping[str, Any]) -> str:
    near = get_close_matches(name[:_SHOWN], list(known), 1, cutoff=0.5)
    return f" Did you mean {near[0]!r}?" if near else ""


def _short(value: Any) -> str:
    said = "something secret" if is_secret("", value) else repr(value)
    return said if len(said) <= _SHOWN else f"{said[:_SHOWN]}…"


def _kind(value: Any) -> str:
    names = {bool: "boolean", int: "number", float: "number", str: "string", list: "list", dict: "object"}
    return names.get(type(value), "null" if value is None else type(value).__name__)
