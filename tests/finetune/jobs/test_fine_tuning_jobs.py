"""A fine-tuning job from a training config to its model, on the embedded AWS."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fine_tunings import base_model, chats, dataset
from training_configs import Bench, bench_at

from trainmaster.training.launching import launch_training
from trainmaster.training.preparing import prepare_training


@pytest.fixture
def bench(embedded: Any, tmp_path: Path) -> Iterator[Bench]:
    with bench_at(tmp_path, embedded.environment) as bench:
        yield bench


def test_a_config_with_a_training_method_fine_tunes_its_base_model_on_its_dataset(bench: Bench, tmp_path: Path) -> None:
    examples = chats()
    config = {
        "training_method": "sft", "model_name": base_model(bench, examples, tmp_path / "base"), "finetuning_type": "full",
        "num_epochs": 10, "learning_rate": 0.005, "gradient_checkpointing": False,
    }  # fmt: skip
    plan = prepare_training(
        bench.desk, bench.request(bench.config(config, [dataset(bench, examples)]), use_spot_instances=False)
    )
    launch_training(bench.desk, plan)
    sagemaker = bench.desk.client("sagemaker")
    while (job := sagemaker.describe_training_job(TrainingJobName=plan.job_name))["TrainingJobStatus"] == "InProgress":
        time.sleep(0.2)
    assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
    assert {metric["MetricName"]: metric["Value"] for metric in job["FinalMetricDataList"]}["train:loss"] < 0.5
