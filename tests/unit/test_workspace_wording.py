"""What is said of a workspace is what happened: who opens is not told that nothing was done, and who only asks what would be."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from books import Clock
from paid_workspaces import desk_without_aws, workspace

from trainmaster.budget.budgets import ACCOUNT
from trainmaster.commands.workspaces.closing import deleted, stopped
from trainmaster.commands.workspaces.launching import by_launching
from trainmaster.errors import OverBudgetError
from trainmaster.workspaces import metering
from trainmaster.workspaces.closing import ClosedWorkspace
from trainmaster.workspaces.kinds import Seen, Step
from trainmaster.workspaces.opening import PlannedWorkspace
from trainmaster.workspaces.policy.rules import Asked, Policy, Role, check
from trainmaster.workspaces.results import closed_result, planned_result

STEPS = (Step("create", "space", "notes-1b3c5d7e"),)
GONE = (Step("stop", "workspace", "notes"), Step("delete", "space with its files", "notes-1b3c5d7e"))
OURS = workspace("notes")
LAB = workspace("lab", service_type="sagemaker_lab", instance_type="", status="running")


def test_a_run_that_opens_does_not_say_that_nothing_was_done() -> None:
    plan = planned_result(PlannedWorkspace(OURS, STEPS))
    assert plan.planned().endswith("an hour for its files. Steps: create space notes-1b3c5d7e.")
    assert "Nothing was done" not in plan.planned()
    assert plan.sentence().endswith("Nothing was done.")


def test_a_dry_run_that_would_be_refused_says_so_and_by_what() -> None:
    plan = PlannedWorkspace(OURS, STEPS, ("max_keep: too long.",), (), "It would cost $8.00; $1.00 is left.")
    assert plan.refusals == ("max_keep: too long.", "It would cost $8.00; $1.00 is left.")
    told = planned_result(plan)
    assert "It would be refused: max_keep: too long. It would cost $8.00; $1.00 is left. Nothing was done." in (
        told.sentence()
    )
    assert {"what": "over budget", "value": "It would cost $8.00; $1.00 is left."} in told.table()


def test_a_deletion_that_is_only_asked_about_says_what_would_go_and_how_to_do_it() -> None:
    told = closed_result(ClosedWorkspace(OURS, GONE, dry_run=True), "delete").sentence()
    assert "would be deleted with all files in it: stop workspace notes; delete space with its files" in told
    assert told.endswith("Nothing was done; turn dry_run off to do it.")
    assert "an hour" not in told


def test_what_was_deleted_costs_nothing_and_what_was_stopped_its_files() -> None:
    gone = closed_result(ClosedWorkspace(replace(OURS, status="deleted"), GONE), "delete").sentence()
    assert "is deleted, with all files that were in it" in gone
    assert "$" not in gone
    kept = closed_result(ClosedWorkspace(replace(OURS, status="stopped"), GONE[:1]), "stop").sentence()
    assert "is stopped: its files are kept, at $0.0" in kept


def test_of_studio_lab_nobody_says_what_only_its_own_page_knows() -> None:
    for said in (
        deleted(ClosedWorkspace(replace(LAB, status="deleted"))),
        stopped(ClosedWorkspace(replace(LAB, status="stopped"))),
        closed_result(ClosedWorkspace(replace(LAB, status="deleted")), "delete").sentence(),
        closed_result(ClosedWorkspace(replace(LAB, status="stopped")), "stop").sentence(),
        closed_result(ClosedWorkspace(LAB, dry_run=True), "delete").sentence(),
    ):
        assert "files that were in it" not in said
        assert "files in it" not in said
        assert "are kept" not in said
        assert "on its own page" in said
    assert "with all files that were in it" in deleted(ClosedWorkspace(replace(OURS, status="deleted"), GONE))


@pytest.mark.parametrize("dollars", ["0.01", "0.31"], ids=["machine", "storage"])
def test_a_dry_run_knows_of_the_budget_that_would_refuse(tmp_path: Path, dollars: str) -> None:
    with desk_without_aws(tmp_path, Clock(datetime(2026, 11, 3, 8, tzinfo=UTC))) as desk:
        desk.ledger.set_limit(ACCOUNT, Decimal(dollars), set_by="a test")
        short = metering.shortfall(desk, OURS, None)
        assert isinstance(short, OverBudgetError)
        assert f"${dollars}" in str(short)
        assert not desk.ledger.open_reservations()
        desk.ledger.set_limit(ACCOUNT, Decimal(5), set_by="a test")
        metering.reserve(desk, OURS)
        desk.ledger.set_limit(ACCOUNT, Decimal(0), set_by="a test")
        assert metering.shortfall(desk, OURS, Seen("running")) is None, "its hours are reserved already"


def test_what_start_has_no_option_for_is_told_as_the_launch_that_has() -> None:
    role = Role(required_tags=("project",), auto_stop=60, max_keep=8, data_classifications=("public",))
    asked = Asked("sagemaker_studio", auto_stop_minutes=120, keep_for=timedelta(days=2))
    found = check(Policy(roles={"student": role}, default_role="student"), asked)
    told = by_launching(OURS, found, {"--instance-type": "ml.t3.large", "--user": ""})
    assert [one.rule for one in told] == ["data_classifications", "required_tags", "auto_stop", "max_keep"]
    assert told[:-1] == found[:-1]
    assert told[-1].remedy == (
        "Keep it for 8 h. Start it by what has options for that: trainmaster launch sagemaker-studio notes --instance-type"
        " ml.t3.large --data-classification public --tag project=VALUE --auto-stop-minutes 60 --keep-until 8h"
    )
    dear = check(
        Policy(roles={"poor": Role(max_hourly_cost=Decimal(0))}, default_role="poor"), Asked("sagemaker_studio")
    )
    assert by_launching(OURS, dear, {}) == dear, "no option helps"
