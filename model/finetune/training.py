"""One process of a job: reads the data, trains by the asked method, leaves the model behind."""

from __future__ import annotations

import os
import sys
import traceback

import torch
from transformers import Trainer, set_seed

from model.finetune.artifact import Artifact
from model.finetune.base_model import find_base_model, fitted, load_weights
from model.finetune.data import read_datasets
from model.finetune.failures import RunFailedError, reason, shown
from model.finetune.hyperparameters import Hyperparameters
from model.finetune.job import Place, hyperparameters
from model.finetune.methods import trainer_of
from model.finetune.problems import BadInputError
from model.finetune.processes import tell_failure, together
from model.finetune.resuming import start
from model.finetune.saving import train_from
from model.finetune.sharding import prepare_sharding, shard_on_cpus
from model.finetune.telling import Telling


def train(asked: Hyperparameters, place: Place) -> None:
    """Raises BadInputError before the first step when it cannot be trained, RunFailedError when it ran out of memory or diverged."""
    with Telling(asked, place) as telling:
        _train(asked, place, telling)


def _train(asked: Hyperparameters, place: Place, telling: Telling) -> None:
    begun = start(asked, place)
    asked = begun.asked
    prepare_sharding(asked)
    set_seed(asked.seed)
    base = find_base_model(asked, place)
    asked = fitted(asked, base)
    data = read_datasets(asked, {name: place.channel(name) for name in place.channels}, base.tokenizer)
    trainer: Trainer = trainer_of(asked, place, model=load_weights(asked, base), base=base, data=data)
    shard_on_cpus(trainer)
    telling.of(trainer)
    artifact = Artifact(asked, place, base)
    artifact.begin(trainer, data.first_rows)
    train_from(begun, trainer, place)
    artifact.finish(trainer)


def main() -> int:
    place = Place.here()
    if not torch.cuda.is_available():
        os.environ.setdefault("ACCELERATE_USE_CPU", "true")
    try:
        with together():
            train(hyperparameters(), place)
    except (BadInputError, RunFailedError) as error:
        tell_failure(place, reason(str(error)))
        print(shown(str(error)), file=sys.stderr)
        return 1
    except Exception as error:  # noqa: BLE001 - whatever it is, SageMaker is told of it, and no secret is
        tell_failure(place, reason(f"{type(error).__name__}: {error}"))
        print(shown(traceback.format_exc()), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
