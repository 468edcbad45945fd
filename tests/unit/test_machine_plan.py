"""What is done to a machine on EC2, whatever EC2 says of it: never twice, never in anybody's way, never at the cost of files."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from machine_rows import GROUP, INSTANCE, VOLUME, group, machine, volume, workspace

from trainmaster.workspaces.machines.parts import Machine, Parts, Rule, chosen, group_of, machine_of
from trainmaster.workspaces.machines.plan import (
    Wanted,
    client_token,
    drift_of,
    names_of,
    plan_delete,
    plan_open,
    status_of,
    tokens_of,
)
from trainmaster.workspaces.workspace import STATUSES

BOX = workspace()
KNOWN = replace(BOX, resources={"instance_id": INSTANCE, "volume_id": VOLUME, "security_group_id": GROUP})
STATES = ["pending", "running", "stopping", "stopped", "shutting-down", "terminated"]
SOURCES = st.sampled_from(["0.0.0.0/0", "203.0.113.7/32", "::/0", "sg-0123456789abcdef1", "pl-0123456789abcdef1"])
PORTS = st.builds(Rule, SOURCES, st.sampled_from([22, 443]), st.just(8443), st.sampled_from(["tcp", "udp"]))
RULES = PORTS | st.builds(Rule, SOURCES, st.just(-1), st.just(-1), st.just("-1"))
GROUPS = st.none() | st.lists(RULES, max_size=4).map(lambda rules: group(*rules))
MACHINES = st.none() | st.builds(
    lambda **changed: machine(BOX, **changed),
    state=st.sampled_from(STATES),
    instance_type=st.sampled_from(["t3.large", "m5.large"]),
    http_tokens=st.sampled_from(["required", "optional"]),
    takes_volume_along=st.booleans(),
    tags=st.sampled_from([names_of(BOX), {}, {**names_of(BOX), "of others": "too"}]),
    groups=st.sampled_from([(GROUP,), (GROUP, "sg-0123456789abcdef1")]),
)
VOLUMES = st.none() | st.builds(
    lambda **changed: volume(BOX, **changed),
    size_gb=st.sampled_from([10, 20, 40]),
    encrypted=st.booleans(),
    attached_to=st.sampled_from([INSTANCE, ""]),
)
PARTS = st.builds(Parts, MACHINES, VOLUMES, GROUPS)
ROWS = st.sampled_from([BOX, KNOWN])
WANTED = st.lists(RULES, max_size=3).map(lambda rules: Wanted(frozenset(rules)))


def said(steps: Any) -> list[tuple[str, str]]:
    return [(step.verb, step.noun) for step in steps]


@given(ROWS, WANTED, PARTS, st.booleans())
def test_a_machine_that_is_there_is_never_joined_by_another(row: Any, want: Any, parts: Parts, profile: bool) -> None:
    steps = said(plan_open(row, want, parts, has_profile=profile))
    is_there = parts.machine is not None and not parts.machine.is_gone
    assert (("run", "instance") in steps) == (not is_there and "volume_id" not in row.resources)


@given(ROWS, WANTED, PARTS)
def test_a_machine_is_started_or_changed_only_when_it_is_stopped(row: Any, want: Any, parts: Parts) -> None:
    steps = said(plan_open(row, want, parts, has_profile=True))
    is_stopped = parts.machine is not None and parts.machine.state == "stopped"
    assert (("start", "instance") in steps) == is_stopped
    assert is_stopped or ("change", "instance type") not in steps
    assert not {"stop", "terminate", "delete"} & {verb for verb, _ in steps}


@given(ROWS, WANTED, PARTS)
def test_the_rules_that_are_planned_come_to_those_that_are_wanted(row: Any, want: Wanted, parts: Parts) -> None:
    has = set(parts.group.rules) if parts.group else set()
    for step in plan_open(row, want, parts, has_profile=True):
        if step.noun == "address":
            changed = {rule for rule in has | want.rules if str(rule) == step.name}
            has = has | changed if step.verb == "let in" else has - changed
    assert {str(rule) for rule in has} == {str(rule) for rule in want.rules}


@given(ROWS, WANTED, PARTS)
def test_what_runs_as_it_should_has_nothing_to_do_and_no_drift(row: Any, want: Wanted, parts: Parts) -> None:
    right = Parts(machine(BOX), volume(BOX), group(*want.rules))
    assert plan_open(row, want, right, has_profile=True) == []
    assert drift_of(row, want, right) == ()
    if parts.machine and parts.machine.state == "running" and drift_of(KNOWN, want, parts) == () and parts.volume:
        assert parts.volume.encrypted
        assert plan_open(KNOWN, want, parts, has_profile=True) == []


@given(ROWS, PARTS)
def test_every_state_has_a_word_and_one_that_may_cost_is_never_called_gone(row: Any, parts: Parts) -> None:
    status, why = status_of(row, parts)
    assert status in STATUSES
    if parts.machine and not parts.machine.is_gone:
        assert status in ("starting", "running", "stopping", "stopped")
    if status == "missing":
        assert parts.volume is None
        assert why


@given(PARTS, st.lists(st.just(VOLUME), max_size=2))
def test_nothing_is_deleted_before_the_instance_is_terminated(parts: Parts, leftover: list[str]) -> None:
    steps = plan_delete(parts, tuple(leftover))
    if parts.machine and not parts.machine.is_gone:
        assert said(steps) == [("terminate", "instance")]
    else:
        assert {verb for verb, _ in said(steps)} <= {"delete"}


def test_files_on_the_volume_of_a_terminated_machine_are_not_passed_over() -> None:
    parts = Parts(machine(BOX, state="terminated", reason="by hand"), volume(BOX, attached_to=""), group())
    status, why = status_of(KNOWN, parts)
    assert (status, VOLUME in why, "by hand" in why) == ("failed", True, True)
    assert plan_open(KNOWN, Wanted(), parts, has_profile=True) == []


def test_a_volume_outlives_its_instance_from_when_that_runs() -> None:
    def planned(state: str) -> list[tuple[str, str]]:
        there = machine(BOX, state=state, takes_volume_along=True)
        return said(plan_open(BOX, Wanted(), Parts(there, volume(BOX), group()), has_profile=True))

    assert planned("pending") == []
    assert planned("running") == [("keep", "volume")]
    assert drift_of(KNOWN, Wanted(), Parts(machine(BOX, takes_volume_along=True), volume(BOX), group())) == (
        "its volume goes when its instance is terminated",
    )


def test_the_machine_of_a_name_is_none_of_what_the_name_was_before() -> None:
    before, now = replace(BOX, incarnation=1), replace(BOX, incarnation=11)
    old = machine(before, id="i-old")
    assert chosen([old], tokens_of(now), client_token(now)) is None
    new = machine(now, id="i-new")
    assert chosen([old, new], tokens_of(now), client_token(now)) == new


def test_a_machine_that_is_there_is_chosen_before_one_that_is_gone() -> None:
    gone = machine(BOX, id="i-gone", state="terminated")
    second = replace(BOX, resources={"launch": "2"})
    there = machine(second, id="i-there")
    assert chosen([gone, there], tokens_of(BOX), client_token(BOX)) == there
    assert chosen([gone], tokens_of(second), client_token(second)) is None
    assert chosen([gone], tokens_of(BOX), client_token(BOX)) == gone


@given(RULES)
def test_a_rule_is_read_as_it_is_written(rule: Rule) -> None:
    described = {"GroupId": GROUP, "IpPermissions": [rule.permission()]}
    (read,) = group_of(described).rules
    assert read.permission() == rule.permission()
    assert str(read) == str(rule)


@pytest.mark.parametrize("zone", ["GMT", "UTC"])
def test_when_it_was_stopped_is_read_from_what_ec2_says(zone: str) -> None:
    described = {
        "InstanceId": INSTANCE,
        "State": {"Name": "stopped"},
        "InstanceType": "t3.large",
        "LaunchTime": machine(BOX).launched_at,
        "RootDeviceName": "/dev/sda1",
        "StateTransitionReason": f"User initiated (2026-01-02 03:04:05 {zone})",
    }
    read: Machine = machine_of(described)
    assert read.stopped_at is not None
    assert read.stopped_at.isoformat() == "2026-01-02T03:04:05+00:00"
