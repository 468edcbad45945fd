"""A workspace no budget has money for is told of, stopped with its files kept, and billed no more than it ran: by the flows on a schedule."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from prefect.events.worker import EventsWorker

from flows.close_workspace import close_workspace
from flows.open_workspace import open_workspace
from flows.reconcile import reconcile
from flows.stop_idle import stop_idle
from trainmaster.budget.budgets import Budget
from trainmaster.budget.idle_stops import stopped_between
from trainmaster.budget.ledger import open_ledger
from trainmaster.endpoints.watch.watching import StopIdleRequest
from trainmaster.settings import Settings
from trainmaster.training.reconciling import ReconcileRequest
from trainmaster.workspaces.request import CloseWorkspaceRequest, OpenWorkspaceRequest

USER = uuid4()
NAME = f"unpaid-{USER.hex[:6]}"
TEMPLATE = f"""
description: Code Editor
service_type: sagemaker_studio
connection_type: web
service_config: {{domain: of-idle-{USER.hex[:6]}, app: CodeEditor, default_instance_type: ml.t3.medium, auto_stop_minutes: 120}}
"""
WITHIN = 90.0


@pytest.fixture(autouse=True)
def nothing_left(stack: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "unpaid.yaml").write_text(TEMPLATE)
    monkeypatch.setenv("TRAINMASTER_WORKSPACE_TEMPLATES", str(tmp_path))
    yield
    close_workspace(CloseWorkspaceRequest(name=NAME, user_id=str(USER), action="delete", dry_run=False))


def swept(notice: int) -> tuple[str, str | None]:
    found = stop_idle(StopIdleRequest(notice_minutes=notice))
    [ours] = [one for one in found.workspaces if one.workspace == NAME]
    return ours.act, ours.reason


def told(stack: Any, of: str) -> set[str]:
    EventsWorker.drain_all(timeout=10)
    wanted = {"filter": {"resource": {"id": [of]}}}
    answer = httpx.post(f"{stack.prefect.api_url}/events/filter", json=wanted, timeout=90).raise_for_status()
    return {one["event"] for one in answer.json()["events"]}


def test_one_whose_money_is_gone_is_warned_of_then_stopped_and_its_files_stay(stack: Any) -> None:
    asked = OpenWorkspaceRequest(template="unpaid", name=NAME, user_id=str(USER))
    assert open_workspace(asked).status == "running"
    assert swept(30) == ("leave", None)
    with open_ledger(Settings().database_url, Settings().state_dir) as ledger:
        ledger.set_limit(budget_of(USER), Decimal("0.10"), set_by="a test")  # less than is reserved
    [unpaid] = {row["what"] for row in reconcile(ReconcileRequest()).changed if NAME in row["job"]}
    assert unpaid == "exhausted"
    assert swept(30) == ("warn", "exhausted")
    assert swept(30) == ("leave", "exhausted")
    assert swept(0) == ("stop", "exhausted")
    sagemaker = stack.client("sagemaker")
    [space] = [one for one in sagemaker.list_spaces(MaxResults=100)["Spaces"] if one["SpaceName"].startswith(NAME)]
    assert space["Status"] == "InService"
    with open_ledger(Settings().database_url, Settings().state_dir) as ledger:
        assert ledger.standing(budget_of(USER)).settled < Decimal("0.05")
        now = datetime.now(UTC)
        stops = stopped_between(ledger, now - timedelta(days=1), now + timedelta(days=1))
    assert [(one.reason, one.hourly > 0) for one in stops if one.user_id == USER] == [("exhausted", True)]
    deadline = time.monotonic() + WITHIN
    wanted = {"trainmaster.workspace.warn", "trainmaster.workspace.stop", "trainmaster.budget.exhausted"}
    while not wanted <= told(stack, f"trainmaster.workspace.{NAME}"):
        assert time.monotonic() < deadline, told(stack, f"trainmaster.workspace.{NAME}")
        time.sleep(0.5)


def budget_of(user_id: UUID) -> Budget:
    return Budget("user", str(user_id))
