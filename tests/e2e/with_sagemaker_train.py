"""The newest SageMaker Python SDK's ModelTrainer, unchanged, against the embedded AWS.

`make e2e-sdk` runs this; `make test` does not: it would install 700 MB.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PYTHON = Path(sys.prefix) / "sagemaker-train" / "bin" / "python"
PROGRAM = Path(__file__).with_name("model_trainer.py")


@pytest.fixture(scope="module")
def said(client_environment: dict[str, str]) -> Any:
    done = subprocess.run(
        [str(PYTHON), str(PROGRAM)], env=client_environment, capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_a_script_is_trained_on_data_in_s3(said: Any) -> None:
    assert said["from S3"] == {"status": "Completed", "total": [18], "failure": ""}


def test_local_data_is_uploaded_and_trained_on_by_two_spot_hosts(said: Any) -> None:
    assert said["from here, two hosts, spot"] == {"status": "Completed", "total": [9], "failure": ""}


def test_a_script_that_raises_fails_the_job_and_the_call(said: Any) -> None:
    assert said["failing"]["status"] == "Failed"
    assert "AlgorithmError" in said["failing"]["failure"]
