"""Hours of workspaces in the books: machine and storage apart, reserved before either is made, billed until each is seen gone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from books import Still, user
from paid_workspaces import desk_without_aws, workspace

from trainmaster.budget.budgets import ACCOUNT
from trainmaster.budget.metering import Meters
from trainmaster.budget.money import rounded
from trainmaster.errors import OverBudgetError
from trainmaster.training.desk import Desk
from trainmaster.workspaces.costs import costs_of
from trainmaster.workspaces.kinds import Seen
from trainmaster.workspaces.metering import PARTS, end, regions_with_workspaces, reserve, see
from trainmaster.workspaces.workspace import BILLABLE, STATUSES, Status, Workspace

MACHINE = Decimal("0.05")  # ml.t3.medium, Studio, us-east-1
STORAGE = 20 * Decimal("0.112") / 672
NOTHING = Decimal(0)
RUNNING, STOPPED = Seen("running"), Seen("stopped")


@pytest.fixture
def clock() -> Still:
    return Still()


@pytest.fixture
def desk(tmp_path: Path, clock: Still) -> Iterator[Desk]:
    with desk_without_aws(tmp_path, clock) as opened:
        yield opened


def spent(desk: Desk) -> tuple[Decimal, Decimal]:
    """Billed, and reserved."""
    standing = desk.ledger.standing(ACCOUNT)
    return standing.settled, standing.reserved


def parts(desk: Desk, of: Workspace) -> set[str]:
    return {meter.part for meter in Meters(desk.ledger).running(of.resource)}


def findings(desk: Desk, of: Workspace, seen: Seen) -> list[tuple[str, str]]:
    return [(one.part, one.finding) for one in see(desk, of, seen)]


def test_machine_and_storage_are_billed_apart_from_the_first_sighting_until_each_is_gone(
    desk: Desk, clock: Still
) -> None:
    ours = workspace()
    assert (ours.hourly_cost, ours.storage_hourly_cost) == (MACHINE, STORAGE)
    reserve(desk, ours)
    reserve(desk, ours)  # whoever comes again
    assert spent(desk)[1] == pytest.approx(6 * (MACHINE + STORAGE), abs=Decimal("0.000002"))
    clock.pass_(minutes=10)  # while it is being made it costs nothing
    assert findings(desk, ours, RUNNING) == [("machine", "metered"), ("storage", "metered")]
    clock.pass_(hours=2)
    assert findings(desk, ours, STOPPED) == [("machine", "ended"), ("storage", "metered")]
    assert spent(desk)[0] == 2 * MACHINE
    clock.pass_(hours=2)
    end(desk, ours, storage=True)
    assert spent(desk) == (2 * MACHINE + rounded(4 * STORAGE), NOTHING)
    assert end(desk, ours, storage=True) == []


def test_what_aws_said_before_others_started_or_stopped_it_counts_no_more(desk: Desk, clock: Still) -> None:
    ours = workspace()
    reserve(desk, ours)
    clock.pass_(minutes=1)
    asked_at = clock.moment
    clock.pass_(seconds=5)
    see(desk, ours, RUNNING)  # whoever opened it
    clock.pass_(seconds=5)
    assert see(desk, ours, Seen("pending"), asked_at=asked_at) == []
    assert parts(desk, ours) == {"machine", "storage"}
    clock.pass_(hours=1)
    asked_at = clock.moment
    clock.pass_(seconds=5)
    see(desk, ours, STOPPED)  # whoever stopped it
    before = spent(desk)
    clock.pass_(minutes=5)
    assert see(desk, ours, RUNNING, asked_at=asked_at) == []
    assert (parts(desk, ours), spent(desk)) == ({"storage"}, before)
    assert [one.part for one in see(desk, ours, RUNNING, asked_at=clock.moment)] == ["machine", "storage"]


def test_one_that_is_started_again_is_reserved_and_billed_again(desk: Desk, clock: Still) -> None:
    ours = workspace()
    for _ in range(2):
        reserve(desk, ours)
        see(desk, ours, RUNNING)
        clock.pass_(hours=1)
        see(desk, ours, STOPPED)
        clock.pass_(hours=1)
    end(desk, ours, storage=True)
    assert spent(desk) == (2 * MACHINE + rounded(4 * STORAGE), NOTHING)


def test_what_stopped_by_itself_is_billed_until_it_did_however_late_somebody_looks(desk: Desk, clock: Still) -> None:
    ours = workspace()
    reserve(desk, ours)
    see(desk, ours, RUNNING)
    stopped_at = clock.moment + timedelta(hours=3)
    clock.pass_(hours=30)
    see(desk, ours, replace(STOPPED, since=stopped_at))
    assert spent(desk)[0] == 3 * MACHINE + rounded(6 * STORAGE) * 5


def test_what_is_said_to_have_stopped_before_it_was_seen_running_is_billed_until_it_is_seen_stopped(
    desk: Desk, clock: Still
) -> None:
    ours = workspace()
    reserve(desk, ours)
    see(desk, ours, RUNNING)
    before = clock.moment - timedelta(seconds=1)
    clock.pass_(hours=1)
    see(desk, ours, replace(STOPPED, since=before))
    assert spent(desk)[0] == MACHINE


def test_hours_that_do_not_fit_are_refused_whole_and_nothing_stays_reserved(desk: Desk) -> None:
    ours = workspace()
    desk.ledger.set_limit(user(ours.user_id or uuid4()), Decimal("0.31"), set_by="a test")
    with pytest.raises(OverBudgetError, match=r"Workspace .*, for 6 hours, would cost \$0\.32"):
        reserve(desk, ours)
    assert spent(desk) == (NOTHING, NOTHING)
    desk.ledger.set_limit(user(ours.user_id or uuid4()), Decimal("0.33"), set_by="a test")
    reserve(desk, ours)
    assert parts(desk, ours) == set(PARTS)


@pytest.mark.parametrize("instance_type", ["ml.t3.medium", "ml.g5.xlarge"])
def test_the_budget_that_a_refusal_names_has_room_for_machine_and_storage(desk: Desk, instance_type: str) -> None:
    ours = workspace(instance_type=instance_type, volume_gb=37)
    desk.ledger.set_limit(ACCOUNT, Decimal("0.10"), set_by="a test")
    with pytest.raises(OverBudgetError) as refused:
        reserve(desk, ours)
    told = re.search(r"trainmaster budget set (\S+) --account", str(refused.value))
    assert told
    desk.ledger.set_limit(ACCOUNT, Decimal(told[1]), set_by="a test")
    reserve(desk, ours)
    assert parts(desk, ours) == set(PARTS)


def test_a_machine_that_does_not_fit_leaves_the_storage_of_what_is_stopped_paid_for(desk: Desk) -> None:
    ours = workspace()
    reserve(desk, ours)
    see(desk, ours, STOPPED)
    end(desk, ours, storage=False)
    desk.ledger.set_limit(user(ours.user_id or uuid4()), Decimal("0.20"), set_by="a test")
    with pytest.raises(OverBudgetError, match=r"Workspace .*, for 6 hours, would cost \$0\.30"):
        reserve(desk, ours)
    assert parts(desk, ours) == {"storage"}


def test_a_double_click_reserves_once(desk: Desk) -> None:
    ours = workspace()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: reserve(desk, ours), range(8)))
    assert spent(desk)[1] == pytest.approx(6 * (MACHINE + STORAGE), abs=Decimal("0.000002"))


@pytest.mark.parametrize("status", ["pending", "stopped", "missing", "deleted", "failed", "deleting"])
def test_whoever_looks_between_reserving_and_making_takes_no_hours_away_until_they_are_given_up(
    desk: Desk, clock: Still, status: Status
) -> None:
    ours = workspace()
    reserve(desk, ours)
    clock.pass_(minutes=29)
    see(desk, ours, Seen(status))
    assert "machine" in parts(desk, ours)
    clock.pass_(minutes=2)
    assert ("machine", "released") in findings(desk, ours, Seen(status))
    assert spent(desk)[0] == 0


def test_where_aws_could_not_be_asked_nothing_changes(desk: Desk, clock: Still) -> None:
    ours = workspace()
    reserve(desk, ours)
    see(desk, ours, RUNNING)
    before = spent(desk)
    clock.pass_(hours=20)
    [found] = see(desk, ours, Seen("unknown", "it timed out"))
    assert (found.finding, found.why) == ("failed", "it timed out")
    assert spent(desk) == before
    see(desk, ours, RUNNING)  # what has passed is counted by the next who can
    assert spent(desk)[0] == 18 * MACHINE + 3 * rounded(6 * STORAGE)


@pytest.mark.parametrize("status", [one for one in STATUSES if one not in {"unknown", "pending"}])
def test_in_every_status_what_is_paid_for_is_counted_and_nothing_else(desk: Desk, status: Status) -> None:
    ours = workspace()
    reserve(desk, ours)
    see(desk, ours, RUNNING)
    see(desk, ours, Seen(status))
    there = set(PARTS) if status in BILLABLE else set() if status in {"deleted", "missing"} else {"storage"}
    assert parts(desk, ours) == there


def test_what_runs_and_nobody_reserved_hours_for_is_counted_also_beyond_its_budget(desk: Desk, clock: Still) -> None:
    ours = workspace()
    desk.ledger.set_limit(user(ours.user_id or uuid4()), Decimal("0.01"), set_by="a test")
    assert findings(desk, ours, RUNNING) == [("machine", "adopted"), ("storage", "adopted")]
    clock.pass_(hours=1)
    assert {finding for _, finding in findings(desk, ours, RUNNING)} == {"exhausted"}


def test_a_machine_exchanged_by_hand_is_billed_at_what_it_costs_from_when_it_is_seen(desk: Desk, clock: Still) -> None:
    ours = workspace()
    reserve(desk, ours)
    see(desk, ours, replace(RUNNING, instance_type="ml.t3.medium"))
    clock.pass_(hours=1)
    see(desk, ours, replace(RUNNING, instance_type="ml.g5.xlarge"))
    clock.pass_(hours=1)
    end(desk, ours, storage=False)
    assert spent(desk)[0] == MACHINE + Decimal("1.41")


def test_one_of_a_type_nobody_has_a_price_of_is_counted_at_its_rows_price(desk: Desk, clock: Still) -> None:
    ours = workspace()
    see(desk, ours, replace(RUNNING, instance_type="ml.new9.large"))
    clock.pass_(hours=1)
    end(desk, ours, storage=False)
    assert spent(desk)[0] == MACHINE


def test_a_canvas_is_paid_by_the_session_and_a_studio_lab_costs_nothing(desk: Desk, clock: Still) -> None:
    canvas = workspace(service_type="sagemaker_canvas", instance_type="", volume_gb=0)
    lab = workspace(service_type="sagemaker_lab", instance_type="", volume_gb=0)
    for ours in (canvas, lab):
        reserve(desk, ours)
        see(desk, ours, RUNNING)
    assert (parts(desk, canvas), parts(desk, lab)) == ({"machine"}, set())
    clock.pass_(hours=1)
    see(desk, canvas, STOPPED)
    assert spent(desk) == (Decimal("1.90"), NOTHING)


def test_regions_are_known_by_their_rows_and_by_what_is_reserved_there(desk: Desk) -> None:
    assert regions_with_workspaces(desk) == []
    desk.catalogue.workspaces.begin(workspace(region="eu-west-1"))
    reserve(desk, workspace())
    assert regions_with_workspaces(desk) == ["eu-west-1", "us-east-1"]


def test_one_workspaces_hours_are_none_of_anothers(desk: Desk, clock: Still) -> None:
    ours: Any
    ours, others = workspace("notes"), workspace("notes")
    for one in (ours, others):
        reserve(desk, one)
        see(desk, one, RUNNING)
    clock.pass_(hours=1)
    end(desk, ours, storage=True)
    assert parts(desk, others) == set(PARTS)
    assert desk.ledger.standing(user(others.user_id or uuid4())).settled == 0


def test_what_it_came_to_is_known_while_it_runs_when_it_is_stopped_and_in_the_next_month_no_more(
    desk: Desk, clock: Still
) -> None:
    ours = workspace()
    assert costs_of(desk, ours).spent_this_month == 0
    reserve(desk, ours)
    see(desk, ours, RUNNING)
    clock.pass_(hours=7)
    see(desk, ours, RUNNING)
    running = costs_of(desk, ours)
    assert running.hourly.total == MACHINE + STORAGE
    assert running.spent_this_month == pytest.approx(7 * (MACHINE + STORAGE), abs=Decimal("0.000005"))
    assert running.reserved == pytest.approx(5 * (MACHINE + STORAGE), abs=Decimal("0.000005"))
    end(desk, ours, storage=True)
    ended = costs_of(desk, ours)
    assert (ended.spent_this_month, ended.reserved) == (spent(desk)[0], NOTHING)
    assert ended.spent_this_month == pytest.approx(running.spent_this_month, abs=Decimal("0.000002"))
    clock.pass_(days=20)
    assert costs_of(desk, ours).spent_this_month == 0
