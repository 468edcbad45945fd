"""EC2 over moto's: instances made once by their client token, and what EC2 refuses where moto would do it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree as ET

from moto.ec2.models import ec2_backends
from moto.ec2.models.instance_types import INSTANCE_TYPES
from werkzeug.wrappers import Response

from trainmaster.embedded import consoles
from trainmaster.embedded.calls import Call
from trainmaster.embedded.sagemaker.account import Account
from trainmaster.embedded.sagemaker.wire import AwsError

SERVICE = "ec2"
_NOT_COMPARED = {"ClientToken", "Placement.AvailabilityZone"}
_GONE = {"shutting-down", "terminated"}


@dataclass(frozen=True)
class _Launch:
    parameters: dict[str, list[str]]
    instance_ids: tuple[str, ...]
    answer: bytes


class Instances:
    """Answers calls of EC2, most of them by moto."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._launches: dict[str, _Launch] = {}
        self._lock = threading.Lock()

    def answer(self, call: Call, others: Callable[[Call], Response]) -> Response:
        """The answer of `others`. Raises AwsError for what EC2 refuses."""
        match call.operation:
            case "RunInstances":
                return self._run(call, others)
            case "StartInstances":
                for id_ in _listed(call, "InstanceId"):
                    self._require(id_, {"stopped", "running", "pending"}, "started")
            case "StopInstances":
                for id_ in _listed(call, "InstanceId"):
                    self._require(id_, {"running", "stopped", "stopping"}, "stopped")
            case "ModifyInstanceAttribute" if "InstanceType.Value" in call.parameters:
                _check_type(call.parameters["InstanceType.Value"][0])
                self._require(call.parameters["InstanceId"][0], {"stopped"}, "changed in type")
            case "CreateImage":
                return self._make_image(call, others)
            case "DescribeInstances":
                consoles.power_off(self._backend())
            case "GetConsoleOutput":
                return consoles.console(self._backend(), call) or others(call)
            case "DeleteSecurityGroup":
                self._check_unused(call.parameters.get("GroupId", [""])[0])
            case _:
                pass
        return others(call)

    def _run(self, call: Call, others: Callable[[Call], Response]) -> Response:
        asked = {name: value for name, value in call.parameters.items() if name not in _NOT_COMPARED}
        _check_type(asked.get("InstanceType", ["m1.small"])[0])
        token = call.parameters.get("ClientToken", [""])[0]
        with self._lock:
            before = self._launches.get(token) if token else None
            if before is None:
                response = others(call)
                if token and response.status_code == 200:
                    self._launches[token] = _Launch(asked, _instance_ids(response), response.get_data())
                return response
        if before.parameters != asked:
            raise AwsError("IdempotentParameterMismatch", f"Client token {token} was used with other parameters.")
        if any(self._state(id_) in _GONE for id_ in before.instance_ids):
            raise AwsError("IdempotentInstanceTerminated", f"The instance of client token {token} has been terminated.")
        return Response(before.answer, content_type="text/xml;charset=UTF-8")

    def _make_image(self, call: Call, others: Callable[[Call], Response]) -> Response:
        name = call.parameters.get("Name", [""])[0]
        with self._lock:
            if any(
                one.name == name and one.owner_id == self._account.account_id for one in self._backend().amis.values()
            ):
                raise AwsError("InvalidAMIName.Duplicate", f"AMI name {name} is already in use by another AMI.")
            return others(call)

    def _require(self, id_: str, states: set[str], done: str) -> None:
        state = self._state(id_)
        if state and state not in states:
            raise AwsError("IncorrectInstanceState", f"The instance '{id_}' is {state} and cannot be {done}.")

    def _check_unused(self, group_id: str) -> None:
        for instance in self._backend().all_instances():
            groups = {group.id for card in instance.nics.values() for group in card.group_set}
            if group_id in groups and instance.state != "terminated":
                raise AwsError("DependencyViolation", f"resource {group_id} has a dependent object")

    def _state(self, id_: str) -> str:
        """Empty for one there is not: moto says so itself."""
        return next((one.state for one in self._backend().all_instances() if one.id == id_), "")

    def _backend(self) -> Any:
        return ec2_backends[self._account.account_id][self._account.region]


def _check_type(name: str) -> None:
    if name not in INSTANCE_TYPES:
        raise AwsError("InvalidParameterValue", f"Invalid value '{name}' for InstanceType.")


def _listed(call: Call, name: str) -> list[str]:
    return [values[0] for key, values in call.parameters.items() if key.rpartition(".")[0] == name]


def _instance_ids(response: Response) -> tuple[str, ...]:
    tree = ET.fromstring(response.get_data())  # noqa: S314 - moto's own answer
    return tuple(one.text or "" for one in tree.iter() if one.tag.endswith("instanceId"))
