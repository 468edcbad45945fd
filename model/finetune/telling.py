"""What a run tells of itself: its progress, its event files, numbers that are not finite, and memory it ran out of."""

from __future__ import annotations

from types import TracebackType
from typing import Self

import torch
from transformers import Trainer

from model.finetune import checkpoints, gpus
from model.finetune.boards import write_boards
from model.finetune.diverging import watch_numbers
from model.finetune.failures import DivergedError, NoMemoryError, Stage, is_out_of_memory, out_of_memory
from model.finetune.hyperparameters import Hyperparameters
from model.finetune.job import Place
from model.finetune.progress_lines import be_quiet, line_of, tell_progress


class Telling:
    """Around all of a run, so that whoever runs out of memory is told what to change. Raises NoMemoryError and DivergedError."""

    def __init__(self, asked: Hyperparameters, place: Place) -> None:
        self._asked, self._place = asked, place
        self._trainer: Trainer | None = None

    def of(self, trainer: Trainer) -> None:
        """From now on it is this trainer's progress that is told."""
        self._trainer = trainer
        watch_numbers(trainer, self._asked, lambda: checkpoints.newest(self._place.checkpoints))
        tell_progress(trainer)
        if not write_boards(trainer, self._place.output) and trainer.is_world_process_zero():
            print("There is no TensorBoard in this container: no event files are written.", flush=True)

    def __enter__(self) -> Self:
        be_quiet()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _where: TracebackType | None
    ) -> None:
        if isinstance(error, DivergedError) and self._trainer and self._trainer.is_world_process_zero():
            state = self._trainer.state
            lost = {"loss": float("nan")}  # for whoever follows the log alone
            print(line_of(lost, epoch=state.epoch or 0, step=state.global_step, steps=state.max_steps), flush=True)
        if error is None or not is_out_of_memory(error):
            return
        gpu = torch.cuda.is_available() and isinstance(error, torch.OutOfMemoryError)
        stage = Stage(
            step=self._trainer.state.global_step if self._trainer else None,
            gpus=self._place.gpus,
            gigabytes=gpus.memory_gb(torch.cuda) if gpu else 0.0,
            gpu=gpu,
        )
        raise NoMemoryError(out_of_memory(self._asked, stage, str(error))) from error
