"""Fine-tuning on several processes of one host: the same as on one, or ended as a whole with the reason of the one that failed."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hosts_of_jobs import Host, Trainers, given
from safetensors.torch import load_file

from model.finetune import job
from model.finetune.hyperparameters import Hyperparameters
from model.finetune.job import Place
from model.finetune.problems import BadInputError
from model.finetune.ranks import Failure, first_of
from model.finetune.sharding import is_sharded

SMALL = {
    "num_epochs": 2, "batch_size": 2, "logging_steps": 1, "save_steps": 2, "learning_rate": 0.01, "finetuning_type": "full",
    "gradient_checkpointing": False,
}  # fmt: skip
ONE = {"gradient_accumulation_steps": 4}
TWO = {"gradient_accumulation_steps": 2, "processes_per_host": 2}
"""As many examples a step as one process that accumulates twice as many batches."""
CLOSE = 2e-3
"""Between sums of the same numbers in other orders, after as many steps of a fast learning rate."""


@pytest.fixture(scope="module")
def trainers() -> Trainers:
    return Trainers()


@pytest.fixture(scope="module")
def channels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return given(tmp_path_factory.mktemp("given"), 32)


@pytest.fixture(scope="module")
def alone(trainers: Trainers, channels: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Host:
    """What one process makes of it."""
    host = Host(tmp_path_factory.mktemp("alone") / "ml", channels, trainers, **SMALL, **ONE)
    assert host.run() == 0, host.text()
    return host


@pytest.fixture
def host(channels: dict[str, Path], tmp_path: Path) -> Callable[..., Host]:
    return lambda **asked: Host(tmp_path / "ml", channels, **SMALL, **TWO, **asked)


def weights(host: Host) -> dict[str, Any]:
    return dict(load_file(host.ml / "model/model.safetensors"))


def assert_alike(host: Host, alone: Host) -> None:
    assert host.losses() == pytest.approx(alone.losses(), abs=CLOSE), host.text()
    mine, theirs = weights(host), weights(alone)
    assert mine.keys() == theirs.keys()
    assert max(float((mine[name] - theirs[name]).abs().max()) for name in theirs) < CLOSE


def test_copies_on_two_processes_learn_what_one_process_does_though_one_of_them_is_killed(
    host: Callable[..., Host], alone: Host
) -> None:
    two = host()
    assert two.killed_after(5, rank=1) == 1
    assert "The process of rank 1 was killed by signal 9" in two.failure
    assert two.run() == 0, two.text()
    assert [step for step, _ in two.resumed()] == [4]
    assert two.failure == ""
    assert_alike(two, alone)
    told = [line for line in two.lines if line.startswith("epoch=") and "; loss=" in line]
    assert len(told) <= 8 + 2 * SMALL["save_steps"]  # one process alone speaks


def test_parts_on_two_processes_learn_what_one_process_does_though_they_are_killed_and_leave_it_whole(
    host: Callable[..., Host], alone: Host
) -> None:
    two = host(sharding="full")
    assert two.killed_after(5) != 0
    assert any(path.suffix == ".distcp" for path in two.kept[-1].rglob("*")), list(two.kept[-1].rglob("*"))
    assert two.run() == 0, two.text()
    assert [step for step, _ in two.resumed()] == [4]
    assert_alike(two, alone)


@pytest.mark.parametrize("asked", [{"optimizer": "adafactor"}, {"quantization": "4bit"}], ids=["matrices", "quantized"])
def test_what_cannot_be_taken_apart_is_refused_in_parts_and_not_as_copies(
    monkeypatch: pytest.MonkeyPatch, asked: dict[str, str]
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert not is_sharded(Hyperparameters(sharding="none", **asked))
    with pytest.raises(BadInputError, match="sharding"):
        is_sharded(Hyperparameters(sharding="full", **asked))


@pytest.mark.parametrize(
    ("gpus", "asked", "told"),
    [(0, 2, "4"), (0, 16, "1"), (0, 1, None), (4, 4, None)],
    ids=["two", "more-than-cores", "one", "gpus"],
)
def test_processes_of_a_host_without_gpus_share_its_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gpus: int, asked: int, told: str | None
) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    place = Place(("algo-1",), "algo-1", gpus, *[tmp_path] * 4, channels=())
    wanted = Hyperparameters(processes_per_host=asked)
    assert job.threads(wanted, place).get("OMP_NUM_THREADS") == told
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert job.threads(wanted, place) == {}


KILLED, FAILED, LOST = (
    Failure(1, -signal.SIGKILL, at=9.0),
    Failure(2, 1, "ValueError: of its own", at=8.0),
    Failure(0, 1, "RuntimeError: [gloo] Connection closed by peer [127.0.0.1]:1", at=7.0),
)


@pytest.mark.parametrize(
    ("failures", "first"),
    [
        ([LOST, FAILED], FAILED),
        ([LOST, KILLED], KILLED),
        ([FAILED, Failure(3, 1, "ValueError: later", at=8.1)], FAILED),
        ([LOST], LOST),
    ],
    ids=["lost", "killed", "later", "only-lost"],
)
def test_the_reason_of_a_job_is_that_of_the_process_the_others_followed(
    failures: list[Failure], first: Failure
) -> None:
    assert first_of(failures) == first
