"""Workspaces in words: one table for all kinds, what each costs as it stands, and since when nobody has used it."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import pytest

from trainmaster.budget.budgets import ACCOUNT, Budget, Payer, Standing
from trainmaster.commands.workspaces.showing import SERVICES, facts, listed, span
from trainmaster.workspaces.kinds import Seen
from trainmaster.workspaces.standing import WorkspaceStanding, least_left
from trainmaster.workspaces.workspace import SERVICE_TYPES, Status, Workspace, workspace_id_of

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
USER = UUID("1b3c5d7e-0000-4000-8000-000000000000")
STUDIO = Workspace(
    id=workspace_id_of(USER, "ml-training"), user_id=USER, name="ml-training", template="sagemaker-studio-gpu",
    service_type="sagemaker_studio", connection_type="web", account="123456789012", region="us-east-1", team="vision",
    instance_type="ml.g5.xlarge", volume_gb=100, hourly_cost=Decimal("1.408"), storage_hourly_cost=Decimal("0.0167"),
    fingerprint="f", status="running", created_at=NOW - timedelta(days=2),
)  # fmt: skip


def one(seen: Seen, left: Decimal | None = None, workspace: Workspace = STUDIO) -> WorkspaceStanding:
    return WorkspaceStanding(workspace, seen, NOW, left)


def test_all_kinds_are_one_table_with_what_each_costs_now_and_what_is_left_for_it() -> None:
    machine = replace(
        STUDIO, name="box", service_type="ec2", connection_type="ssh", instance_type="t3.xlarge", user_id=None
    )
    table = list(
        listed(
            [
                one(Seen("running", last_used_at=NOW - timedelta(minutes=72)), Decimal("11.109")),
                one(Seen("stopped", last_used_at=NOW), None, machine),
            ]
        )
    )
    assert [line.split() for line in table] == [
        ["NAME", "TYPE", "STATUS", "ACCESS", "AN", "HOUR", "OWNER", "IDLE", "FOR", "BUDGET", "LEFT"],
        ["ml-training", "Studio", "running", "web", "$1.42", "1b3c5d7e…", "1", "h", "12", "min", "$11.10"],
        ["box", "EC2", "stopped", "ssh", "$0.0167", "nobody", "no", "limit"],
    ]
    assert len({len(line) for line in table}) == 1, "the last column is of numbers, which end at one edge"


@pytest.mark.parametrize("status", ["starting", "running", "stopping"])
def test_a_machine_is_paid_for_from_its_start_to_its_end(status: Status) -> None:
    assert one(Seen(status)).hourly == Decimal("1.4247")


@pytest.mark.parametrize("status", ["stopped", "deleting", "failed"])
def test_without_a_machine_only_files_are_paid_for(status: Status) -> None:
    assert one(Seen(status)).hourly == Decimal("0.0167")


@pytest.mark.parametrize(
    "seen", [Seen("pending"), Seen("missing"), Seen("failed", made=False), Seen("deleting", made=False)]
)
def test_what_aws_has_nothing_of_is_paid_for_nothing(seen: Seen) -> None:
    assert one(seen).hourly == 0


def test_it_is_idle_since_the_newest_use_anybody_knows_of_and_only_while_it_runs() -> None:
    told, noted = NOW - timedelta(minutes=30), NOW - timedelta(minutes=10)
    both = one(Seen("running", last_used_at=told), workspace=replace(STUDIO, used_at=noted))
    assert (both.used_at, both.idle_for) == (noted, timedelta(minutes=10))
    assert one(Seen("running", last_used_at=told)).idle_for == timedelta(minutes=30)
    assert one(Seen("running")).idle_for is None
    assert one(Seen("stopped", last_used_at=told)).idle_for is None
    assert one(Seen("running", last_used_at=NOW + timedelta(seconds=3))).idle_for == timedelta(0)


@pytest.mark.parametrize(
    ("length", "said"),
    [
        (timedelta(seconds=59), "0 min"), (timedelta(minutes=59), "59 min"), (timedelta(hours=1), "1 h"),
        (timedelta(hours=47, minutes=59), "47 h 59 min"), (timedelta(hours=48), "2 days"), (None, ""),
    ],
)  # fmt: skip
def test_a_span_is_said_as_people_say_it(length: timedelta | None, said: str) -> None:
    assert span(length) == said


def test_what_is_left_is_the_least_of_all_budgets_that_pay() -> None:
    def standing(budget: Budget, limit: int | None) -> Standing:
        return Standing(budget, "2026-11", None if limit is None else Decimal(limit), Decimal(1), Decimal(2))

    user, team = Budget("user", str(USER)), Budget("team", "vision")
    known = {ACCOUNT: standing(ACCOUNT, 500), user: standing(user, 50), team: standing(team, None)}
    assert least_left(STUDIO.payer, known) == Decimal(47)
    assert least_left(Payer(), known) == Decimal(497)
    assert least_left(Payer(), {}) is None
    assert least_left(Payer(), {ACCOUNT: standing(ACCOUNT, 2)}) == Decimal(0)


def test_what_is_not_as_it_should_be_is_said_below_the_table() -> None:
    drifted = one(Seen("running", drift=("its instance type is ml.g5.2xlarge, not ml.g5.xlarge",)))
    failed = one(Seen("failed", "no capacity"), workspace=replace(STUDIO, name="other"))
    fine = one(Seen("stopped", "stopped by its owner"), workspace=replace(STUDIO, name="third"))
    table = list(listed([drifted, failed, fine]))
    assert "running*" in table[1]
    assert table[4:] == [
        "ml-training: its instance type is ml.g5.2xlarge, not ml.g5.xlarge",
        "other: no capacity",
    ]


def test_a_detail_of_aws_cannot_command_the_terminal() -> None:
    assert "\x1b" not in "".join(listed([one(Seen("failed", "\x1b[2J"))]))


def test_machines_get_every_digit_and_nothing_that_lets_anybody_in() -> None:
    row = replace(STUDIO, resources={"space": "ml-training-1b3c"})
    told = json.loads(json.dumps(facts(one(Seen("running", last_used_at=NOW), Decimal("11.109"), row))))
    assert (told["hourly_cost_now"], told["hourly_cost_running"], told["budget_left"]) == ("1.4247", "1.4247", "11.109")
    assert (told["idle_seconds"], told["user_id"], told["status"]) == (0, str(USER), "running")
    assert not {"url", "token"} & set(told)


def test_every_service_has_a_name() -> None:
    assert set(SERVICES) == set(SERVICE_TYPES)
