"""A run's checkpoints while it trains: sealed as soon as all processes have written theirs, and one more when it is told to end."""

from __future__ import annotations

import secrets
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from model.finetune import checkpoints, processes
from model.finetune.checkpoints import Manifest
from model.finetune.failures import RunFailedError
from model.finetune.job import Place
from model.finetune.position import go_on
from model.finetune.resuming import Start
from model.finetune.sharding import bring_back_parts


class CannotSaveError(RunFailedError):
    """Raised when a checkpoint cannot be written; those before it are whole."""


class ToldToEnd(SystemExit):
    """Raised when a run ended because it was told to, with what it had saved."""


class Saving(TrainerCallback):
    """Takes what the Trainer saves into the checkpoint folder."""

    def __init__(self, place: Place, start: Start) -> None:
        self._place, self._start = place, start
        self._run: str = processes.gathered(secrets.token_hex(4))[0]
        self._told_to_end = False
        self._under_way: int | None = None

    def on_step_end(
        self, _args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> TrainerControl:
        if processes.any_of(self._told_to_end):
            self._told_to_end = control.should_save = control.should_training_stop = True
        if control.should_save:
            self._under_way = state.global_step
        if control.should_log and processes.first_of_all():
            checkpoints.report_step(self._place.checkpoints, self._place.staging, state.global_step)
        return control

    def on_save(self, _args: TrainingArguments, state: TrainerState, _control: TrainerControl, **_: Any) -> None:
        processes.gathered(None)  # all have written
        if processes.first_of_host():
            checkpoints.seal(
                self._place.staging / f"checkpoint-{state.global_step}", self._manifest(state), self._place.checkpoints
            )
        processes.gathered(None)  # all hosts have sealed it, so that an older one may go
        if processes.first_of_host():
            checkpoints.prune(self._place.checkpoints, self._start.asked.save_total_limit)
        self._under_way = None

    @contextmanager
    def around(self) -> Iterator[None]:
        """What trains. Raises CannotSaveError in place of an error that came while it saved, and ToldToEnd."""
        before = signal.signal(signal.SIGTERM, self._heard)
        try:
            yield
        except Exception as error:
            if self._under_way is None or isinstance(error, RunFailedError):
                raise
            raise CannotSaveError(self._explained(self._under_way, error)) from error
        finally:
            signal.signal(signal.SIGTERM, before)
        if self._told_to_end:
            raise ToldToEnd(128 + signal.SIGTERM)

    def _heard(self, *_: Any) -> None:
        """Between two steps it is looked for, so that a save under way is never disturbed."""
        self._told_to_end = True

    def _manifest(self, state: TrainerState) -> Manifest:
        place = self._place
        return Manifest(
            state.global_step, self._run, place.host, len(place.hosts), processes.count(), self._start.made_with, {}
        )

    def _explained(self, step: int, error: Exception) -> str:
        free = shutil.disk_usage(self._place.staging).free
        kept = checkpoints.newest(self._place.checkpoints)
        shutil.rmtree(self._place.staging / f"checkpoint-{step}", ignore_errors=True)
        return (
            f"The checkpoint of step {step} could not be written ({type(error).__name__}: {error}); the volume has"
            f" {free / 1e9:.2f} GB free. "
            + (f"{Path(kept).name} is whole and is gone on from. " if kept else "There is none before it. ")
            + "Raise volume_size_gb, or lower save_total_limit."
        )


def train_from(start: Start, trainer: Trainer, place: Place) -> None:
    """Train to the end from where a run begins. Raises CannotSaveError, and ToldToEnd when it was."""
    saving = Saving(place, start)
    trainer.add_callback(saving)
    folder = str(start.checkpoint.folder) if start.checkpoint else None
    if start.checkpoint and folder:
        go_on(trainer, folder, start.checkpoint.step)
        bring_back_parts(trainer)
    with saving.around():
        trainer.train(resume_from_checkpoint=folder)
