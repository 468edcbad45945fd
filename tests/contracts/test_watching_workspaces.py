"""Workspaces nobody uses or pays for, looked after on the embedded AWS: warned of, then stopped, with every file kept."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from books import Still, user
from desks import desk_at
from ec2_workspaces import again, instances, volumes
from ec2_workspaces import row as ec2_row

from trainmaster.budget.budgets import ACCOUNT
from trainmaster.budget.ledger import Ledger
from trainmaster.budget.metering import Meters
from trainmaster.budget.money import rounded
from trainmaster.endpoints.watch.watching import StopIdleRequest
from trainmaster.errors import OverBudgetError
from trainmaster.training.desk import Desk
from trainmaster.workspaces.closing import close_workspace
from trainmaster.workspaces.metering import meter_workspaces
from trainmaster.workspaces.opening import open_workspace, start_workspace
from trainmaster.workspaces.request import CloseWorkspaceRequest, OpenWorkspaceRequest
from trainmaster.workspaces.seeing import see_workspace
from trainmaster.workspaces.services import kind_of
from trainmaster.workspaces.shared_files import meter_file_systems
from trainmaster.workspaces.watch import watching
from trainmaster.workspaces.watch.activity import Activity, activities
from trainmaster.workspaces.watch.results import SweptWorkspace
from trainmaster.workspaces.watch.watching import watch_workspaces
from trainmaster.workspaces.workspace import Workspace

TEMPLATES = {
    "notes": """
description: JupyterLab
service_type: sagemaker_studio
connection_type: web
service_config: {{domain: {domain}, default_instance_type: ml.t3.medium, volume_gb: 10, auto_stop_minutes: 60}}
policy: {{data_classification: internal}}
""",
    "editor": """
description: Code Editor
service_type: sagemaker_studio
connection_type: web
service_config:
  domain: {domain}
  app: CodeEditor
  default_instance_type: ml.t3.medium
  allowed_instance_types: [ml.t3.*]
  auto_stop_minutes: 60
policy: {{data_classification: internal}}
""",
    "pictures": """
description: Canvas
service_type: sagemaker_canvas
connection_type: web
service_config: {{domain: {domain}, auto_stop_minutes: 60}}
policy: {{data_classification: internal}}
""",
}


@pytest.fixture
def clock() -> Still:
    return Still(datetime.now(UTC))


@pytest.fixture
def desk(embedded: Any, tmp_path: Path, user_id: UUID, clock: Still) -> Iterator[Desk]:
    folder, domain = tmp_path / "templates", f"of-{uuid4().hex[:8]}"
    folder.mkdir()
    for name, text in TEMPLATES.items():
        (folder / f"{name}.yaml").write_text(text.format(domain=domain))
    environment = {**embedded.environment, "TRAINMASTER_USER_ID": str(user_id)}
    with desk_at(tmp_path, environment, workspace_templates=folder, poll_seconds=0.05) as opened:
        yield replace(opened, ledger=Ledger(opened.catalogue.database, clock))
        for one in opened.catalogue.workspaces.all():
            request = CloseWorkspaceRequest(name=one.name, action="delete", dry_run=False, user_id=str(one.user_id))
            close_workspace(opened, request)


def opened(desk: Desk, template: str, **asked: Any) -> Workspace:
    return open_workspace(desk, OpenWorkspaceRequest(template=template, name=template, **asked)).workspace


def swept(desk: Desk, name: str, **asked: Any) -> SweptWorkspace:
    [seen] = [one for one in watch_workspaces(desk, StopIdleRequest(**asked)) if one.workspace == name]
    return seen


def used_at(desk: Desk, workspace: Workspace, now: datetime) -> datetime | None:
    return activities(desk, [workspace], now)[workspace.id].used_at


class Jupyter:
    """A visitor of a workspace's JupyterLab, as a browser is let in."""

    def __init__(self, desk: Desk, workspace: Workspace) -> None:
        self._web = httpx.Client(follow_redirects=True, timeout=60)
        url = kind_of(workspace.service_type).access(desk, workspace).url
        self._base = str(self._web.get(url).raise_for_status().url).split("/lab")[0]
        self._headers = {"X-XSRFToken": self._web.cookies.get("_xsrf") or ""}

    def start_kernel(self) -> str:
        answer = self._web.post(f"{self._base}/api/kernels", json={}, headers=self._headers)
        return str(answer.raise_for_status().json()["id"])


def test_a_jupyterlab_nobody_uses_is_warned_of_and_stopped_with_its_files_kept(
    desk: Desk, clock: Still, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    ours = opened(desk, "notes")
    assert swept(desk, "notes").act == "leave"
    before = used_at(desk, ours, clock.moment + timedelta(hours=9))
    assert before is not None
    assert used_at(desk, ours, clock.moment + timedelta(hours=9)) == before  # looking is no use of it
    clock.pass_(minutes=62)
    warned = swept(desk, "notes")
    assert (warned.act, warned.reason) == ("warn", "idle")
    assert "nobody has used it for 60 minutes; it is stopped in 30 minutes" in warned.sentence()
    clock.pass_(minutes=29)
    assert swept(desk, "notes").act == "leave"
    clock.pass_(minutes=2)
    assert swept(desk, "notes", dry_run=True).done == "it would be stopped, its files kept"
    assert see_workspace(desk, ours).status == "running"
    stopped = swept(desk, "notes")
    assert (stopped.act, stopped.failure) == ("stop", "")
    assert "its files are kept; `trainmaster start notes` brings it back" in stopped.done
    assert see_workspace(desk, ours).status == "stopped"
    assert swept(desk, "notes").act == "leave"
    assert "_studio/" not in caplog.text


def test_a_kernel_that_computes_is_use_and_a_warning_is_forgotten_then(desk: Desk, clock: Still) -> None:
    ours = opened(desk, "notes")
    clock.pass_(minutes=62)
    assert swept(desk, "notes").act == "warn"
    Jupyter(desk, ours).start_kernel()
    clock.moment = datetime.now(UTC) + timedelta(minutes=1)
    row = desk.catalogue.workspaces.get(ours.user_id, "notes")
    assert row.warned.startswith("idle")
    assert swept(desk, "notes").done == "its warning is forgotten"
    row = desk.catalogue.workspaces.get(ours.user_id, "notes")
    assert row.used_at
    assert row.used_at > ours.created_at


def test_what_does_not_say_when_it_was_used_is_in_use_and_the_others_are_looked_after(desk: Desk, clock: Still) -> None:
    opened(desk, "editor")
    opened(desk, "pictures")
    clock.pass_(hours=30)
    found = {one.workspace: (one.act, one.why) for one in watch_workspaces(desk, StopIdleRequest())}
    assert found == {
        "editor": ("leave", "only JupyterLab says when it was used"),
        "pictures": ("leave", "Canvas has published nothing in the last hour"),
    }


def test_a_canvas_is_idle_as_it_says_itself_and_keep_until_puts_that_off(desk: Desk, clock: Still) -> None:
    ours = opened(desk, "pictures", keep_until=clock.moment + timedelta(hours=3))
    clock.pass_(hours=2)
    mine = [
        {"Name": "DomainId", "Value": ours.resources["domain_id"]},
        {"Name": "UserProfileName", "Value": ours.resources["user_profile"]},
    ]

    def publish(seconds: float) -> None:
        data = {"MetricName": "TimeSinceLastActive", "Dimensions": mine, "Value": seconds, "Timestamp": clock.moment}
        desk.client("cloudwatch").put_metric_data(Namespace="/aws/sagemaker/Canvas/AppActivity", MetricData=[data])

    publish(5400)
    clock.pass_(minutes=6)
    assert swept(desk, "pictures").act == "leave"
    clock.pass_(hours=1)
    publish(9000)
    clock.pass_(minutes=6)
    assert (swept(desk, "pictures").act, swept(desk, "pictures", notice_minutes=0).act) == ("warn", "stop")
    assert see_workspace(desk, ours).status == "stopped"


def test_money_that_is_gone_is_warned_of_and_then_stops_it_however_much_it_is_used(
    desk: Desk, clock: Still, user_id: UUID
) -> None:
    ours = opened(desk, "editor", keep_until=clock.moment + timedelta(days=2))
    desk.ledger.set_limit(user(user_id), Decimal("0.4"), set_by="a test")
    clock.pass_(hours=5.1)
    warned = swept(desk, "editor")
    assert (warned.act, warned.reason) == ("warn", "exhausted")
    clock.pass_(minutes=31)
    assert swept(desk, "editor").act == "stop"
    assert see_workspace(desk, ours).status == "stopped"
    assert desk.ledger.standing(user(user_id)).settled < Decimal("0.4")
    files = swept(desk, "editor")
    assert files.act in {"leave", "forget"}


def publish_processor(desk: Desk, instance: str, values: list[float], ending: datetime) -> None:
    data: Any = [
        {
            "MetricName": "CPUUtilization",
            "Dimensions": [{"Name": "InstanceId", "Value": instance}],
            "Value": value,
            "Timestamp": ending - timedelta(minutes=5 * age),
        }
        for age, value in enumerate(reversed(values), 1)
    ]
    desk.client("cloudwatch").put_metric_data(Namespace="AWS/EC2", MetricData=data)


def test_an_instance_is_idle_when_its_processor_and_network_are_and_its_volume_stays(desk: Desk, clock: Still) -> None:
    ours = ec2_row(desk, auto_stop_minutes=60)
    ours = kind_of("ec2").open(desk, ours)
    instance = ours.resources["instance_id"]
    clock.pass_(hours=2)
    unknown = swept(desk, ours.name)
    assert (unknown.act, unknown.why) == ("leave", "CloudWatch has too little of it")
    publish_processor(desk, instance, [0.4] * 8 + [40.0] + [0.4] * 3, clock.moment)
    assert swept(desk, ours.name).act == "leave"
    clock.pass_(hours=2)
    publish_processor(desk, instance, [0.4] * 12, clock.moment)
    assert swept(desk, ours.name).act == "warn"
    gpu = [{"Name": "InstanceId", "Value": instance}, {"Name": "index", "Value": "0"}]
    used: Any = {"MetricName": "nvidia_smi_utilization_gpu", "Dimensions": gpu, "Value": 93.0}
    at = {"Timestamp": clock.moment - timedelta(minutes=7)}
    desk.client("cloudwatch").put_metric_data(Namespace="CWAgent", MetricData=[{**used, **at}])
    assert swept(desk, ours.name).act == "forget"  # it trains on its GPU
    clock.pass_(hours=2)
    publish_processor(desk, instance, [0.4] * 12, clock.moment)
    assert (swept(desk, ours.name).act, swept(desk, ours.name, notice_minutes=0).act) == ("warn", "stop")
    [machine] = instances(desk, ours)
    assert machine["State"]["Name"] == "stopped"
    assert [one["VolumeId"] for one in volumes(desk, ours)] == [ours.resources["volume_id"]]
    assert again(desk, ours).status == "stopped"


def test_where_the_policy_cannot_be_read_that_is_said_and_what_is_spent_is_stopped_all_the_same(
    desk: Desk, clock: Still, tmp_path: Path
) -> None:
    opened(desk, "editor")
    (tmp_path / "policy.yaml").write_text("roles: none\n")
    desk = replace(desk, settings=desk.settings.model_copy(update={"policy_file": tmp_path / "policy.yaml"}))
    found = {one.workspace: one for one in watch_workspaces(desk, StopIdleRequest())}
    assert "cannot be used" in found["all"].failure
    assert found["editor"].act == "leave"


def test_reconciling_counts_what_runs_and_ends_what_was_deleted_by_others(desk: Desk, clock: Still) -> None:
    ours = opened(desk, "editor")
    assert {(one.part, one.finding) for one in meter_workspaces(desk)} == {
        ("machine", "metered"),
        ("storage", "metered"),
    }
    clock.pass_(hours=1)
    kind_of("sagemaker_studio").delete(desk, ours)  # not by our command
    ended = list(meter_workspaces(desk))
    assert {(one.part, one.finding) for one in ended} == {("machine", "ended"), ("storage", "ended")}
    assert ended[0].row()["job"].startswith("workspace editor")
    assert json.dumps([one.row() for one in ended])


def test_one_that_others_stopped_is_billed_until_then_and_not_started_again_on_the_hours_it_had(
    desk: Desk, clock: Still, user_id: UUID
) -> None:
    ours = opened(desk, "editor")
    kind_of("sagemaker_studio").stop(desk, ours)  # as AWS does with what is idle, and nobody has reconciled since
    clock.pass_(hours=1)
    desk.ledger.set_limit(user(user_id), Decimal("0.2"), set_by="a test")
    with pytest.raises(OverBudgetError):
        start_workspace(desk, user_id, "editor")
    with pytest.raises(OverBudgetError):
        opened(desk, "editor")
    assert see_workspace(desk, ours).status == "stopped"
    assert {meter.part for meter in Meters(desk.ledger).running(ours.resource)} == {"storage"}


def test_a_machine_no_budget_has_hours_for_is_refused_while_the_one_it_was_to_replace_still_runs(
    desk: Desk, clock: Still, user_id: UUID
) -> None:
    ours = opened(desk, "editor")
    clock.pass_(hours=4)  # of six that were reserved: only two of them come back once it stops
    desk.ledger.set_limit(user(user_id), Decimal("0.7"), set_by="a test")
    with pytest.raises(OverBudgetError):
        start_workspace(desk, user_id, "editor", instance_type="ml.t3.large")
    assert see_workspace(desk, ours).status == "running"
    desk.ledger.set_limit(user(user_id), Decimal("0.82"), set_by="a test")
    assert start_workspace(desk, user_id, "editor", instance_type="ml.t3.large").workspace.status == "running"


def test_who_stops_theirs_while_others_are_looked_after_pays_for_no_more_of_it(
    desk: Desk, clock: Still, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = opened(desk, "editor")

    def asked(*given: Any) -> Any:
        """Which takes as long as the slowest of them answers."""
        close_workspace(desk, CloseWorkspaceRequest(name="editor"))
        clock.pass_(minutes=20)
        return activities(*given)

    monkeypatch.setattr(watching, "activities", asked)
    assert swept(desk, "editor").act == "leave"
    assert {meter.part for meter in Meters(desk.ledger).running(ours.resource)} == {"storage"}


def test_what_its_owner_keeps_while_others_are_looked_after_is_not_stopped(
    desk: Desk, clock: Still, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = opened(desk, "notes")
    idle_since = clock.moment
    monkeypatch.setattr(watching, "activities", lambda *_: {ours.id: Activity(idle_since)})
    clock.pass_(hours=2)
    assert swept(desk, "notes").act == "warn"

    def asked(*_: Any) -> Any:
        opened(desk, "notes", keep_until=clock.moment + timedelta(hours=5))
        return {ours.id: Activity(idle_since)}

    monkeypatch.setattr(watching, "activities", asked)
    assert swept(desk, "notes", notice_minutes=0).act == "leave"
    assert see_workspace(desk, ours).status == "running"


def test_files_that_are_shared_are_paid_by_the_whole_lab_for_as_long_as_they_are_there(
    desk: Desk, clock: Still
) -> None:
    efs = desk.client("efs")
    shared = efs.create_file_system(CreationToken=uuid4().hex)["FileSystemId"]
    row = ec2_row(desk)
    desk.catalogue.workspaces.note_resources(row, efs_id=shared)

    def found() -> list[tuple[str, str]]:
        return [(one.workspace, one.finding) for one in meter_file_systems(desk)]

    assert found() == [(shared, "metered")]
    clock.pass_(hours=2)
    assert found() == [(shared, "metered")]
    efs.delete_file_system(FileSystemId=shared)
    clock.pass_(hours=2)
    assert found() == [(shared, "ended")]
    standing = desk.ledger.standing(ACCOUNT)
    assert (standing.settled, standing.reserved) == (rounded(4 * Decimal("0.30") / 672), Decimal(0))
