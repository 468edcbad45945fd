"""The SageMaker Python SDK's own resources, used as its documentation uses them, unchanged and in a process of their own."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest
from embedded_aws import EmbeddedAws

import model
from trainmaster.training.source import source_archive

PROGRAM = Path(__file__).with_name("sagemaker_resources.py")
HOUSES = Path(model.__file__).parent / "data" / "house_data.csv"


@pytest.fixture(scope="module")
def ran(embedded: EmbeddedAws, client_environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    s3, bucket, prefix = (
        embedded.client("s3"),
        embedded.environment["TRAINMASTER_BUCKET"],
        f"sdk-{uuid.uuid4().hex[:8]}",
    )
    s3.put_object(Bucket=bucket, Key=f"{prefix}/data/houses.csv", Body=HOUSES.read_bytes())
    s3.put_object(Bucket=bucket, Key=f"{prefix}/sourcedir.tar.gz", Body=source_archive())
    done = subprocess.run(
        [sys.executable, str(PROGRAM), f"s3://{bucket}/{prefix}"],
        env=client_environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def said(ran: subprocess.CompletedProcess[str]) -> Any:
    return json.loads(ran.stdout.splitlines()[-1])


def test_the_default_bucket_is_this_accounts(said: Any, embedded: EmbeddedAws) -> None:
    assert said["bucket"] == embedded.environment["TRAINMASTER_BUCKET"]


def test_a_training_job_is_followed_to_its_end(said: Any) -> None:
    trained = said["trained"]
    assert trained["status"] == trained["found again"] == "Completed"
    assert trained["r2"] > 0.8
    assert trained["tags"] == {"team": "houses"}


def test_the_lines_of_a_job_are_shown_while_it_is_waited_for(ran: subprocess.CompletedProcess[str]) -> None:
    assert "r2=" in ran.stderr


def test_a_failed_job_raises_with_its_reason_when_waited_for(said: Any) -> None:
    assert said["failing"].endswith("AlgorithmError: no luck today, exit code: 3")


def test_a_job_is_stopped(said: Any) -> None:
    assert said["stopped"] == "Stopped"


def test_all_jobs_are_listed(said: Any) -> None:
    assert sorted(said["listed"].items()) == [("failing", "Failed"), ("stopped", "Stopped"), ("trained", "Completed")]


def test_a_job_that_is_not_there_is_not_found(said: Any) -> None:
    assert said["missing"] == {"Code": "ValidationException", "Message": "Requested resource not found."}


def test_an_endpoint_answers_is_updated_and_leaves_nothing_when_deleted(said: Any) -> None:
    assert 50_000 < said["endpoint"].pop("price") < 1_000_000
    assert said["endpoint"] == {"variant": "All", "updated to": "config-2", "left": []}
