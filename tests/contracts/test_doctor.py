"""What `trainmaster doctor` finds of real services that are well, and of what was broken on purpose."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import roles_held
from embedded_aws import EmbeddedAws
from postgres import Postgres
from waiting import TRUST

from trainmaster.catalog.catalogue import open_catalogue
from trainmaster.cli import main
from trainmaster.doctor import aws, permissions, stores
from trainmaster.doctor.findings import Finding
from trainmaster.settings import Settings


@pytest.fixture
def settings(embedded: EmbeddedAws, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Settings:
    """Of the session's embedded AWS, with a state folder of one's own and no Prefect server."""
    for name, value in embedded.environment.items():
        monkeypatch.setenv(name, value)
    for name in ("PREFECT_API_URL", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    monkeypatch.setenv("TRAINMASTER_STATE_DIR", str(tmp_path))
    return Settings()


def verdicts(found: Iterator[Finding]) -> set[str]:
    return {one.verdict.value for one in found}


def wrong(found: Iterator[Finding]) -> Finding:
    """The only one that is not well."""
    [only] = [one for one in found if one.verdict != "ok"]
    assert only.fix
    return only


def changed(settings: Settings, **values: Any) -> Settings:
    return settings.model_copy(update=values)


def test_all_of_the_embedded_aws_is_well(settings: Settings) -> None:
    client = aws.client_of(settings)
    for check in (aws.credentials, permissions.role, permissions.ours, aws.buckets, aws.quotas):
        assert verdicts(check(client, settings)) == {"ok"}, check


def test_the_command_tells_everything_in_a_line_each_and_fails_without_a_prefect_server(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TRAINMASTER_BUKET", "misspelt")
    assert main(["doctor", "--json"]) == 1
    said = capsys.readouterr().out
    for secret in (settings.supabase_service_role_key, settings.supabase_jwt_secret):
        assert secret
        assert secret.get_secret_value() not in said
    found = json.loads(said)
    assert not found["ok"]
    [prefect] = [one for one in found["findings"] if one["verdict"] == "fail"]
    assert (prefect["subject"], prefect["says"]) == ("Prefect", "PREFECT_API_URL is not set")
    [misspelt] = [one for one in found["findings"] if one["verdict"] == "warn"]
    assert misspelt["says"] == "TRAINMASTER_BUKET is set, and nothing reads it"
    assert misspelt["fix"] == "Did you mean TRAINMASTER_BUCKET?"


def test_a_role_that_is_not_there_or_trusts_somebody_else_or_may_too_little_is_said(
    settings: Settings, embedded: EmbeddedAws
) -> None:
    client, iam, name = aws.client_of(settings), embedded.client("iam"), f"poor-{uuid4().hex[:8]}"

    def found() -> list[Finding]:
        arn = f"arn:aws:iam::123456789012:role/{name}"
        return [one for one in permissions.role(client, changed(settings, execution_role_arn=arn)) if one.fix]

    assert "does not exist" in found()[0].says
    lambdas = TRUST.replace("sagemaker", "lambda")
    iam.create_role(RoleName=name, AssumeRolePolicyDocument=lambdas)
    distrusted, lacks = found()
    assert distrusted.says == "does not trust sagemaker.amazonaws.com"
    assert '"Service": "sagemaker.amazonaws.com"' in distrusted.fix
    assert f"s3:ListBucket on arn:aws:s3:::{settings.bucket}" in lacks.says

    iam.update_assume_role_policy(RoleName=name, PolicyDocument=TRUST)
    allow = [{"Effect": "Allow", "Action": ["s3:*", "logs:*", "ecr:*"], "Resource": "*"}]
    document = json.dumps({"Version": "2012-10-17", "Statement": allow})
    iam.put_role_policy(RoleName=name, PolicyName="most", PolicyDocument=document)
    [lacks] = found()
    assert lacks.says == "lacks cloudwatch:PutMetricData on *"


def test_who_has_the_shipped_policies_lacks_nothing_and_without_its_installations_tag_may_stop_nothing(
    settings: Settings, embedded: EmbeddedAws
) -> None:
    with closing(open_catalogue(settings.catalogue_url, settings.state_dir)) as catalogue:
        whose = str(catalogue.installation)
    arn = roles_held.execution_role(embedded)
    ours = changed(settings, execution_role_arn=arn)
    assert [one for one in permissions.role(aws.client_of(settings), ours) if one.fix] == []

    def lacking(installation: str) -> list[str]:
        policy = roles_held.policy("worker", str(settings.bucket), INSTALLATION=installation)
        held = roles_held.session(embedded, roles_held.role_with(embedded, policy))
        return [one.says for one in permissions.ours(held.client, ours) if one.fix]

    assert lacking(whose) == []
    [says] = lacking("another")
    assert "sagemaker:StopTrainingJob on arn:aws:sagemaker:us-east-1:123456789012:training-job/" in says


@pytest.mark.parametrize(
    ("document", "trusted"),
    [
        ({"Effect": "Allow", "Principal": {"Service": ["ec2.amazonaws.com", "sagemaker.amazonaws.com"]}, "Action": "sts:AssumeRole"}, True),
        ({"Effect": "Allow", "Principal": "*", "Action": ["sts:*"]}, True),
        ({"Effect": "Deny", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"}, False),
        ({"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::1:root"}, "Action": "sts:AssumeRole"}, False),
        ({"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:TagSession"}, False),
    ],
    ids=["one of several", "anybody", "denied", "an account", "another action"],
)  # fmt: skip
def test_a_trust_policy_trusts_whom_it_lets_assume_the_role(document: dict[str, Any], trusted: bool) -> None:
    assert permissions.trusts({"Statement": document}, "sagemaker.amazonaws.com") is trusted
    assert permissions.trusts(json.dumps({"Statement": [document]}), "sagemaker.amazonaws.com") is trusted


def test_a_bucket_that_is_not_there_is_said_with_the_command_that_makes_it(settings: Settings) -> None:
    name = f"nowhere-{uuid4().hex[:8]}"
    found = wrong(aws.buckets(aws.client_of(settings), changed(settings, bucket=name)))
    assert (found.verdict, found.says) == ("fail", "does not exist")
    assert f"aws s3 mb s3://{name} --region us-east-1" in found.fix


def test_nothing_is_left_in_the_bucket(settings: Settings, embedded: EmbeddedAws) -> None:
    list(aws.buckets(aws.client_of(settings), settings))
    listed = embedded.client("s3").list_objects_v2(Bucket=settings.bucket, Prefix=aws.PROBE.format(""))
    assert listed["KeyCount"] == 0


def test_keys_that_aws_refuses_are_said_without_being_told(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "an-old-s3cret")
    found = wrong(aws.credentials(aws.client_of(settings), settings))
    assert found.verdict == "fail"
    assert "AWS refuses them (" in found.says
    assert "s3cret" not in found.says + found.fix


@pytest.mark.parametrize(("seconds", "verdict"), [(2, "ok"), (90, "warn"), (-90, "warn"), (400, "fail")])
def test_a_clock_is_judged_by_what_aws_makes_of_it(settings: Settings, seconds: int, verdict: str) -> None:
    """Of an AWS whose clock is the one that is off."""
    there = format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)

    class Sts:
        def get_caller_identity(self) -> dict[str, Any]:
            headers = {"HTTPHeaders": {"date": there}}
            return {"Arn": "arn:aws:iam::1:user/me", "Account": "1", "ResponseMetadata": headers}

    [_, clock] = aws.credentials(lambda _service: Sts(), settings)
    assert clock.verdict == verdict


def test_migrations_that_were_not_applied_are_listed_with_the_command_that_applies_them(
    settings: Settings, postgres: Postgres
) -> None:
    from pydantic import SecretStr

    before, migrated = postgres.before(), postgres.migrated()
    try:
        found = wrong(stores.database(changed(settings, database_url=SecretStr(before))))
        assert found.verdict == "fail"
        assert "20261121100000_ledger" in found.says
        assert "`trainmaster setup --database`" in found.fix
        assert verdicts(stores.database(changed(settings, database_url=SecretStr(migrated)))) == {"ok"}
    finally:
        postgres.drop(before)
        postgres.drop(migrated)


def test_a_supabase_that_is_away_refuses_or_has_no_bucket_is_told_apart(settings: Settings) -> None:
    from pydantic import SecretStr

    assert verdicts(stores.supabase(settings, "training-datasets")) == {"ok"}
    assert "there is no bucket nowhere" in wrong(stores.supabase(settings, "nowhere")).says
    away = changed(settings, supabase_url="http://127.0.0.1:9")
    assert "does not answer" in wrong(stores.supabase(away, "training-datasets")).says
    stranger = changed(settings, supabase_service_role_key=SecretStr("a-s3cret-of-another"))
    refused = wrong(stores.supabase(stranger, "training-datasets"))
    assert "refuses the key" in refused.says
    assert "s3cret" not in refused.says + refused.fix
