"""TensorBoard's event files of a run: into the job's output, and where SageMaker's own TensorBoard looks for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

PLACES = ("data/tensorboard", "tensorboard")
"""Below the output: the first is packed into output.tar.gz, the second is copied while the job runs if a TensorBoardOutputConfig asks."""


def write_boards(trainer: Trainer, output: Path) -> bool:
    """Let a trainer's first process write them, below the output of the job. False where TensorBoard is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 - not in every container
    except ImportError:
        return False
    trainer.add_callback(Boards([output / place for place in PLACES], SummaryWriter))
    return True


class Boards(TrainerCallback):
    """Everything a trainer logs that is a number, by step."""

    def __init__(self, folders: Sequence[Path], writer: Any) -> None:
        self._folders, self._writer = folders, writer
        self._writers: list[Any] = []

    def on_train_begin(self, _args: TrainingArguments, state: TrainerState, _control: TrainerControl, **_: Any) -> None:
        if state.is_world_process_zero:
            purge = state.global_step or None
            self._writers = [self._writer(str(folder), purge_step=purge) for folder in self._folders]

    def on_log(
        self,
        _args: TrainingArguments,
        state: TrainerState,
        _control: TrainerControl,
        logs: Mapping[str, Any] | None = None,
        **_: Any,
    ) -> None:
        for writer in self._writers:
            for name, value in (logs or {}).items():
                if isinstance(value, int | float):
                    writer.add_scalar(_tag(name), value, state.global_step)
            writer.flush()

    def on_train_end(self, *_: Any, **__: Any) -> None:
        for writer in self._writers:
            writer.close()


def _tag(name: str) -> str:
    """As transformers sorts them: `train/loss`, `eval/loss`."""
    return f"eval/{name.removeprefix('eval_')}" if name.startswith("eval_") else f"train/{name}"
