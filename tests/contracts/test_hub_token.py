"""The Hub's token inside a job: fetched from where the secret is kept, and never said."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import boto3
import pytest

from model.finetune.hub_token import fetch_token
from model.finetune.problems import BadInputError


@pytest.fixture(autouse=True)
def in_a_job(embedded: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in embedded.environment.items():
        monkeypatch.setenv(name, value)


def secret(kept: str) -> str:
    client = boto3.client("secretsmanager", region_name="us-east-1")
    return str(client.create_secret(Name=f"hub-{uuid4().hex}", SecretString=kept)["ARN"])


def parameter(kept: str) -> str:
    client, name = boto3.client("ssm", region_name="us-east-1"), f"/hub/{uuid4().hex}"
    client.put_parameter(Name=name, Value=kept, Type="SecureString")
    return f"arn:aws:ssm:us-east-1:123456789012:parameter{name}"


def test_a_token_is_a_secrets_text_or_the_only_value_of_its_json_or_a_parameter() -> None:
    assert fetch_token(secret("hf_first\n")) == "hf_first"
    assert fetch_token(secret('{"HF_TOKEN": "hf_second"}')) == "hf_second"
    assert fetch_token(parameter("hf_third")) == "hf_third"


@pytest.mark.parametrize("kept", ['{"a": "hf_one", "b": "hf_two"}', '{"a": ', "  ", "two words"])
def test_a_secret_that_is_no_token_is_told_without_what_it_is(kept: str) -> None:
    arn = secret(kept)
    with pytest.raises(BadInputError) as refused:
        fetch_token(arn)
    assert arn in str(refused.value)
    assert kept.strip() == "" or kept not in str(refused.value)
    assert "hf_" not in str(refused.value)


def test_a_secret_that_is_not_there_is_told_with_what_the_role_needs() -> None:
    for arn, action in {
        "arn:aws:secretsmanager:us-east-1:123456789012:secret:none-AbCdEf": "secretsmanager:GetSecretValue",
        "arn:aws:ssm:us-east-1:123456789012:parameter/none": "ssm:GetParameter",
    }.items():
        with pytest.raises(BadInputError, match=action):
            fetch_token(arn)
