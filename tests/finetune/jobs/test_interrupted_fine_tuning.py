"""A fine-tuning job of two spot hosts on the embedded AWS, whose instances are taken away while S3 has half a checkpoint."""

from __future__ import annotations

import re
import tarfile
import time
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from fine_tunings import base_model, chats, dataset
from training_configs import Bench, bench_at

from trainmaster.storage.address import S3Address
from trainmaster.training.launching import launch_training
from trainmaster.training.preparing import prepare_training

STEP = re.compile(r"step=(\d+)/(\d+); loss=([^;]+);")
SAVE_STEPS = 10


@pytest.fixture
def bench(embedded: Any, tmp_path: Path) -> Iterator[Bench]:
    with bench_at(tmp_path, embedded.environment) as bench:
        yield bench


class Job:
    """The job of a plan, and what S3 has of its checkpoints."""

    def __init__(self, bench: Bench, name: str) -> None:
        self.name, self._s3, self._logs = name, bench.desk.client("s3"), bench.desk.client("logs")
        self._sagemaker = bench.desk.client("sagemaker")
        self.checkpoints = S3Address.parse(self.described["CheckpointConfig"]["S3Uri"])

    @property
    def described(self) -> dict[str, Any]:
        return dict(self._sagemaker.describe_training_job(TrainingJobName=self.name))

    def stored(self) -> list[str]:
        """Names of files below its checkpoints."""
        found = self._s3.list_objects_v2(Bucket=self.checkpoints.bucket, Prefix=f"{self.checkpoints.key}/")
        return [each["Key"].removeprefix(f"{self.checkpoints.key}/") for each in found.get("Contents", [])]

    def put(self, name: str, body: bytes) -> None:
        self._s3.put_object(Bucket=self.checkpoints.bucket, Key=f"{self.checkpoints.key}/{name}", Body=body)

    def get(self, name: str) -> bytes:
        return bytes(
            self._s3.get_object(Bucket=self.checkpoints.bucket, Key=f"{self.checkpoints.key}/{name}")["Body"].read()
        )

    def model(self) -> list[str]:
        address = S3Address.parse(self.described["ModelArtifacts"]["S3ModelArtifacts"])
        body = self._s3.get_object(Bucket=address.bucket, Key=address.key)["Body"].read()
        with tarfile.open(fileobj=BytesIO(body)) as tar:
            return tar.getnames()

    def lines(self, host: str) -> list[str]:
        """What a host said, its starts one after the other."""
        group = "/aws/sagemaker/TrainingJobs"
        pages = self._logs.get_paginator("filter_log_events").paginate(
            logGroupName=group, logStreamNamePrefix=f"{self.name}/{host}"
        )
        events = [event for page in pages for event in page["events"]]
        return [event["message"] for event in sorted(events, key=lambda event: int(event["timestamp"]))]


def whole_step(names: list[str]) -> str:
    """A checkpoint of which both hosts' manifests have come; empty while there is none."""
    folders = {name.partition("/")[0] for name in names if "/" in name}
    return next(
        (each for each in sorted(folders) if {f"{each}/manifest-algo-{n}.json" for n in (1, 2)} <= set(names)), ""
    )


def test_two_spot_hosts_go_on_from_their_newest_whole_checkpoint(bench: Bench, embedded: Any, tmp_path: Path) -> None:
    examples = chats()
    config = {
        "training_method": "sft", "model_name": base_model(bench, examples, tmp_path / "base"), "finetuning_type": "lora",
        "lora_dropout": 0, "num_epochs": 20, "learning_rate": 0.001, "gradient_checkpointing": False, "logging_steps": 1,
        "save_steps": SAVE_STEPS, "merge_weights": False,
    }  # fmt: skip
    chosen = bench.config(config, [dataset(bench, examples)])
    plan = prepare_training(bench.desk, bench.request(chosen, use_spot_instances=True, instance_count=2))
    launch_training(bench.desk, plan)
    job = Job(bench, plan.job_name)
    while not (whole := whole_step(job.stored())):
        assert job.described["TrainingJobStatus"] == "InProgress", job.described
        time.sleep(0.1)
    half = f"checkpoint-9999-{whole.rpartition('-')[2]}"  # as if the instances had gone in the middle of an upload
    job.put(f"{half}/manifest-algo-1.json", job.get(f"{whole}/manifest-algo-1.json"))
    job.put(f"{half}/optimizer.pt", b"only its beginn")
    assert embedded.control("POST", "interrupt", {"training_job": job.name}) == {}
    while (described := job.described)["TrainingJobStatus"] == "InProgress":
        time.sleep(0.2)
    assert described["TrainingJobStatus"] == "Completed", described.get("FailureReason")
    assert "Interrupted" in [each["Status"] for each in described["SecondaryStatusTransitions"]]

    said, others = job.lines("algo-1"), job.lines("algo-2")
    (resumed,) = [re.search(r"resumed_from_step=(\d+); steps_lost=(\d+);", line) for line in said if "resumed_" in line]
    assert resumed
    begun, lost = map(int, resumed.groups())
    assert begun >= int(whole.split("-")[1])
    assert lost <= SAVE_STEPS
    assert any(line.startswith(f"{half} is not whole") for line in said)
    steps = [(int(m[1]), float(m[3])) for line in said if (m := STEP.search(line))]
    assert sorted({step for step, _ in steps}) == list(range(1, steps[-1][0] + 1))
    again = [step for step, _ in steps].index(begun + 1, [step for step, _ in steps].index(begun) + 1)
    before, after = dict(steps[:again]), dict(steps[again:])
    assert {step: after[step] for step in after if step in before} == {s: before[s] for s in before if s > begun}
    assert not [line for line in others if "loss=" in line]  # the first process of all speaks alone

    assert sum(name.endswith("adapter_model.safetensors") for name in job.model()) == 1
    kept = {name.partition("/")[0] for name in job.stored() if "/" in name}
    assert half not in kept  # what cannot be gone on from is removed here, and SageMaker removes it there
    assert len(kept) == 2
