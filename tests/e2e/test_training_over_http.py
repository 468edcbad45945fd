"""A server of the HTTP API that is killed while it launches a job: whoever asks again finds one job, paid for once."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from served_api import TRAININGS, ServedApi
from workshop import HOUSES, until

from trainmaster.budget.ledger import Ledger, open_ledger

SLOW = {"latency": 15.0, "count": 1}


@pytest.fixture
def environment(embedded: Any, tmp_path: Path) -> dict[str, str]:
    """Without Prefect, which a launch does not need."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    here = {"TRAINMASTER_STATE_DIR": str(tmp_path / "state"), "PREFECT_API_URL": "http://127.0.0.1:9/api"}
    return {**clean, **embedded.environment, **here}


@pytest.fixture
def ledger(environment: dict[str, str]) -> Iterator[Ledger]:
    with open_ledger(None, Path(environment["TRAINMASTER_STATE_DIR"])) as opened:
        yield opened


@pytest.mark.parametrize("at", ["CreateTrial", "CreateTrainingJob"])
def test_a_server_that_is_killed_while_it_launches_leaves_one_job_to_whoever_asks_again(
    embedded: Any, environment: dict[str, str], ledger: Ledger, tmp_path: Path, at: str
) -> None:
    name, bucket = f"killed-{uuid4().hex[:6]}", environment["TRAINMASTER_BUCKET"]
    embedded.client("s3").put_object(Bucket=bucket, Key=f"{name}/data.csv", Body=HOUSES.read_bytes())
    asked = {"model_name": name, "data_uri": f"s3://{bucket}/{name}/", "budget_limit": "1.00"}
    key = {"Idempotency-Key": f"key-{name}"}
    with ExitStack() as served:
        first = ServedApi(environment, tmp_path / "api.log")
        served.callback(first.close)
        embedded.control("POST", "faults", {"operation": at, **SLOW})
        served.callback(embedded.control, "DELETE", "faults")
        killer = threading.Thread(target=lambda: kill_when_reserved(ledger, first))
        killer.start()
        with pytest.raises(httpx.HTTPError):
            first.ask("POST", json=asked, headers=key)
        killer.join()

        second = ServedApi(environment, tmp_path / "api.log", first.user)
        served.callback(second.close)
        made = second.ask("POST", json=asked, headers=key)
        assert made.status_code in (200, 201), made.text
        assert second.ask("POST", json=asked, headers=key).content == made.content
        found = embedded.client("sagemaker").list_training_jobs(NameContains=name)["TrainingJobSummaries"]
        assert [job["TrainingJobName"] for job in found] == [made.json()["training_job_name"]]
        entries = [one.what for one in ledger.history() if one.subject == made.json()["training_job_name"]]
        assert entries.count("reserved") == 1
        assert "released" not in entries
        stopped = second.ask("DELETE", f"{TRAININGS}/{made.json()['deployment_id']}")
        assert stopped.status_code in (200, 202)


def kill_when_reserved(ledger: Ledger, api: ServedApi) -> None:
    """While AWS takes its time: the row and the reservation are there, the answer is not."""
    until(lambda: reserved_by(ledger, api.user), "nothing was ever reserved")
    api.kill()


def reserved_by(ledger: Ledger, user: UUID) -> bool:
    return any(one.charge.payer.user_id == user for one in ledger.open_reservations())
