"""What holds for every policy and every request."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

from hypothesis import assume, given
from hypothesis import strategies as st

from trainmaster.workspaces.policy.rules import RULES, SERVICES, Asked, Policy, Rules, check

TYPES = [
    "ml.t3.medium",
    "ml.m5.large",
    "ml.m5.4xlarge",
    "ml.g5.xlarge",
    "ml.g5.12xlarge",
    "t3.large",
    "g5.xlarge",
    "x.odd",
]
GLOBS = ["*", "ml.*", "ml.m5.*", "ml.g5.*", "t3.*", "*.xlarge", "nothing"]
CLASSES, TAGS = ["public", "internal", "secret"], ["project", "grant"]
dollars = st.decimals(0, 50, places=2)


def some(values: list[str], most: int = 3) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(values), max_size=most, unique=True)


RULE: dict[str, st.SearchStrategy[Any]] = {
    "instance_types": some(GLOBS),
    "max_hourly_cost": dollars,
    "data_classifications": some(CLASSES),
    "required_tags": some(TAGS),
    "max_workspaces": st.integers(0, 5),
    "auto_stop": st.integers(60, 600),
    "max_keep": st.integers(0, 100),
    "free_tier_only": st.booleans(),
}
services = st.sampled_from(SERVICES)
roles = st.fixed_dictionaries({}, optional={**RULE, "services": some(list(SERVICES), 6)})
askings = st.builds(
    Asked,
    services,
    instance_types=some(TYPES).map(tuple),
    hourly_cost=st.none() | dollars,
    data_classification=st.sampled_from(["", *CLASSES]),
    tags=st.dictionaries(st.sampled_from(TAGS), st.sampled_from(["", "x"])),
    workspaces_open=st.integers(0, 6),
    auto_stop_minutes=st.none() | st.integers(60, 700),
    keep_for=st.none() | st.timedeltas(timedelta(0), timedelta(hours=200)),
    free_tier=st.booleans(),
    choices=st.dictionaries(st.sampled_from(TYPES), dollars),
)


def policy(role: dict[str, Any]) -> Policy:
    return Policy.model_validate({"default_role": "role", "roles": {"role": role}})


def broken(role: dict[str, Any], asked: Asked) -> set[str]:
    return {one.rule for one in check(policy(role), asked)}


@given(roles, askings, st.sampled_from(sorted(RULE)), st.data())
def test_a_rule_more_never_allows_more(role: dict[str, Any], asked: Asked, rule: str, data: st.DataObject) -> None:
    assume(rule not in role)
    assert broken(role, asked) <= broken({**role, rule: data.draw(RULE[rule])}, asked)


@given(roles, askings, st.data())
def test_a_narrower_list_never_allows_more(role: dict[str, Any], asked: Asked, data: st.DataObject) -> None:
    lists = sorted(rule for rule in ("instance_types", "data_classifications", "services") if role.get(rule))
    assume(lists)
    rule = data.draw(st.sampled_from(lists))
    narrower = {**role, rule: role[rule][1:]}
    assert broken(role, asked) <= broken(narrower, asked)


@given(roles, askings, st.sampled_from(["max_hourly_cost", "max_workspaces", "auto_stop", "max_keep"]))
def test_a_lower_limit_never_allows_more(role: dict[str, Any], asked: Asked, rule: str) -> None:
    assume(rule in role)
    least = 60 if rule == "auto_stop" else 0
    assert broken(role, asked) <= broken({**role, rule: max(least, role[rule] - 1)}, asked)


@given(roles, askings, st.randoms(use_true_random=False))
def test_the_order_of_anything_changes_nothing_of_what_is_allowed(
    role: dict[str, Any], asked: Asked, random: Any
) -> None:
    def shuffled(value: Any) -> Any:
        if isinstance(value, list):
            return random.sample(value, len(value))
        return dict(random.sample(list(value.items()), len(value))) if isinstance(value, dict) else value

    other_role = shuffled({key: shuffled(value) for key, value in role.items()})
    other = replace(
        asked, instance_types=tuple(shuffled(list(asked.instance_types))), tags=shuffled(dict(asked.tags)),
        choices=shuffled(dict(asked.choices)),
    )  # fmt: skip
    assert broken(role, asked) == broken(other_role, other)


@given(roles, askings)
def test_violations_come_in_the_order_of_the_rules_and_say_everything(role: dict[str, Any], asked: Asked) -> None:
    found = check(policy(role), asked)
    assert [RULES.index(one.rule) for one in found] == sorted(RULES.index(one.rule) for one in found)
    for one in found:
        assert one.role == "role"
        assert one.service == asked.service
        assert one.value in one.sentence()
        assert one.limit in one.sentence()
        assert one.remedy
    assert len(set(found)) == len(found)


@given(roles, askings)
def test_the_nearest_choice_is_itself_allowed(role: dict[str, Any], asked: Asked) -> None:
    for one in check(policy(role), asked):
        if not one.nearest:
            continue
        better = following(asked, one.rule, one.nearest, one.value)
        left = {(other.rule, other.value) for other in check(policy(role), better)}
        assert (one.rule, one.value) not in left
        if one.rule in ("services", "data_classifications", "max_workspaces", "auto_stop", "max_keep"):
            assert one.rule not in {rule for rule, _ in left}
        if one.rule == "instance_types" and asked.choices:
            limit = role.get("max_hourly_cost")
            assert limit is None or asked.choices[one.nearest] <= limit


def following(asked: Asked, rule: str, nearest: str, value: str) -> Asked:
    """The same, as the advice says."""
    types = tuple(nearest if value.startswith(f"{one} ") else one for one in asked.instance_types)
    free = nearest == "sagemaker_lab" or asked.free_tier
    changes: dict[str, Callable[[], dict[str, Any]]] = {
        "services": lambda: {"service": nearest, "free_tier": free},
        "free_tier_only": lambda: {"service": nearest, "free_tier": free},
        "instance_types": lambda: {"instance_types": types},
        "max_hourly_cost": lambda: {"hourly_cost": asked.choices[nearest]},
        "data_classifications": lambda: {"data_classification": nearest},
        "required_tags": lambda: {"tags": {**asked.tags, nearest: "x"}},
        "max_workspaces": lambda: {"workspaces_open": int(nearest) - 1},
        "auto_stop": lambda: {"auto_stop_minutes": int(nearest)},
        "max_keep": lambda: {"keep_for": timedelta(hours=int(nearest))},
    }
    return replace(asked, **changes[rule]())


@given(roles, roles, askings, services)
def test_what_is_written_for_one_service_changes_nothing_of_the_others(
    role: dict[str, Any], instead: dict[str, Any], asked: Asked, service: Any
) -> None:
    assume(asked.service != service)
    meant = {rule: value for rule, value in instead.items() if rule in RULE and rule not in NOT_PER_SERVICE}
    assert broken(role, asked) == broken({**role, "per_service": {service: meant}}, asked)


NOT_PER_SERVICE = {"max_workspaces", "auto_stop", "max_keep"}
"""Rules that not every service can have of its own."""


@given(roles, roles, askings)
def test_what_a_service_says_takes_the_place_of_what_the_role_says(
    role: dict[str, Any], instead: dict[str, Any], asked: Asked
) -> None:
    meant = {rule: value for rule, value in instead.items() if rule in RULE and rule not in NOT_PER_SERVICE}
    assert broken({**role, "per_service": {asked.service: meant}}, asked) == broken({**role, **meant}, asked)


@given(roles, roles, st.uuids(), askings)
def test_only_ones_own_role_counts(mine: dict[str, Any], other: dict[str, Any], user: UUID, asked: Asked) -> None:
    both = Policy.model_validate(
        {"default_role": "other", "roles": {"other": other, "role": mine}, "users": {str(user): "role"}}
    )
    of_mine = replace(asked, user_id=user, team="vision")
    assert check(both, of_mine) == check(policy(mine), of_mine)
    of_others = replace(asked, user_id=None)
    assert {one.rule for one in check(both, of_others)} == broken(other, asked)


def test_every_rule_is_tried() -> None:
    assert RULE.keys() == Rules.model_fields.keys()
    assert {*RULE, "services"} == set(RULES)
