"""What a job that a crash ended is billed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from trainmaster.embedded.faults import Faults
from trainmaster.embedded.sagemaker.account import Account
from trainmaster.embedded.sagemaker.namespaces import EnvironmentOnly
from trainmaster.embedded.sagemaker.records import Records
from trainmaster.embedded.sagemaker.training.runner import KIND, jobs_folder
from trainmaster.embedded.sagemaker.training.service import TrainingService
from trainmaster.embedded.sagemaker.training.uptime import Uptime, note

NOWHERE = "http://127.0.0.1:9"


@pytest.fixture
def account(tmp_path: Path) -> Iterator[Account]:
    records = Records(tmp_path / "records.db")
    yield Account(tmp_path, records, NOWHERE, NOWHERE, "key", "secret", stop_grace=5)
    records.close()


@pytest.mark.parametrize(
    ("uptime", "billed"),
    [
        (Uptime(12.5, time.time() - 3000), 13),
        (Uptime(99_999.0, time.time() - 3000), 65),  # MaxRuntimeInSeconds and the grace
    ],
)
def test_a_job_is_billed_for_what_is_known_of_its_uptime_and_no_longer_than_it_may_run(
    account: Account, uptime: Uptime, billed: int
) -> None:
    started = time.time() - 3600
    job: dict[str, Any] = {
        "TrainingJobName": "cats", "TrainingJobStatus": "InProgress", "SecondaryStatus": "Training",
        "TrainingStartTime": started, "StoppingCondition": {"MaxRuntimeInSeconds": 60},
    }  # fmt: skip
    account.records.create(KIND, "cats", account.arn(KIND, "cats"), job)
    folder = jobs_folder(account) / "cats"
    folder.mkdir(parents=True)
    note(folder, uptime)
    service = TrainingService(account, Faults(), EnvironmentOnly("a test"))
    service.recover()
    service.close()
    failed = account.records.get(KIND, "cats")
    assert failed is not None
    assert (failed["TrainingJobStatus"], failed["BillableTimeInSeconds"]) == ("Failed", billed)
    assert failed["TrainingEndTime"] == uptime.moment
    assert list(folder.iterdir()) == []
