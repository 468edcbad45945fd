"""What a run says while it trains: lines that the job's MetricDefinitions, and people, can read."""

from __future__ import annotations

import time
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments


class ProgressLines(TrainerCallback):
    """Prints one line at each log of the trainer, on the first process alone."""

    def on_train_begin(self, _args: TrainingArguments, state: TrainerState, _control: TrainerControl, **_: Any) -> None:
        self._began, self._from = time.monotonic(), state.global_step

    def on_log(
        self,
        _args: TrainingArguments,
        state: TrainerState,
        _control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        if not state.is_world_process_zero or not logs:
            return
        done, left = state.global_step - self._from, state.max_steps - state.global_step
        said = [f"epoch={state.epoch or 0:.4f}", f"step={state.global_step}/{state.max_steps}"]
        said += [f"{name}={logs[name]:.6g}" for name in ("loss", "eval_loss", "learning_rate") if name in logs]
        said.append(f"progress={100 * state.global_step / max(state.max_steps, 1):.1f}")
        if done:
            said.append(f"eta={left * (time.monotonic() - self._began) / done:.0f}")
        print("; ".join(said) + ";", flush=True)
