"""Going on in the middle of an epoch with exactly the batches, and the random numbers, that an uninterrupted run would have had."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from accelerate import skip_first_batches
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments


class Resumed:
    """The batches of a trainer from a step on.

    The Trainer can skip batches itself, but forgets those of the epoch's last step when they are fewer than those of the others,
    and shuffles an epoch like the first (transformers 4.56, accelerate 1.10).
    """

    def __init__(self, batches: Any, step: int, accumulated: int, restore: Callable[[], None]) -> None:
        """`restore` puts the random numbers where they were after that step."""
        self._batches, self._restore = batches, restore
        updates = -(-len(batches) // accumulated)
        self._first, done = divmod(step, updates)
        self._skipped = done * accumulated
        self._epoch: int | None = None
        self.over = False
        """Whether nothing is left to be trained on."""

    def set_epoch(self, epoch: int) -> None:
        self._epoch = epoch
        self._batches.set_epoch(epoch)

    def __len__(self) -> int:
        """Of the epoch it is in; of any, before the first."""
        return len(self._batches) - (self._skipped if self._epoch == self._first else 0)

    def epochs_done(self, counted: float) -> float:
        """What the Trainer counted of its epochs, of which it does not know that the first was begun before."""
        if self._epoch != self._first or not self._skipped:
            return counted
        whole = len(self._batches)
        return self._first + ((counted - self._first) * (whole - self._skipped) + self._skipped) / whole

    def __iter__(self) -> Iterator[Any]:
        if self.over:
            return
        if self._epoch != self._first or not self._skipped:
            yield from self._batches
            return
        rest = skip_first_batches(self._batches, self._skipped)
        rest.iteration = self._epoch
        for number, batch in enumerate(rest):
            if number == 0:
                self._restore()
            yield batch

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batches, name)


class GoingOn(TrainerCallback):
    """Keeps the count of epochs right, and trains nothing when all was done before."""

    def on_train_begin(
        self,
        _args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        train_dataloader: Resumed,
        **_: Any,
    ) -> TrainerControl:
        control.should_training_stop = train_dataloader.over = state.global_step >= state.max_steps
        return control

    def on_step_end(
        self,
        _args: TrainingArguments,
        state: TrainerState,
        _control: TrainerControl,
        train_dataloader: Resumed,
        **_: Any,
    ) -> None:
        state.epoch = train_dataloader.epochs_done(state.epoch or 0.0)


def go_on(trainer: Trainer, checkpoint: str, step: int) -> None:
    """Let a trainer that resumes from this checkpoint have the batches after its step."""
    trainer.args.ignore_data_skip = True
    make = trainer.get_train_dataloader

    def rest() -> Resumed:
        return Resumed(
            make(),
            step,
            trainer.args.gradient_accumulation_steps,
            lambda: trainer._load_rng_state(checkpoint),
        )

    trainer.get_train_dataloader = rest  # type: ignore[method-assign]
    trainer.add_callback(GoingOn())
