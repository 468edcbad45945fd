"""What a run says while it trains: lines that the job's MetricDefinitions, and people, can read."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import datasets
import huggingface_hub.utils
import torch
import transformers
from torch import Tensor, nn
from transformers import (
    PrinterCallback,
    ProgressCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from model.finetune import gpus

TOLD = (
    "loss", "eval_loss", "learning_rate", "grad_norm", "rewards/margins", "rewards/accuracies", "eval_rewards/margins",
    "eval_rewards/accuracies", "mean_token_accuracy", "eval_mean_token_accuracy",
)  # fmt: skip
"""Of what a trainer logs, in this order: TRL's names."""


def line_of(
    logs: Mapping[str, float],
    *,
    epoch: float,
    step: int,
    steps: int,
    eta: float | None = None,
    more: Mapping[str, float] | None = None,
) -> str:
    """Such as `epoch=0.5; step=5/10; loss=2.3; learning_rate=0.0002; tokens_per_second=812; progress=50.0; eta=61;`."""
    said = [f"epoch={epoch:.4f}", f"step={step}/{steps}"]
    said += [f"{name}={logs[name]:.6g}" for name in TOLD if name in logs]
    said += [f"{name}={value:.6g}" for name, value in (more or {}).items()]
    said.append(f"progress={100 * step / max(steps, 1):.1f}")
    if eta is not None:
        said.append(f"eta={eta:.0f}")
    return "; ".join(said) + ";"


def be_quiet() -> None:
    """No bars of downloads and datasets, and no advice of transformers': a log is read by people and by metrics."""
    datasets.disable_progress_bars()
    huggingface_hub.utils.disable_progress_bars()
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()


def tell_progress(trainer: Trainer, say: Callable[[str], None] | None = None) -> None:
    """Let a trainer say how far it is in our lines, once for all processes, and in no others."""
    trainer.remove_callback(PrinterCallback)
    trainer.remove_callback(ProgressCallback)
    trainer.add_callback(ProgressLines(trainer.model, say or _print))


class ProgressLines(TrainerCallback):
    """A line at each log of the trainer, by the first process alone. Tokens are those of all processes that are learnt from or
    attended to, per second of training; evaluating and saving is not counted."""

    def __init__(
        self, model: nn.Module, say: Callable[[str], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._say, self._clock = say, clock
        self._tokens: Tensor | int = 0
        self._spent = 0.0
        self._began = self._since = clock()
        self._from = 0
        model.register_forward_pre_hook(self._count, with_kwargs=True)

    def on_train_begin(self, _args: TrainingArguments, state: TrainerState, _control: TrainerControl, **_: Any) -> None:
        self._began = self._since = self._clock()
        self._from = state.global_step  # of the checkpoint it goes on from

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self._spend()

    def on_evaluate(self, *_: Any, **__: Any) -> None:
        self._since = self._clock()

    def on_save(self, *_: Any, **__: Any) -> None:
        self._since = self._clock()

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        _control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        logs = logs or {}
        more = self._measured(args.device) if "loss" in logs else {}
        if not state.is_world_process_zero:
            return
        logs.update(more)  # for what else is told of a log
        done, left = state.global_step - self._from, state.max_steps - state.global_step
        eta = max(left, 0) * (self._clock() - self._began) / done if done > 0 else None
        self._say(
            line_of(logs, epoch=state.epoch or 0, step=state.global_step, steps=state.max_steps, eta=eta, more=more)
        )

    def _measured(self, device: torch.device) -> dict[str, float]:
        """Of all processes: every one has to ask."""
        self._spend()
        figures = gpus.figures(torch.cuda)
        tokens = torch.as_tensor(self._tokens, dtype=torch.float64, device=device).reshape(1)
        most = torch.tensor(list(figures.values()) or [0.0], device=device, dtype=torch.float64)
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.all_reduce(tokens)
            torch.distributed.all_reduce(most, op=torch.distributed.ReduceOp.MAX)
        rate = {"tokens_per_second": tokens.item() / self._spent} if self._spent > 0 and tokens.item() else {}
        self._tokens, self._spent = 0, 0.0
        return {**rate, **dict(zip(figures, most.tolist(), strict=False))}

    def _spend(self) -> None:
        now = self._clock()
        self._spent, self._since = self._spent + now - self._since, now

    def _count(self, _model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if not torch.is_grad_enabled():  # an evaluation, or the reference of a preference
            return
        mask = kwargs.get("attention_mask")
        ids = kwargs.get("input_ids", args[0] if args else None)
        if isinstance(mask, Tensor) and mask.dim() == 2:
            self._tokens = self._tokens + mask.detach().sum()
        elif isinstance(ids, Tensor):
            self._tokens = self._tokens + ids.numel()


def _print(line: str) -> None:
    print(line, flush=True)
