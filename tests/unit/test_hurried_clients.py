"""Who asks over HTTP waits for AWS as long as a browser does, and no longer."""

from __future__ import annotations

from pathlib import Path

import pytest
from botocore.config import Config
from http_offices import NOWHERE, office_at

from trainmaster.aws.clients import hurried_clients, impatient_client
from trainmaster.errors import CredentialsMissingError
from trainmaster.http_api.workspaces import _desk_in

LONGEST_SECONDS = 70


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "any")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "any")


def longest(config: Config) -> int:
    return int(config.retries["total_max_attempts"] * (config.connect_timeout + config.read_timeout))


@pytest.mark.usefixtures("credentials")
def test_a_call_of_a_server_gives_up_while_its_caller_still_waits_and_one_of_s3_has_its_time() -> None:
    clients = hurried_clients("us-east-1")
    assert longest(clients("sagemaker").meta.config) < LONGEST_SECONDS < longest(clients("s3").meta.config)
    assert longest(impatient_client("sagemaker-runtime", "us-east-1").meta.config) < 29  # API Gateway's


@pytest.mark.usefixtures("credentials")
def test_a_region_that_does_not_answer_holds_up_nobody_longer_than_ours(tmp_path: Path) -> None:
    with office_at(NOWHERE, tmp_path) as office, _desk_in(office, "eu-west-1") as desk:
        client = desk.client("sagemaker")
        assert client.meta.region_name == "eu-west-1"
        assert longest(client.meta.config) < LONGEST_SECONDS


def test_without_credentials_it_is_said_where_they_may_come_from(
    monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", f"{tmp_path}/none")
    monkeypatch.setenv("AWS_CONFIG_FILE", f"{tmp_path}/none")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(CredentialsMissingError, match="Set AWS_ACCESS_KEY_ID"):
        hurried_clients("us-east-1")
