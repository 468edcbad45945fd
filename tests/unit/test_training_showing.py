"""A plan is shown whole and as it is: what it costs, what is left, and the request; what a user wrote commands nothing."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from paid_launch import plan_of

from trainmaster.aws.quotas import LONGEST_RUNTIME, Quota, of_type
from trainmaster.budget.approval import ENDING_SECONDS
from trainmaster.budget.budgets import ACCOUNT, Budget, Standing
from trainmaster.training.checking import Circumstances, Role, Room
from trainmaster.training.plan import TrainingPlan
from trainmaster.training.showing import SPOT_SHARE, likely_cost, plan_markdown, plan_text, plan_value

ENVIRONMENT = {
    "TRAINMASTER_BUCKET": "lab",
    "AWS_REGION": "us-east-1",
    "TRAINMASTER_USER_ID": "7153111e-0000-4000-8000-000000000001",
    "TRAINMASTER_EXECUTION_ROLE_ARN": "arn:aws:iam::123456789012:role/Trainer",
}
AROUND = Circumstances(
    "us-east-1",
    Role(ENVIRONMENT["TRAINMASTER_EXECUTION_ROLE_ARN"], "usable"),
    rooms=(
        Room(Quota(of_type("ml.m5.large", spot=True), "L-1", 8), 3, ("dogs-1",)),
        Room(Quota(LONGEST_RUNTIME, "L-2", 432_000)),
    ),
    standings=(
        Standing(ACCOUNT, "2026-11", Decimal(50), Decimal(20), Decimal("18.90")),
        Standing(Budget("team", "vision"), "2026-11", None, Decimal(0), Decimal(0)),
    ),
)


def plan(around: Circumstances = AROUND, notes: tuple[str, ...] = (), **choices: Any) -> TrainingPlan:
    return replace(plan_of("cats", ENVIRONMENT, **choices), circumstances=around, notes=notes)


def test_the_text_says_what_it_costs_what_is_left_and_what_aws_would_get() -> None:
    made = plan(notes=("Whether the quotas suffice could not be checked.",))
    text = plan_text(made)
    facts, _, request = text.partition("CreateTrainingJob\n")
    for said in (
        made.job_name,
        "1 × ml.m5.large, spot, in us-east-1",
        "3,600 s of training",
        "at most 7,200 s for spot instances and training together",
        "of its budget_limit of $1.00",
        "an estimate, with the 70 % that spot usually saves and AWS does not promise",
        "$11.10 of November 2026's $50.00 of the account is left",
        "Team vision has no limit for November 2026",
        "ml.m5.large for spot training job usage: 5 of 8 left",
        "Longest run time for a training job: 432,000 s",
        "Note: Whether the quotas suffice could not be checked.",
    ):
        assert said in facts, facts
    assert json.loads(request) == made.create_request


def test_a_gpu_type_shows_its_gpus_and_a_warm_pool_its_time() -> None:
    text = plan_text(
        plan(instance_type="ml.g5.12xlarge", instance_count=2, use_spot_instances=False, budget_limit=Decimal(100))
    )
    assert "2 × ml.g5.12xlarge (4 × A10G 24 GB), on demand" in text
    assert "Waits" not in text


def test_what_is_likely_is_in_full_on_demand_and_an_estimate_on_spot() -> None:
    on_demand, spot = plan(use_spot_instances=False), plan()
    full = on_demand.approval.rate.cost(on_demand.approval.max_runtime_seconds)
    assert likely_cost(on_demand) == full
    assert on_demand.approval.worst_case == on_demand.approval.rate.cost(3600 + ENDING_SECONDS) > full
    assert likely_cost(spot) == full * SPOT_SHARE
    assert likely_cost(spot) >= full / 10, "AWS takes off 90 % at most"


def test_a_cut_runtime_and_a_launch_of_before_are_told() -> None:
    text = plan_text(plan(replace(AROUND, launched=True), budget_limit=Decimal("0.05")))
    assert "cut to what the budget pays for" in text
    assert "before; it would be followed, not launched again" in text


def test_a_plan_whose_surroundings_nobody_looked_at_is_shown_without_them() -> None:
    made = replace(plan(), circumstances=None)
    assert "Quota" not in plan_text(made)
    assert (plan_value(made)["quotas"], plan_value(made)["budgets"]) == ([], [])


HOSTILE = "\x1b[2Jeaten | `code` <img src=x> **bold** $x$\n# A heading"


def test_no_value_of_a_user_is_markup_or_commands_a_terminal() -> None:
    made = plan(notes=(HOSTILE,))
    made = replace(made, create_request=made.create_request | {"Environment": {"X": HOSTILE + "\n```\n# B </pre>"}})
    text, markdown = plan_text(made), plan_markdown(made)
    assert "\x1b" not in text + markdown
    outside = [line for line in markdown.splitlines() if not line.startswith("    ")]
    assert not any(re.search(r"(?<!\\)(<img|\*\*bold|`code)|^(# A|# B|```)", line) for line in outside)
    assert any(r"\<img src=x\> \*\*bold" in line for line in outside), "it is shown, as it is"
    assert [line for line in outside if line.startswith("# ")] == [f"# Plan of training job {made.job_name}"]
    assert markdown.count("\n## CreateTrainingJob\n") == 1
    request = markdown.partition("## CreateTrainingJob\n\n")[2]
    assert all(line.startswith("    ") for line in request.rstrip("\n").split("\n"))
    assert json.loads(request) == made.create_request


@pytest.mark.parametrize("spot", [True, False])
def test_the_value_is_json_with_exact_amounts(spot: bool) -> None:
    made = plan(use_spot_instances=spot)
    value = plan_value(made)
    assert json.loads(json.dumps(value)) == value
    assert Decimal(value["worst_case_usd"]) == made.approval.worst_case.quantize(Decimal("0.000001"))
    assert value["budgets"][0] == {"budget": "account", "month": "2026-11", "limit_usd": "50", "left_usd": "11.10"}
    assert value["budgets"][1]["limit_usd"] is None
    assert value["quotas"][0] == {
        "name": of_type("ml.m5.large", spot=True),
        "code": "L-1",
        "value": 8,
        "used": 3,
        "left": 5,
    }
    assert (value["create_training_job"], value["spot"]) == (made.create_request, spot)
