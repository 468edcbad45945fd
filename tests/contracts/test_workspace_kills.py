"""Whatever kills a run that opens or deletes a workspace, at whichever step: the same again comes to one that runs, or to none."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import killed_openings
import pytest
from desks import desk_at
from killed_openings import Opening

from trainmaster.budget.budgets import Budget
from trainmaster.budget.metering import Meters
from trainmaster.training.desk import Desk
from trainmaster.workspaces.closing import close_workspace
from trainmaster.workspaces.opening import open_workspace
from trainmaster.workspaces.request import CloseWorkspaceRequest, OpenWorkspaceRequest

WITHIN = 90.0
OPENING = 4
"""Steps: domain, user profile, space and app are made, and not yet written down."""
DELETING = 2
"""Steps: app and space are being deleted."""
TEMPLATE = """
description: Code Editor
service_type: sagemaker_studio
connection_type: web
service_config: {{domain: "of-{user}", app: CodeEditor, default_instance_type: ml.t3.medium, auto_stop_minutes: 60}}
"""
WANTED = OpenWorkspaceRequest(template="editor", name="notes")
DELETED = CloseWorkspaceRequest(name="notes", action="delete", dry_run=False)
Killed = Callable[..., bool]


@pytest.fixture
def environment(embedded: Any) -> dict[str, str]:
    return {**embedded.environment, "TRAINMASTER_USER_ID": str(uuid4())}


@pytest.fixture
def desk(environment: dict[str, str], tmp_path: Path) -> Iterator[Desk]:
    (tmp_path / "editor.yaml").write_text(TEMPLATE.format(user=environment["TRAINMASTER_USER_ID"][:8]))
    with desk_at(tmp_path, environment, workspace_templates=tmp_path, poll_seconds=0.05) as desk:
        yield desk


@pytest.fixture
def killed(children: Any, environment: dict[str, str], tmp_path: Path) -> Killed:
    """Whether it was killed at that step, and not done before it."""

    def at(step: int, *, closes: bool = False, moment: str = "after-call") -> bool:
        work = Opening(environment, tmp_path, tmp_path, WANTED.model_dump_json(), step, closes, moment)
        child = children.Process(target=killed_openings.do, args=(work,))
        child.start()
        child.join(WITHIN)
        assert child.exitcode in (0, -signal.SIGKILL)
        return bool(child.exitcode)

    return at


def standing(desk: Desk) -> dict[str, int]:
    """What AWS has in the domain, of apps those that run."""
    aws = desk.client("sagemaker")
    name = f"of-{str(desk.settings.user_id)[:8]}"
    domains = [one["DomainId"] for one in aws.list_domains(MaxResults=100)["Domains"] if one["DomainName"] == name]
    of = [{"DomainIdEquals": domain} for domain in domains]
    return {
        "domains": len(domains),
        "profiles": sum(len(aws.list_user_profiles(**one)["UserProfiles"]) for one in of),
        "spaces": sum(len(aws.list_spaces(**one)["Spaces"]) for one in of),
        "apps": sum(app["Status"] == "InService" for one in of for app in aws.list_apps(**one)["Apps"]),
    }


def parts_paid_for(desk: Desk) -> list[str]:
    return sorted(meter.part for meter in Meters(desk.ledger).running() if meter.payer.user_id == desk.settings.user_id)


@pytest.mark.parametrize(
    ("step", "moment"), [(1, "before-call"), *((step, "after-call") for step in range(1, OPENING + 1))]
)
def test_one_whose_opening_died_at_any_step_is_opened_once_by_the_same_again(
    desk: Desk, killed: Killed, step: int, moment: str
) -> None:
    assert killed(step, moment=moment)
    assert open_workspace(desk, WANTED).workspace.status == "running"
    assert standing(desk) == {"domains": 1, "profiles": 1, "spaces": 1, "apps": 1}
    assert parts_paid_for(desk) == ["machine", "storage"]
    close_workspace(desk, DELETED)


@pytest.mark.parametrize("step", range(1, DELETING + 1))
def test_one_whose_deletion_died_at_any_step_is_gone_after_the_same_again(
    desk: Desk, killed: Killed, step: int
) -> None:
    open_workspace(desk, WANTED)
    assert killed(step, closes=True)
    assert close_workspace(desk, DELETED).workspace.status == "deleted"
    assert standing(desk) == {"domains": 1, "profiles": 1, "spaces": 0, "apps": 0}
    assert parts_paid_for(desk) == []
    assert desk.ledger.standing(Budget("user", str(desk.settings.user_id))).reserved == 0


def test_there_are_no_more_steps_than_those(desk: Desk, killed: Killed) -> None:
    assert not killed(OPENING + 1)
    assert not killed(DELETING + 1, closes=True)
