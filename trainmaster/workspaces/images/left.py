"""What was reserved for images by runs that nobody started again: billed or released once AWS tells what became of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any, Literal

from botocore.exceptions import BotoCoreError, ClientError

from trainmaster.budget.charge import Reservation
from trainmaster.budget.money import shown
from trainmaster.errors import TrainmasterError
from trainmaster.training.desk import Desk
from trainmaster.workspaces.images.building import build_bill, builds_of, reservation_of
from trainmaster.workspaces.images.building import is_over as is_build_over
from trainmaster.workspaces.images.machine_building import RESERVATION_TAG, STATES, machine_bill, machine_cost

_BUILDS, _MACHINES = ":project/trainmaster-", ":image/trainmaster-"
_SLACK = timedelta(minutes=30)
_BUILDS_LONGEST = timedelta(minutes=90) + _SLACK
"""Queued and run, a build is over by then."""

Finding = Literal["settled", "released", "failed"]


@dataclass(frozen=True)
class LeftImage:
    """What was done about a reservation. `billed` is None where it was released or nothing could be done."""

    key: str
    finding: Finding
    reserved: Decimal
    billed: Decimal | None = None
    why: str = ""

    def row(self) -> dict[str, str]:
        """As it is shown beside jobs."""
        billed = shown(self.billed) if self.billed is not None else ""
        return {
            "job": self.key,
            "what": self.finding,
            "why": self.why,
            "reserved": shown(self.reserved),
            "billed": billed,
        }


def regions_with_images(desk: Desk) -> list[str]:
    """Where anything is still reserved for an image, in the desk's account."""
    resources = [one.charge.resource for one in desk.ledger.open_reservations()]
    images = (one for one in resources if f":{desk.account}{_BUILDS}" in one or f":{desk.account}{_MACHINES}" in one)
    return sorted({arn.split(":")[3] for arn in images})


def settle_left(desk: Desk) -> Iterator[LeftImage]:
    """Every open reservation for an image in the desk's account and region whose build or machine is over. Safe to repeat and to race.

    What is still being made is left alone; what fails for one keeps no other from being looked at.
    """
    here = f":{desk.settings.region}:{desk.account}"
    for one in desk.ledger.open_reservations():
        resource = one.charge.resource
        try:
            if f"{here}{_BUILDS}" in resource:
                yield from _of_build(desk, one)
            elif f"{here}{_MACHINES}" in resource:
                yield from _of_machine(desk, one)
        except (ClientError, BotoCoreError, TrainmasterError) as error:
            yield LeftImage(one.key, "failed", one.charge.amount, why=str(error))


def _of_build(desk: Desk, one: Reservation) -> Iterator[LeftImage]:
    project = one.charge.resource.rpartition("/")[2]
    build = next((found for found in builds_of(desk, project) if reservation_of(found) == one.key), None)
    if build is not None and is_build_over(build):
        yield _settled(desk, one, build_bill(desk, build), f"build {build['id']} is over ({build['buildStatus']})")
    elif build is None and _age(desk, one) > _BUILDS_LONGEST and desk.ledger.release(one.key, one.position):
        yield LeftImage(one.key, "released", one.charge.amount, why="CodeBuild has no such build: it was never begun")


def _of_machine(desk: Desk, one: Reservation) -> Iterator[LeftImage]:
    """One that nobody waits for any more is removed. What became of one that is gone nobody knows: it is billed in full."""
    if _age(desk, one) <= timedelta(minutes=machine_cost(desk).most_minutes) + _SLACK:
        return
    ec2 = desk.client("ec2")
    for machine in _machines(ec2, one.key):
        bill = machine_bill(desk, machine)
        ec2.terminate_instances(InstanceIds=[machine["InstanceId"]])
        yield _settled(desk, one, bill, f"machine {machine['InstanceId']} was left over, and is removed")
        return
    yield _settled(desk, one, one.charge.amount, "its machine is gone")


def _machines(ec2: Any, key: str) -> list[Mapping[str, Any]]:
    filters = [
        {"Name": f"tag:{RESERVATION_TAG}", "Values": [key]},
        {"Name": "instance-state-name", "Values": list(STATES)},
    ]
    found = ec2.describe_instances(Filters=filters)["Reservations"]
    return [machine for reservation in found for machine in reservation["Instances"]]


def _settled(desk: Desk, one: Reservation, bill: Decimal, why: str) -> LeftImage:
    settled = desk.ledger.settle(one.key, bill)
    return LeftImage(one.key, "settled", one.charge.amount, settled.bill, why)


def _age(desk: Desk, one: Reservation) -> timedelta:
    return desk.ledger.now() - one.reserved_at
