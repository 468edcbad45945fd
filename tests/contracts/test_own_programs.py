"""A training config with a program of the user's own and datasets of the real library, from the request to a finished job."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from training_configs import Bench, bench_at

from trainmaster.training.launching import launch_training
from trainmaster.training.preparing import prepare_training

SCRIPT = """
import gzip, os, pathlib, sys
for name in sorted(os.environ):
    if name.startswith("SM_CHANNEL_"):
        for file in sorted(pathlib.Path(os.environ[name]).iterdir()):
            print(name, len(gzip.open(file).read().splitlines()), "examples in", file.name, flush=True)
print("arguments", sys.argv[1:], flush=True)
print("variable", os.environ["GREETING"], flush=True)
pathlib.Path(os.environ["SM_MODEL_DIR"], "model.txt").write_text("trained")
"""


@pytest.fixture
def bench(embedded: Any, tmp_path: Path) -> Iterator[Bench]:
    with bench_at(tmp_path, embedded.environment) as bench:
        yield bench


def test_a_config_of_two_datasets_and_a_program_of_ones_own_is_trained_to_the_end(bench: Bench, jobs: Any) -> None:
    first, second = bench.dataset("cats", count=3), bench.dataset("dogs", count=5)
    hyperparameters = {"learning_rate": 2e-05, "base_model": "tiny", "lora": {"r": 8, "on": True}, "steps": [1, 2]}
    config = {"trainer": bench.program(SCRIPT), **hyperparameters}
    request = bench.request(
        bench.config(config, [second, first]), environment={"GREETING": "hello"}, hyperparameters={"epochs": 1}
    )
    plan = prepare_training(bench.desk, request)
    assert launch_training(bench.desk, plan) == "created"
    job = jobs.finished(plan.job_name)
    log = "\n".join(jobs.lines(plan.job_name))
    assert job["TrainingJobStatus"] == "Completed", log
    assert f"SM_CHANNEL_TRAINING 3 examples in {first}.jsonl.gz" in log
    assert f"SM_CHANNEL_TRAINING-2 5 examples in {second}.jsonl.gz" in log
    assert "variable hello" in log
    for name, value in {"learning_rate": "2e-05", "base_model": "tiny", "epochs": "1", "steps": "[1, 2]"}.items():
        assert f"'--{name}', '{value}'" in log
    assert "'--lora', 'on=True,r=8'" in log
