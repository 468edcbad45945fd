"""Who reaches a workspace on EC2, and by which way in."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from machine_rows import machine, template, workspace

from trainmaster.errors import RefusedError
from trainmaster.workspaces.kinds import Access
from trainmaster.workspaces.machines.access import access
from trainmaster.workspaces.machines.parts import Rule
from trainmaster.workspaces.machines.wanted import reached_from, wanted

MACHINE = machine(workspace())


@pytest.mark.parametrize("connection_type", ["ssh", "dcv"])
def test_session_manager_leads_in_with_no_port_open(connection_type: str) -> None:
    assert wanted(workspace(connection_type)).rules == frozenset()
    way = access(workspace(connection_type), MACHINE)
    assert way.command[:7] == ("aws", "ssm", "start-session", "--region", "eu-west-1", "--target", MACHINE.id)
    assert not way.secret


def test_an_address_that_lets_anybody_in_is_in_no_message_that_names_the_way() -> None:
    way = Access(url="https://studio/auth?token=of-nobodys-business", secret=True)
    assert "of-nobodys-business" not in f"{way} {way!r}"


def test_a_shell_is_that_of_the_user_whose_home_it_is() -> None:
    parameters = access(workspace(), MACHINE).command[-1]
    assert json.loads(parameters) == {"command": ["sudo -iu sagemaker-user"]}


def test_a_desktop_is_opened_on_this_machine_while_its_port_is_forwarded() -> None:
    way = access(workspace("dcv"), MACHINE)
    assert way.url == "https://localhost:8443/#workspace"
    assert json.loads(way.command[-1]) == {"portNumber": ["8443"], "localPortNumber": ["8443"]}


@pytest.mark.parametrize(("connection_type", "ports"), [("ssh", [22]), ("dcv", [22, 8443])], ids=["ssh", "dcv"])
def test_with_direct_access_one_address_is_let_in_to_the_ports_it_needs(connection_type: str, ports: list[int]) -> None:
    rules = wanted(workspace(connection_type, "203.0.113.7")).rules
    assert rules == {Rule("203.0.113.7/32", port, port) for port in ports}


def test_with_direct_access_a_key_is_made_for_each_time() -> None:
    assert access(workspace("ssh", "203.0.113.7"), MACHINE).command == (
        "aws", "ec2-instance-connect", "ssh", "--region", "eu-west-1", "--instance-id", MACHINE.id,
        "--connection-type", "direct", "--os-user", "sagemaker-user",
    )  # fmt: skip
    desktop = access(workspace("dcv", "203.0.113.7"), MACHINE)
    assert desktop.url == "https://198.51.100.4:8443/#workspace"
    assert "sudo passwd sagemaker-user" in desktop.note


@pytest.mark.parametrize(
    ("direct_access", "address", "said"),
    [
        (False, "203.0.113.7", "opens no port"),
        (True, "", "--address"),
        (True, "0.0.0.0", "no address anybody comes from"),  # noqa: S104 - to be refused
        (True, "127.0.0.1", "no address anybody comes from"),
    ],
    ids=["no port to open", "nobody named", "everybody", "the machine itself"],
)
def test_an_address_that_does_not_fit_is_refused(direct_access: bool, address: str, said: str) -> None:
    with pytest.raises(RefusedError, match=said):
        reached_from(template(direct_access=direct_access), address)


def test_an_address_that_fits_is_taken() -> None:
    assert reached_from(template(direct_access=True), "203.0.113.7") == "203.0.113.7"
    assert reached_from(template(direct_access=True), "", "203.0.113.7") == "203.0.113.7"
    assert reached_from(template(), "") == ""
    assert reached_from(template(), "", "203.0.113.7") == ""


@pytest.mark.parametrize("connection_type", ["ssh", "dcv"])
def test_what_is_reached_by_its_address_and_has_none_is_said_with_what_lacks(connection_type: str) -> None:
    with pytest.raises(RefusedError, match="no public address"):
        access(workspace(connection_type, "203.0.113.7"), replace(MACHINE, address=""))
