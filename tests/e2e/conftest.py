"""Clients nobody here wrote, in processes of their own, in the environment `trainmaster embedded --print-env` prints."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from aws_cli import AwsCli
from embedded_aws import EmbeddedAws

SETTLED_WITHIN = 90.0
IN_PROGRESS = {"InProgress", "Stopping", "Creating", "Updating", "Deleting"}


@pytest.fixture(scope="session")
def client_environment(embedded: EmbeddedAws, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Nothing of this machine's user, whose ~/.aws might lead elsewhere."""
    home = tmp_path_factory.mktemp("home")
    return {"PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8", **embedded.environment}


@pytest.fixture(scope="session")
def aws(client_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> AwsCli:
    program = Path(sys.prefix) / "awscli" / "bin" / "aws"
    if not program.exists():
        pytest.fail(f"There is no AWS CLI at {program}. `make test` installs it before it starts the tests.")
    return AwsCli(program, client_environment, tmp_path_factory.mktemp("cli"))


@pytest.fixture(scope="session")
def settled(embedded: EmbeddedAws) -> Callable[..., None]:
    """Waits by boto3 until a training job, or an endpoint, has ended what it is doing.

    The CLI's own waiters, which sleep 30 to 120 s between two looks, then return at the first.
    """
    sagemaker = embedded.client("sagemaker")

    def status(job: str, endpoint: str) -> str:
        if job:
            return str(sagemaker.describe_training_job(TrainingJobName=job)["TrainingJobStatus"])
        found = sagemaker.list_endpoints(NameContains=endpoint)["Endpoints"]
        return str(found[0]["EndpointStatus"]) if found else "deleted"

    def wait(*, job: str = "", endpoint: str = "") -> None:
        deadline = time.monotonic() + SETTLED_WITHIN
        while (now := status(job, endpoint)) in IN_PROGRESS:
            assert time.monotonic() < deadline, now
            time.sleep(0.1)

    return wait
