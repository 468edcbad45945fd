"""What a real tiny training says while it goes on, and when it fails: lines, metrics, event files, reasons."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from transformers import Trainer
from trl import SFTTrainer

from benchmarks.tiny_model import make_tiny_model, texts_in
from model.finetune import job, training
from model.finetune.progress_lines import ProgressLines
from trainmaster.training.causes import cause_of_reason
from trainmaster.training.configs import LONGEST_METRIC, LONGEST_REGEX, MOST_METRICS
from trainmaster.training.log_sinks import Line
from trainmaster.training.progress import Course
from trainmaster.training.trainers import FINE_TUNING

THINGS = tuple(f"{thing} {number}" for number in range(4) for thing in ("apple", "sky", "sea", "pear"))
LINE = re.compile(
    r"epoch=[\d.]+; step=\d+/\d+; ((eval_)?[a-z_/]+=[-+\d.e]+; )*(tokens_per_second=[\d.e+]+; )?progress=[\d.]+;( eta=\d+;)?"
)
SETTINGS = {
    "finetuning_type": "full", "gradient_checkpointing": False, "batch_size": 4, "num_epochs": 2, "logging_steps": 2,
    "learning_rate": 0.01, "save_steps": 4, "validation_fraction": 0.2, "bf16": False, "max_length": 128,
}  # fmt: skip


def asked(thing: str) -> dict[str, str]:
    return {"role": "user", "content": f"What is the colour of the {thing}?"}


def answered(thing: str, colour: str) -> dict[str, str]:
    return {"role": "assistant", "content": f"The {thing} is {colour}."}


EXAMPLES: Mapping[str, list[dict[str, Any]]] = {
    "sft": [{"messages": [asked(thing), answered(thing, "blue")]} for thing in THINGS],
    "dpo": [
        {"prompt": [asked(thing)], "chosen": [answered(thing, "blue")], "rejected": [answered(thing, "red")]}
        for thing in THINGS
    ],
    "kto": [
        {"prompt": [asked(thing)], "completion": [answered(thing, colour)], "label": colour == "blue"}
        for thing in THINGS[:8]
        for colour in ("blue", "red")
    ],
}


@dataclass(frozen=True)
class Ran:
    """A run that came to its end, however it did."""

    code: int
    printed: str
    base: Path

    @property
    def lines(self) -> list[str]:
        return [line for line in self.printed.splitlines() if line.startswith("epoch=")]

    @property
    def failure(self) -> str:
        file = self.base / "output/failure"
        return file.read_text(encoding="utf-8") if file.exists() else ""


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    """Trains as a host of SageMaker would, in this process; again in the same place when asked again."""

    def run(method: str = "sft", **settings: Any) -> Ran:
        base = tmp_path / "ml"
        data, model = base / "input/data/training", base / "input/data/model"
        if not model.exists():
            for folder in (data, model, base / "model", base / "output"):
                folder.mkdir(parents=True)
            examples = EXAMPLES[method]
            (data / "a.jsonl").write_text("".join(f"{json.dumps(one)}\n" for one in examples), encoding="utf-8")
            make_tiny_model(model, list(texts_in(examples)), hidden=32, layers=1)
        told = {name: str(value) for name, value in {**SETTINGS, "training_method": method, **settings}.items()}
        for name, value in {
            "SAGEMAKER_BASE_DIR": str(base), "SM_HPS": json.dumps(told), "SM_CHANNELS": '["model", "training"]',
            "SM_NUM_GPUS": "0",
        }.items():  # fmt: skip
            monkeypatch.setenv(name, value)
        capfd.readouterr()
        code = training.main()
        return Ran(code, "".join(capfd.readouterr()), base)

    return run


def metrics_of(printed: str) -> dict[str, list[float]]:
    """As SageMaker reads them: every line by every definition."""
    return {
        name: [float(match[1]) for line in printed.splitlines() if (match := re.search(regex, line))]
        for name, regex in FINE_TUNING.metrics.items()
    }


def course_of(printed: str) -> Course:
    lines = [Line("cats/algo-1-1", 1000 * number, text) for number, text in enumerate(printed.splitlines(), 1)]
    return Course().after(lines)


def test_a_supervised_run_says_a_line_at_each_log_and_nothing_else_that_looks_like_one(run: Callable[..., Ran]) -> None:
    ran = run()
    assert ran.code == 0, ran.printed
    assert all(LINE.fullmatch(line) for line in ran.lines), ran.lines
    assert "'loss'" not in ran.printed
    assert "%|" not in ran.printed
    found = metrics_of(ran.printed)
    assert len(found["train:loss"]) == 4
    assert len(found["validation:loss"]) == 2
    assert found["train:step"] == [2, 4, 4, 6, 8, 8, 8]
    assert found["train:progress"][-1] == 100
    assert found["train:eta_seconds"][-1] == 0
    assert found["train:epoch"][-1] == 2
    for name in ("train:learning_rate", "train:grad_norm", "train:token_accuracy", "train:tokens_per_second"):
        assert len(found[name]) == 4, name
    course = course_of(ran.printed)
    assert (course.now.step, course.now.steps, course.now.percent, course.now.eta_seconds) == (8, 8, 100, 0)
    assert course.now.tokens_per_second == found["train:tokens_per_second"][-1]
    assert [value for _, value in course.curve.series["loss"]] == found["train:loss"]
    assert [value for _, value in course.curve.series["eval_loss"]] == found["validation:loss"]
    for place in ("data/tensorboard", "tensorboard"):
        board = EventAccumulator(str(ran.base / "output" / place)).Reload()
        assert [event.value for event in board.Scalars("train/loss")] == pytest.approx(found["train:loss"], rel=1e-4)
        assert [event.step for event in board.Scalars("eval/loss")] == [4, 8]
        assert board.Scalars("train/tokens_per_second")


@pytest.mark.parametrize("method", ["dpo", "kto"])
def test_a_run_on_preferences_says_its_rewards_as_well(run: Callable[..., Ran], method: str) -> None:
    ran = run(method, num_epochs=1)
    assert ran.code == 0, ran.printed
    found = metrics_of(ran.printed)
    assert found["train:rewards_margins"]
    assert found["train:tokens_per_second"]
    assert course_of(ran.printed).now.reward_margin == found["train:rewards_margins"][-1]
    if method == "dpo":
        assert found["validation:rewards_margins"]
        assert found["train:rewards_accuracies"]
        assert found["validation:rewards_accuracies"]


def test_every_metric_is_one_that_sagemaker_takes() -> None:
    assert len(FINE_TUNING.metrics) <= MOST_METRICS
    for name, regex in FINE_TUNING.metrics.items():
        assert len(name) <= LONGEST_METRIC
        assert len(regex) <= LONGEST_REGEX
        assert re.compile(regex).groups == 1


def test_a_loss_that_is_no_number_stops_at_once_and_spoils_neither_checkpoint_nor_model(
    run: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    compute, steps = SFTTrainer.training_step, 0

    def spoiled(self: Trainer, *args: Any, **kwargs: Any) -> torch.Tensor:
        nonlocal steps
        steps += 1
        if steps < 6:
            return compute(self, *args, **kwargs)
        next(self.model.parameters()).grad = torch.full_like(next(self.model.parameters()), math.nan)
        return torch.tensor(math.nan)

    monkeypatch.setattr("trl.SFTTrainer.training_step", spoiled)
    ran = run(num_epochs=4)
    assert ran.code == 1
    assert re.match(
        r"Training diverged: the loss was not a number \(NaN\) at step 6 of \d+; the step before had a loss of \d[\d.]*, at a"
        r" learning rate of 0.00\d+\. Try: learning_rate 0.01 → 0.001; ",
        ran.failure,
    ), ran.failure
    assert "; checkpoint-4" in ran.failure
    assert course_of(ran.printed).now.diverged
    assert not list((ran.base / "model").iterdir())
    assert "Traceback" not in ran.printed
    monkeypatch.setattr("trl.SFTTrainer.training_step", compute)
    found = metrics_of(run(num_epochs=4).printed)  # goes on from step 4
    assert found["train:step"][0] == 6
    assert found["train:progress"][-1] == 100


def test_weights_that_are_not_finite_are_not_saved(run: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch) -> None:
    rate = Trainer._get_learning_rate

    def spoiling(self: Trainer) -> float:
        if self.state.global_step == 3:  # after its optimizer step, before it is saved as step 4
            next(self.model.parameters()).data.fill_(math.inf)
        return rate(self)

    monkeypatch.setattr("trl.SFTTrainer._get_learning_rate", spoiling)
    ran = run()
    assert ran.code == 1
    assert ran.failure.startswith("Training diverged: a trained weight was infinite at step 4 of ")
    assert "there was no checkpoint yet" in ran.failure
    assert not list((ran.base / "checkpoints").glob("checkpoint-*"))


@pytest.mark.parametrize(
    ("kind", "words"),
    [(torch.OutOfMemoryError, "CUDA out of memory."), (RuntimeError, "DefaultCPUAllocator: can't allocate memory")],
)
def test_memory_that_runs_out_is_explained_with_the_settings_of_this_run(
    run: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch, kind: type[Exception], words: str
) -> None:
    def full(*_: Any, **__: Any) -> torch.Tensor:
        raise kind(words)

    monkeypatch.setattr("trl.SFTTrainer.training_step", full)
    ran = run(max_length=512)
    assert ran.code == 1
    assert ran.failure.startswith(
        "Out of memory: the host had none left at step 1, with batch_size 4, max_length 512, "
    )
    assert "1. gradient_checkpointing true; 2. batch_size 4 → 2 with gradient_accumulation_steps 1 → 2" in ran.failure
    assert ran.failure.endswith(words)


def test_tokens_are_those_attended_to_while_learning_and_their_rate_is_of_the_time_spent_learning() -> None:
    now, said = 100.0, list[str]()
    model = torch.nn.Module()
    model.forward = lambda **inputs: inputs["input_ids"]  # type: ignore[method-assign]
    lines = ProgressLines(model, said.append, lambda: now)
    state = type("State", (), {"global_step": 10, "max_steps": 40, "epoch": 1.0, "is_world_process_zero": True})()
    args = type("Arguments", (), {"device": torch.device("cpu")})()
    lines.on_train_begin(args, state, None)
    ids, mask = torch.ones(2, 4, dtype=torch.long), torch.tensor([[1, 1, 1, 0], [1, 1, 0, 0]])
    for _ in range(10):
        model(input_ids=ids, attention_mask=mask)
        now += 1
        state.global_step += 1
        lines.on_step_end()
    with torch.no_grad():
        model(input_ids=ids, attention_mask=mask)
    now += 90
    lines.on_evaluate()
    lines.on_log(args, state, None, {"loss": 1.0})
    assert said == ["epoch=1.0000; step=20/40; loss=1; tokens_per_second=5; progress=50.0; eta=200;"]


@pytest.mark.parametrize("processes", [1, 2])
def test_a_process_that_the_kernel_kills_is_told_of_by_who_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, processes: int
) -> None:
    (tmp_path / "output").mkdir()
    for name, value in {
        "SAGEMAKER_BASE_DIR": str(tmp_path), "SM_HPS": json.dumps({"batch_size": "8", "processes_per_host": str(processes)}),
        "SM_CHANNELS": "[]", "SM_NUM_GPUS": "0", "SM_HOSTS": '["algo-1"]', "PYTHONPATH": str(Path(__file__).parents[3]),
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    program = tmp_path / "killed.py"
    program.write_text(
        "import os, signal, time\n"
        f"if os.environ.get('RANK', '{processes - 1}') == '{processes - 1}':\n    os.kill(os.getpid(), signal.SIGKILL)\n"
        "time.sleep(120)\n",
        encoding="utf-8",
    )
    place = job.Place.here()
    asked = job.hyperparameters()
    *torchrun, _, _ = job.command(asked, place)  # all but the program, which is `-m model.finetune.training`
    monkeypatch.setattr(job, "command", lambda *_: [*torchrun, str(program)])
    assert job.main() != 0
    reason = (tmp_path / "output/failure").read_text(encoding="utf-8")
    who = "The training process" if processes == 1 else "The process of rank 1"
    assert reason.startswith(f"{who} was killed by signal 9, as the kernel does when a host is out of memory")
    assert "batch_size 8 → 4 with gradient_accumulation_steps 1 → 2" in reason
    assert cause_of_reason(f"AlgorithmError: {reason}, exit code: 1").kind == "memory"
