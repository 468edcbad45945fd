"""Secrets never travel in the clear, and what only sounds like one does."""

from __future__ import annotations

import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainmaster.training.secrets import is_secret, secrets_in

A = "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"
ARNS = [
    "arn:aws:secretsmanager:us-east-1:123456789012:secret:hub-token-AbCdEf",
    "arn:aws:ssm:eu-west-1:123456789012:parameter/hub/token",
    "arn:aws-us-gov:secretsmanager:us-gov-west-1:123456789012:secret:x",
]

SECRET = [
    # by its name
    ("token", "x7"*8), ("hub_token", "literal"), ("HF_TOKEN", "literal"), ("hfToken", "literal"), ("auth-token", "literal"),
    ("api_token", "literal"), ("hub_token_secret_arn", "hunter2"), ("password", "hunter2"), ("db_password", 12345678),
    ("Password", "hunter2"), ("PGPASSWORD", "hunter2"), ("passwd", "x"), ("secret", "x"), ("client_secret", "x"), ("clientSecret", "x"),
    ("aws_secret_access_key", "x"), ("AWS_SECRET_ACCESS_KEY", "x"), ("api_key", "x"), ("apikey", "x"), ("API-KEY", "x"),
    ("openaiApiKey", "x"), ("WANDB_API_KEY", "x"), ("wandb_key", "x"), ("private_key", "x"), ("access_key", "x"), ("credential", "x"),
    ("credentials", "x"), ("GOOGLE_APPLICATION_CREDENTIALS", "{...}"), ("passphrase", "x"), ("bearer", "x"),
    # by its shape
    ("note", f"hf_{A}"), ("run", "AKIAIOSFODNN7EXAMPLE"), ("run", "ASIAIOSFODNN7EXAMPLE"), ("x", f"sk-{A}"), ("x", f"sk-proj-{A}"),
    ("x", f"sk-ant-{A}"), ("x", f"ghp_{A}"), ("x", f"github_pat_{A}"), ("x", f"glpat-{A}"), ("x", "xoxb-1234567890-abcdef"),
    ("x", "sk_live_0123456789ab"), ("x", f"AIza{A}"), ("x", f"npm_{A}"), ("x", "sb_secret_abcdefgh"),
    ("x", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl"),
    ("x", "-----BEGIN RSA PRIVATE KEY-----\nMIIE"), ("x", "-----BEGIN PRIVATE KEY-----"), ("x", "-----BEGIN OPENSSH PRIVATE KEY-----"),
    ("x", "postgres://me:pass@db/x"), ("x", "postgresql+psycopg://me:p%40ss@db:5432/x"), ("x", "https://me:pass@example.com/"),
    ("x", "redis://:pass@cache:6379/0"),
    ("x", "https://b.s3.amazonaws.com/k?X-Amz-Algorithm=AWS4&X-Amz-Signature=abc"),
    ("x", "https://p.supabase.co/storage/v1/object/sign/b/k?token=abc"), ("x", "https://acc.blob.core.windows.net/c?sv=1&sig=abc"),
    ("x", "https://storage.googleapis.com/b/k?X-Goog-Signature=abc"), ("x", "https://b.s3.amazonaws.com/k?AWSAccessKeyId=x&Signature=abc"),
    ("x", "https://hooks.slack.com/services/T0/B0/abc"), ("x", f"Bearer {A}"), ("x", f"curl -H 'Authorization: {A}'"),
    ("x", "Server=db;User=me;Password=hunter2"),
]  # fmt: skip

HARMLESS = [
    ("max_tokens", 512), ("max_new_tokens", "512"), ("num_tokens", 7), ("tokenizer", "meta-llama/Llama-3"), ("tokenizer_name", "x"),
    ("TOKENIZERS_PARALLELISM", "false"), ("pad_token", "<pad>"), ("pad_token", "</s>"), ("eos_token", "<|eot_id|>"), ("bos_token", "BOS"),
    ("unk_token", "[UNK]"), ("mask_token", "[MASK]"), ("pad_token_id", 0), ("eos_token_id", 2), ("image_token", "<image>"),
    ("additional_special_tokens", ["<a>", "<b>"]), ("token_type", "bpe"), ("tokens_per_batch", 4096), ("use_auth_token", True),
    ("use_auth_token", False), ("token", None), ("token", ""), ("hub_token", ""), ("password", None), ("token_dropout", 0.1),
    ("response_template_token", "<|x|>"), ("stop_token", "###"), ("primary_key", "id"), ("text_key", "text"), ("key", "text"),
    ("sort_keys", True), ("prompt_key", "prompt"), ("keyboard", "us"), ("monkey", "banana"), ("learning_rate", 2e-5),
    ("base_model", "mistralai/Mistral-7B-v0.1"), ("output_dir", "/opt/ml/model"), ("report_to", "wandb"), ("secret_name", "my/secret"),
    ("password_file", "/run/secrets/x"), ("token_path", "/x"), ("author", "me"), ("authors", "me"), ("passes", 3), ("compass", "n"),
    ("url", "https://example.com/a?b=c"), ("url", "s3://bucket/key"), ("revision", "a" * 40), ("seed", 42),
    ("schedule", "cosine"), ("skip", "sk-"), ("x", "hf_"), ("ratio", "3:1@2"), ("email", "me@example.com"), ("time", "12:30"),
]  # fmt: skip


@pytest.mark.parametrize(("key", "value"), SECRET)
def test_a_secret_is_told_by_its_name_or_its_shape(key: str, value: Any) -> None:
    assert is_secret(key, value)


@pytest.mark.parametrize(("key", "value"), HARMLESS)
def test_what_only_sounds_like_a_secret_passes(key: str, value: Any) -> None:
    assert list(secrets_in({key: value}, "Hyperparameter")) == []


@pytest.mark.parametrize("arn", ARNS)
@pytest.mark.parametrize("key", ["token", "hub_token_secret_arn", "password", "api_key", "anything"])
def test_a_reference_to_a_secret_passes_under_any_name(key: str, arn: str) -> None:
    assert not is_secret(key, arn)


def test_a_secret_is_found_however_deep_it_lies_and_said_by_its_path() -> None:
    values = {"hub": {"logins": [{"user": "me", "password": "hunter2"}, {"url": f"https://x?token={A}"}]}, "ok": 1}
    found = [problem.message for problem in secrets_in(values, "Hyperparameter")]
    assert found == [
        "Hyperparameter hub.logins[0].password looks like a secret.",
        "Hyperparameter hub.logins[1].url looks like a secret.",
    ]


def test_a_name_that_is_itself_a_secret_is_not_said_either() -> None:
    [problem] = secrets_in({f"hf_{A}": 1}, "Environment variable")
    assert A not in problem.sentence()


word = st.text(string.ascii_letters + string.digits, min_size=12, max_size=40).map("q7Z{}".format)
"""None that is a part of the sentences themselves."""


@given(word, st.sampled_from(["token", "hub_token", "password", "CLIENT_SECRET", "apiKey"]))
def test_no_problem_ever_says_the_secret(secret: str, key: str) -> None:
    [problem] = secrets_in({"outer": {key: secret}}, "Hyperparameter")
    assert secret not in problem.sentence()
    assert problem.kind == "secret"
    assert "ARN" in problem.remedy


@given(
    st.sampled_from(["password", "secret", "api_key", "auth_token", "private_key"]), st.sampled_from("-_. "), st.data()
)
def test_a_name_is_known_however_it_is_spelled(key: str, separator: str, data: st.DataObject) -> None:
    words = ["my", *key.split("_")]
    spelled = data.draw(st.sampled_from([str.lower, str.upper, str.title]))
    camel = words[0] + "".join(each.title() for each in words[1:])
    assert is_secret(separator.join(spelled(each) for each in words), "literal")
    assert is_secret(camel, "literal")


@given(st.dictionaries(st.text(max_size=10), st.recursive(st.none() | st.booleans() | st.floats() | st.text(max_size=30), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3), max_leaves=10)))  # fmt: skip
def test_whatever_a_config_holds_is_looked_at_without_a_fault(values: dict[str, Any]) -> None:
    for problem in secrets_in(values, "Hyperparameter"):
        assert problem.kind == "secret"
