"""Workspaces on EC2: made once, closed to everybody, kept when stopped, gone when deleted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from desks import desk_at
from ec2_workspaces import again, groups, instances, living, row, volumes

from trainmaster.training.desk import Desk
from trainmaster.workspaces.ec2 import Ec2

EC2 = Ec2()


@pytest.fixture(scope="module")
def desk(embedded: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    with desk_at(tmp_path_factory.mktemp("desk"), embedded.environment, poll_seconds=0.05) as desk:
        yield desk


def test_an_instance_is_made_once_runs_and_is_what_was_asked_for(desk: Desk) -> None:
    workspace = row(desk)
    steps = [(step.verb, step.noun) for step in EC2.plan_open(desk, workspace)]
    assert steps[-2:] == [("create", "security group"), ("run", "instance")]
    opened = EC2.open(desk, workspace)
    assert opened.status == "running"
    EC2.open(desk, again(desk, workspace))
    (machine,) = instances(desk, workspace)
    assert machine["InstanceType"] == "t3.large"
    assert machine["MetadataOptions"]["HttpTokens"] == "required"
    (volume,) = volumes(desk, workspace)
    assert (volume["Size"], volume["Encrypted"], volume["VolumeType"]) == (30, True, "gp3")
    assert again(desk, workspace).resources["instance_id"] == machine["InstanceId"]
    assert again(desk, workspace).resources["volume_id"] == volume["VolumeId"]
    assert EC2.plan_open(desk, again(desk, workspace)) == []


def test_nobody_can_reach_it_but_through_session_manager(desk: Desk) -> None:
    workspace = EC2.open(desk, row(desk))
    (group,) = groups(desk, workspace)
    assert group["IpPermissions"] == []
    (machine,) = instances(desk, workspace)
    in_groups = [one["GroupId"] for card in machine["NetworkInterfaces"] for one in card["Groups"]]
    assert in_groups == [group["GroupId"]]
    access = EC2.access(desk, workspace)
    assert access.command[:3] == ("aws", "ssm", "start-session")
    assert machine["InstanceId"] in access.command
    assert access.url == "" and not access.secret


def test_stopping_keeps_the_volume_and_opening_starts_the_same_instance(desk: Desk) -> None:
    workspace = EC2.open(desk, row(desk))
    (volume,) = volumes(desk, workspace)
    EC2.stop(desk, again(desk, workspace))
    (machine,) = instances(desk, workspace)
    assert machine["State"]["Name"] == "stopped"
    assert [one["VolumeId"] for one in volumes(desk, workspace)] == [volume["VolumeId"]]
    assert EC2.look(desk, [workspace])[workspace.id].status == "stopped"
    EC2.stop(desk, again(desk, workspace))
    EC2.open(desk, again(desk, workspace))
    assert [one["InstanceId"] for one in living(desk, workspace)] == [machine["InstanceId"]]


def test_deleting_takes_instance_volume_and_group_away_and_may_be_repeated(desk: Desk) -> None:
    workspace = EC2.open(desk, row(desk))
    EC2.delete(desk, again(desk, workspace))
    assert (living(desk, workspace), volumes(desk, workspace), groups(desk, workspace)) == ([], [], [])
    EC2.delete(desk, again(desk, workspace))
