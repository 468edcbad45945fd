"""`trainmaster report weekly` says of the books what the flow does, needs no Prefect, and keeps files where it is told."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from books import charge
from embedded_aws import EmbeddedAws

from trainmaster.budget.budgets import Payer
from trainmaster.budget.ledger import open_ledger
from trainmaster.cli import main
from trainmaster.reporting.weeks import Week

USER = uuid.uuid4()
THIS_WEEK = Week(Week.last(datetime.now(UTC)).until).name


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A week in which one job cost $1.25."""
    monkeypatch.setenv("TRAINMASTER_STATE_DIR", str(tmp_path))
    monkeypatch.delenv("DATABASE_URL", raising=False)
    monkeypatch.delenv("SUPABASE_URL", raising=False)
    with open_ledger(None, tmp_path) as ledger:
        ledger.adopt(charge("cats-1", "2", Payer(USER)))
        ledger.settle("cats-1", Decimal("1.25"))
    return tmp_path


def test_for_people_and_for_machines_it_says_the_same(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "weekly", "--week", THIS_WEEK]) == 0
    for_people = capsys.readouterr().out
    assert f"$1.25 was billed in {THIS_WEEK}" in for_people
    assert f"user {USER}" in for_people
    assert "training-job cats-1" in for_people
    assert main(["report", "weekly", "--week", THIS_WEEK, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (Decimal(said["spent"]), said["by_kind"]) == (Decimal("1.25"), {"training": "1.250000"})
    assert not (state / "reports").exists()


def test_which_week_it_is_of_is_said_and_a_past_one_has_no_forecast(
    state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    last = Week.last(datetime.now(UTC))
    assert main(["report", "weekly"]) == 0
    of_last = capsys.readouterr().out
    assert of_last.startswith(f"{last.title()}, the last week that is over")
    assert "forecast" in of_last
    assert main(["report", "weekly", "--week", last.before.name]) == 0
    of_past = capsys.readouterr().out
    assert "forecast  " not in of_past
    assert "this week is past" in of_past


def test_it_is_kept_in_the_state_folder_unless_another_place_is_set(
    state: Path, embedded: EmbeddedAws, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", "weekly", "--week", THIS_WEEK, "--keep"]) == 0
    assert f"Written: {state / 'reports' / THIS_WEEK / 'report.md'}" in capsys.readouterr().err
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, embedded.environment[name])
    place = f"s3://{embedded.environment['TRAINMASTER_BUCKET']}/kept-{USER.hex}"
    monkeypatch.setenv("TRAINMASTER_REPORTS", place)
    assert main(["report", "weekly", "--week", THIS_WEEK, "--keep"]) == 0
    assert f"Written: {place}/{THIS_WEEK}/report.md" in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_is_refused_with_what_to_do(
    state: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (state / "file").write_text("in the way")
    monkeypatch.setenv("TRAINMASTER_REPORTS", str(state / "file"))
    assert main(["report", "weekly", "--keep"]) == 1
    assert "set TRAINMASTER_REPORTS to another or to an s3:// prefix" in capsys.readouterr().err


def test_what_is_no_week_is_asked_wrongly(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["report", "weekly", "--week", "monday"])
    assert ended.value.code == 2
    assert "'monday' is no week; write 2026-W47" in capsys.readouterr().err
    assert main(["report", "weekly", "--week", "2026-W54"]) == 1
    assert "There is no week 2026-W54" in capsys.readouterr().err
