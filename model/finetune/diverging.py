"""A run whose numbers are not finite any more is stopped before its weights are changed by them, or saved."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from model.finetune.failures import DivergedError, diverged
from model.finetune.hyperparameters import Hyperparameters


def watch_numbers(trainer: Trainer, asked: Hyperparameters, newest: Callable[[], str | None]) -> None:
    """Let a trainer raise DivergedError, on all its processes at once, when its loss, its gradients or the weights it is about to
    save are not finite. `newest` is the checkpoint that can be gone on from."""
    watch = Watch(asked, newest)
    trainer.args.logging_nan_inf_filter = False  # or NaN is shown as the mean of the losses before
    step = trainer.training_step

    def watched(*args: Any, **kwargs: Any) -> Tensor:
        loss: Tensor = step(*args, **kwargs)
        watch.loss = watch.loss + loss.detach().float()
        return loss

    trainer.training_step = watched  # type: ignore[method-assign]
    trainer.add_callback(watch)


class Watch(TrainerCallback):
    """Looks once a step, between the gradients and their use; costs one number from the GPU."""

    def __init__(self, asked: Hyperparameters, newest: Callable[[], str | None]) -> None:
        self._asked, self._newest = asked, newest
        self.loss: Tensor | float = 0.0
        self._last: float | None = None

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, _control: TrainerControl, optimizer: Any = None, **_: Any
    ) -> None:
        loss = torch.as_tensor(self.loss, dtype=torch.float32, device=args.device)
        norm = _norm(
            [parameter.grad for parameter in _parameters(optimizer) if parameter.grad is not None], args.device
        )
        seen = _worst_of_all(torch.stack([loss, norm]))
        self.loss = 0.0
        for what, value in zip(("the loss", "the norm of the gradients"), seen, strict=True):
            if not math.isfinite(value):
                raise DivergedError(self._said(what, value, state.global_step + 1, state, optimizer))
        self._last = seen[0]

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, optimizer: Any = None, **_: Any
    ) -> None:
        if control.should_save or state.global_step % max(int(args.save_steps), 1) == 0:
            self._look_at_weights(args, state, optimizer)

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, optimizer: Any = None, **_: Any
    ) -> None:
        if control.should_save:
            self._look_at_weights(args, state, optimizer)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, _control: TrainerControl, optimizer: Any = None, **_: Any
    ) -> None:
        self._look_at_weights(args, state, optimizer)

    def _look_at_weights(self, args: TrainingArguments, state: TrainerState, optimizer: Any) -> None:
        norm = _norm([parameter.detach() for parameter in _parameters(optimizer)], args.device)
        (value,) = _worst_of_all(norm.reshape(1))
        if not math.isfinite(value):
            raise DivergedError(self._said("a trained weight", value, state.global_step, state, optimizer))

    def _said(self, what: str, value: float, step: int, state: TrainerState, optimizer: Any) -> str:
        newest = self._newest()
        rate = max((float(group["lr"]) for group in optimizer.param_groups), default=0.0)
        return diverged(
            self._asked,
            what=what,
            value=value,
            step=step,
            steps=state.max_steps,
            last=self._last,
            at=rate,
            sound=f"{Path(newest).name} is sound" if newest else "there was no checkpoint yet",
        )


def _parameters(optimizer: Any) -> Iterable[Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def _norm(tensors: list[Tensor], device: torch.device) -> Tensor:
    """Of this process' part of all of them; not finite as soon as one number is not."""
    local = [getattr(tensor, "_local_tensor", tensor) for tensor in tensors]  # FSDP 2 keeps a shard in each
    local = [tensor for tensor in local if tensor.numel()]
    if not local:
        return torch.zeros((), device=device)
    return torch.nn.utils.get_total_norm(local, norm_type=math.inf).to(device=device, dtype=torch.float32)


def _worst_of_all(numbers: Tensor) -> list[float]:
    """The mean over all processes, which is finite only if every one's is: all raise together, and none waits for another."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.all_reduce(numbers)
        numbers = numbers / torch.distributed.get_world_size()
    return [float(number) for number in numbers.tolist()]
