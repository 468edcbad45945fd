"""The experiment and trial of a job are there before it is, made once, whoever makes them."""

from __future__ import annotations

import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from botocore.exceptions import ClientError

from trainmaster.training.experiments import ensure_trial


def named() -> dict[str, str]:
    name = f"experiment-{uuid.uuid4().hex[:8]}"
    return {"ExperimentName": name, "TrialName": f"Default-Run-Group-{name}"}


def test_many_launches_at_once_make_one_experiment_with_one_trial(embedded: Any) -> None:
    sagemaker, config, gate = embedded.client("sagemaker", max_pool_connections=8), named(), threading.Barrier(8)

    def launch(_: int) -> None:
        gate.wait()
        ensure_trial(sagemaker, config)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(launch, range(8)))
    trials = sagemaker.list_trials(ExperimentName=config["ExperimentName"])["TrialSummaries"]
    assert [trial["TrialName"] for trial in trials] == [config["TrialName"]]


def test_a_launch_that_died_between_the_two_is_taken_up(embedded: Any) -> None:
    sagemaker, config = embedded.client("sagemaker"), named()
    sagemaker.create_experiment(ExperimentName=config["ExperimentName"])
    ensure_trial(sagemaker, config)
    ensure_trial(sagemaker, config)
    assert sagemaker.describe_trial(TrialName=config["TrialName"])["ExperimentName"] == config["ExperimentName"]


def test_what_aws_refuses_is_raised(embedded: Any) -> None:
    with pytest.raises(ClientError, match="regular expression pattern"):
        ensure_trial(embedded.client("sagemaker"), {"ExperimentName": "no_underscores", "TrialName": "t"})
