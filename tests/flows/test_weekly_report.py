"""The weekly report as a run: its page has the figures and pictures, its files say the same, and again changes nothing."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from prefect import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId

from flows.weekly_report import weekly_report
from trainmaster.budget.budgets import Payer
from trainmaster.budget.charge import Charge
from trainmaster.budget.ledger import open_ledger
from trainmaster.reporting.weeks import Week, WeeklyReportRequest
from trainmaster.settings import Settings

THIS_WEEK = Week.last(datetime.now(UTC)).until


@pytest.fixture
def asked() -> WeeklyReportRequest:
    """Of this week, in which something was billed."""
    user = uuid4()
    with open_ledger(Settings().database_url, Settings().state_dir) as ledger:
        arn = f"arn:aws:sagemaker:us-east-1:123456789012:training-job/weekly-{user.hex}"
        ledger.adopt(Charge(f"weekly-{user.hex}", Decimal(90), Decimal(1), arn, Payer(user)))
        ledger.settle(f"weekly-{user.hex}", Decimal("87.654321"))
    return WeeklyReportRequest(week=Week(THIS_WEEK).name, top=1)


def page_of(run_id: Any) -> str:
    of_run = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run_id]))
    with get_client(sync_client=True) as client:
        [page] = [one for one in client.read_artifacts(artifact_filter=of_run) if one.key == "summary"]
    return str(page.data)


def test_the_run_shows_the_week_and_keeps_it_as_files(
    stack: Any, asked: WeeklyReportRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRAINMASTER_REPORTS", str(tmp_path))
    state = weekly_report(asked, return_state=True)
    report = state.result()
    page, folder = page_of(state.state_details.flow_run_id), tmp_path / report.week
    assert sorted(file.name for file in folder.iterdir()) == ["month.png", "report.json", "report.md", "spend.png"]
    written = (folder / "report.md").read_text()
    for said in ("| training | \\$", "\\$87.65 |", "## The month"):
        assert said in page
        assert said in written
    assert "![What each day cost](data:image/png;base64,iVBOR" in page
    assert "![What each day cost](spend.png)" in written
    assert (folder / "spend.png").read_bytes().startswith(b"\x89PNG")
    assert Decimal(json.loads((folder / "report.json").read_text())["spent"]) == report.spent >= Decimal("87.654321")


def test_reports_can_be_kept_in_s3_and_again_take_the_place_of_those_there(
    stack: Any, asked: WeeklyReportRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    prefix = f"reports-{uuid4().hex[:8]}"
    monkeypatch.setenv("TRAINMASTER_REPORTS", f"s3://{stack.bucket}/{prefix}/")
    weekly_report(asked)
    weekly_report(asked)
    listed = stack.client("s3").list_objects_v2(Bucket=stack.bucket, Prefix=prefix)["Contents"]
    names = ["month.png", "report.json", "report.md", "spend.png"]
    assert [one["Key"] for one in listed] == [f"{prefix}/{asked.week}/{name}" for name in names]
    page = stack.client("s3").get_object(Bucket=stack.bucket, Key=f"{prefix}/{asked.week}/report.md")
    assert page["ContentType"].startswith("text/markdown")
