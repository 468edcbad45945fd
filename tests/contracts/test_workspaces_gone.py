"""What AWS has nothing of is told as what it is: failed with its reason, being deleted, or missing; and nothing is paid for it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from books import Still
from desks import desk_at
from paid_workspaces import desk_without_aws, workspace

from trainmaster.budget.metering import Meters
from trainmaster.commands.workspaces.showing import listed, of_workspace
from trainmaster.errors import RefusedError, WorkspaceFailedError
from trainmaster.training.desk import Desk
from trainmaster.workspaces.closing import close_workspace, delete_workspace, stop_workspace
from trainmaster.workspaces.costs import costs_of
from trainmaster.workspaces.deciding import Decision, recheck
from trainmaster.workspaces.kinds import Seen
from trainmaster.workspaces.metering import see
from trainmaster.workspaces.opening import open_workspace
from trainmaster.workspaces.request import CloseWorkspaceRequest, OpenWorkspaceRequest
from trainmaster.workspaces.seeing import require_there, see_workspace
from trainmaster.workspaces.standing import WorkspaceStanding
from trainmaster.workspaces.workspace import Status, Workspace

WHY = "ResourceLimitExceeded: the account-level service limit is 0"


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with desk_without_aws(tmp_path, Still()) as opened:
        yield opened


def begun(desk: Desk, **changed: Any) -> Workspace:
    """A row of Studio whose domain nobody knows, so that AWS is not asked."""
    return desk.catalogue.workspaces.begin(workspace("box", **changed))


def looked(desk: Desk, row: Workspace) -> tuple[Workspace, Seen]:
    """Its row as it is written down after two looks, and the second of them."""
    seen = see_workspace(desk, row)
    for _ in range(2):
        row = desk.catalogue.workspaces.get(row.user_id, row.name)
        seen = see_workspace(desk, row)
    return row, seen


def told(desk: Desk, row: Workspace, seen: Seen) -> list[str]:
    shown = WorkspaceStanding(row, seen, desk.ledger.now(), None)
    standings = [desk.ledger.standing(budget) for budget in row.payer.budgets()]
    return [*listed([shown]), *of_workspace(shown, costs_of(desk, row), standings)]


def test_what_failed_before_anything_was_made_stays_so_says_why_and_costs_nothing(desk: Desk) -> None:
    row, seen = looked(desk, begun(desk, status="failed", detail=WHY))
    assert (row.status, row.detail) == ("failed", WHY)
    assert (seen.status, seen.detail, seen.has_files) == ("failed", WHY, False)
    assert WorkspaceStanding(row, seen, desk.ledger.now(), None).hourly == Decimal(0)
    assert sum(WHY in line for line in told(desk, row, seen)) == 2, "in the list, and in all there is to know"
    see(desk, row, seen)
    assert Meters(desk.ledger).running(row.resource) == []
    assert stop_workspace(desk, row).status == "failed", "there is nothing to stop"


@pytest.mark.parametrize("resources", [{}, {"space": "box-1b3c5d7e"}], ids=["nothing-made", "all-gone"])
def test_an_interrupted_delete_is_told_as_one_until_the_same_again_finishes_it(
    desk: Desk, resources: dict[str, str]
) -> None:
    row, seen = looked(desk, begun(desk, status="deleting", resources=resources))
    assert (row.status, seen.status) == ("deleting", "deleting")
    assert WorkspaceStanding(row, seen, desk.ledger.now(), None).hourly == Decimal(0)
    lines = told(desk, row, seen)
    assert "box: AWS has nothing of it any more; the same delete finishes it: trainmaster delete box --yes" in lines
    assert lines[-1] == "Finish that: trainmaster delete box --yes"
    with pytest.raises(RefusedError, match="trainmaster delete box --yes"):
        require_there(row, seen)
    see(desk, row, seen)
    assert Meters(desk.ledger).running(row.resource) == []
    assert delete_workspace(desk, row).status == "deleted"


def test_a_missing_one_costs_nothing_and_is_deleted_here_and_launched_anew_whoever_is_asked(desk: Desk) -> None:
    row, seen = looked(desk, begun(desk, status="stopped", resources={"space": "box-1b3c5d7e"}))
    assert (row.status, seen.status) == ("missing", "missing")
    assert WorkspaceStanding(row, seen, desk.ledger.now(), None).hourly == Decimal(0)
    way = "Delete it here as well, and open it anew: trainmaster delete box --yes, then trainmaster launch sagemaker-studio box"
    assert told(desk, row, seen)[-1] == way
    with pytest.raises(RefusedError, match=way):
        require_there(row, seen)


@pytest.mark.parametrize(("status", "violations"), [("missing", []), ("stopped", ["max_workspaces"])])
def test_a_missing_one_takes_nobodys_room(desk: Desk, tmp_path: Path, status: Status, violations: list[str]) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text("default_role: one\nroles: {one: {max_workspaces: 1}}\n")
    strict = replace(desk, settings=desk.settings.model_copy(update={"policy_file": policy}))
    other = begun(desk, status=status)
    decided = recheck(strict, Decision(workspace("another", other.user_id), None, ()))
    assert [one.rule for one in decided.violations] == violations


@pytest.mark.parametrize(
    ("template", "operation", "error"),
    [
        ("sagemaker-studio-gpu", "CreateSpace", "ResourceLimitExceeded"),
        ("python-ml", "RunInstances", "InsufficientInstanceCapacity"),
    ],
)
def test_what_aws_had_no_room_for_is_failed_with_its_words_until_it_is_opened_again(
    embedded: Any, tmp_path: Path, template: str, operation: str, error: str
) -> None:
    environment = {**embedded.environment, "TRAINMASTER_USER_ID": str(uuid4())}
    domain = f"gone-{uuid4().hex[:8]}"
    with desk_at(tmp_path, environment, poll_seconds=0.05, studio_domain=domain) as desk:
        wanted = OpenWorkspaceRequest(template=template, name="box")
        assert "error" not in embedded.control(
            "POST", "faults", {"operation": operation, "error": error, "status": 400, "count": 1}
        )
        with pytest.raises(WorkspaceFailedError, match=error):
            open_workspace(desk, wanted)
        row, seen = looked(desk, desk.catalogue.workspaces.get(desk.settings.user_id, "box"))
        assert (row.status, seen.status, error in seen.detail) == ("failed", "failed", True)
        assert Meters(desk.ledger).running(row.resource) == []
        assert open_workspace(desk, wanted).workspace.status == "running"
        close_workspace(desk, CloseWorkspaceRequest(name="box", action="delete", dry_run=False))
