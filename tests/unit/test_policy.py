"""What a policy does not allow is said all at once, each with rule, value, limit and the nearest that is allowed."""

from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from trainmaster.errors import PolicyRefusedError
from trainmaster.workspaces.policy.rules import SERVICES, Asked, Policy, check

USER = UUID("1b3c5d7e-0000-4000-8000-000000000001")


def policy(**role: Any) -> Policy:
    return Policy.model_validate({"default_role": "researcher", "roles": {"researcher": role}})


def said(found: Policy, asked: Asked) -> list[str]:
    return [one.sentence() for one in check(found, asked)]


@pytest.mark.parametrize("service", SERVICES)
def test_a_role_without_rules_is_held_back_by_nothing(service: Any) -> None:
    asked = Asked(service, instance_types=("ml.p5.48xlarge",), workspaces_open=999, keep_for=timedelta(days=999))
    assert check(policy(), asked) == []


def test_a_service_that_is_not_allowed_is_named_with_the_one_that_does_most_of_the_same() -> None:
    assert said(policy(services=["sagemaker_lab", "ec2"]), Asked("sagemaker_studio")) == [
        (
            "services: sagemaker_studio was asked for; role researcher allows sagemaker_lab, ec2 for sagemaker_studio."
            " Nearest allowed: sagemaker_lab."
        )
    ]


def test_nothing_does_the_work_of_training() -> None:
    (violation,) = check(policy(services=["ec2"]), Asked("training"))
    assert violation.nearest == ""
    assert "Ask an owner of the policy" in violation.sentence()


def test_an_instance_type_outside_the_globs_is_named_with_the_nearest_inside() -> None:
    asked = Asked("training", instance_types=("ml.g5.12xlarge",))
    assert said(policy(instance_types=["ml.m5.*", "ml.g4dn.*"]), asked) == [
        (
            "instance_types: ml.g5.12xlarge was asked for; role researcher allows ml.m5.*, ml.g4dn.* for training."
            " Nearest allowed: ml.g4dn.12xlarge."
        )
    ]


def test_a_glob_of_sagemakers_allows_nothing_of_ec2s() -> None:
    assert check(policy(instance_types=["ml.m5.*"]), Asked("ec2", instance_types=("m5.large",)))


def test_an_hour_that_costs_too_much_is_named_with_what_fits() -> None:
    asked = Asked(
        "sagemaker_studio",
        instance_types=("ml.g5.12xlarge",),
        hourly_cost=Decimal("7.09"),
        choices={"ml.g5.12xlarge": Decimal("7.09"), "ml.g5.xlarge": Decimal("1.41"), "ml.t3.medium": Decimal("0.05")},
    )
    assert said(policy(max_hourly_cost="2.00"), asked) == [
        (
            "max_hourly_cost: an hour costs $7.09; role researcher allows at most $2.00 for sagemaker_studio."
            " Nearest allowed: ml.g5.xlarge ($1.41 an hour)."
        )
    ]


def test_what_nobody_knows_the_cost_of_is_not_within_a_limit() -> None:
    assert [one.rule for one in check(policy(max_hourly_cost=5), Asked("endpoint"))] == ["max_hourly_cost"]


def test_an_hour_may_cost_just_as_much_as_the_limit() -> None:
    assert check(policy(max_hourly_cost=5), Asked("endpoint", hourly_cost=Decimal("5.00"))) == []


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("secret", "the data is secret; role researcher allows public, internal for ec2. Work on internal data"),
        (
            "",
            "the data is not classified; role researcher allows public, internal for ec2. Say data_classification: public",
        ),
    ],
    ids=["other", "none"],
)
def test_data_that_is_not_of_an_allowed_class_is_refused(given: str, sentence: str) -> None:
    found = said(policy(data_classifications=["public", "internal"]), Asked("ec2", data_classification=given))
    assert len(found) == 1
    assert sentence in found[0]


def test_each_missing_tag_is_named_and_an_empty_one_is_missing() -> None:
    asked = Asked("ec2", tags={"project": "cats", "cost-centre": " "})
    assert said(policy(required_tags=["project", "cost-centre", "grant"]), asked) == [
        (
            "required_tags: tag cost-centre is missing; role researcher requires tags project, cost-centre, grant for ec2."
            " Give tag cost-centre a value."
        ),
        (
            "required_tags: tag grant is missing; role researcher requires tags project, cost-centre, grant for ec2."
            " Give tag grant a value."
        ),
    ]


def test_one_workspace_too_many_is_refused_with_how_many_have_to_go() -> None:
    assert said(policy(max_workspaces=2), Asked("ec2", workspaces_open=3)) == [
        (
            "max_workspaces: it would be workspace 4; role researcher allows at most 2 for ec2."
            " Delete 2 of yours first: `trainmaster list` shows them."
        )
    ]
    assert check(policy(max_workspaces=2), Asked("ec2", workspaces_open=1)) == []


@pytest.mark.parametrize(("minutes", "is_allowed"), [(None, False), (481, False), (480, True), (60, True)])
def test_a_workspace_has_to_stop_when_it_is_idle(minutes: int | None, *, is_allowed: bool) -> None:
    assert (check(policy(auto_stop=480), Asked("ec2", auto_stop_minutes=minutes)) == []) == is_allowed


@pytest.mark.parametrize("service", ["training", "endpoint", "sagemaker_lab"])
def test_the_roles_auto_stop_is_not_for_what_stops_by_itself(service: Any) -> None:
    assert check(policy(auto_stop=480), Asked(service)) == []


def test_an_endpoint_has_to_stop_when_the_role_says_so_of_endpoints() -> None:
    found = check(policy(per_service={"endpoint": {"auto_stop": 60}}), Asked("endpoint"))
    assert [one.rule for one in found] == ["auto_stop"]


def test_keeping_a_workspace_is_limited_in_hours() -> None:
    assert said(policy(max_keep=48), Asked("ec2", keep_for=timedelta(hours=48, minutes=1))) == [
        "max_keep: it would be kept for 49 h; role researcher allows at most 48 h for ec2. Keep it for 48 h."
    ]
    assert check(policy(max_keep=48), Asked("ec2", keep_for=timedelta(hours=48))) == []


def test_whoever_has_only_what_is_free_is_told_of_studio_lab() -> None:
    (violation,) = check(policy(free_tier_only=True), Asked("sagemaker_studio"))
    assert violation.nearest == "sagemaker_lab"
    assert check(policy(free_tier_only=True), Asked("sagemaker_lab", free_tier=True)) == []


def test_a_rule_of_a_service_takes_the_place_of_the_roles_and_of_that_rule_alone() -> None:
    found = policy(max_hourly_cost=1, max_keep=24, per_service={"ec2": {"max_hourly_cost": 9}})
    asked = {"hourly_cost": Decimal(5), "keep_for": timedelta(hours=25)}
    assert [one.rule for one in check(found, Asked("ec2", **asked))] == ["max_keep"]
    assert [one.rule for one in check(found, Asked("sagemaker_studio", **asked))] == ["max_hourly_cost", "max_keep"]


@pytest.mark.parametrize(
    ("user", "team", "role", "why"),
    [
        (USER, "vision", "owner", f"user {USER}"),
        (None, "vision", "gpu", "team vision"),
        (UUID(int=7), "vision", "gpu", "team vision"),
        (UUID(int=7), "speech", "researcher", "default"),
        (None, "", "researcher", "default"),
    ],
    ids=["user-before-team", "team", "other-user", "other-team", "nobody"],
)
def test_a_users_own_role_goes_before_the_teams_and_that_before_the_default(
    user: UUID | None, team: str, role: str, why: str
) -> None:
    found = Policy.model_validate(
        {
            "default_role": "researcher",
            "roles": {"researcher": {}, "gpu": {}, "owner": {}},
            "teams": {"vision": "gpu"},
            "users": {str(USER).upper(): "owner"},
        }
    )
    assert found.role_of(user, team) == (role, why)


def test_all_violations_come_at_once_in_one_refusal() -> None:
    found = check(
        policy(services=["training"], instance_types=["t3.*"], max_workspaces=0, auto_stop=60, required_tags=["grant"]),
        Asked("ec2", instance_types=("p5.48xlarge",)),
    )
    rules = ["services", "instance_types", "required_tags", "max_workspaces", "auto_stop"]
    assert [one.rule for one in found] == rules
    refusal = PolicyRefusedError("Workspace cats", found)
    assert str(refusal).startswith("Workspace cats is refused by the policy, for 5 reasons:\n  1. services: ")
    assert refusal.violations == tuple(found)
