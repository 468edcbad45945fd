"""What permissions a call needs: which actions, on which resources, with which condition keys.

Which resources an action is on, and what else it needs, is written in `resources.csv`, and here, after the Service
Authorization Reference (https://docs.aws.amazon.com/service-authorization/latest/reference/).
"""

from __future__ import annotations

import csv
import itertools
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from trainmaster.embedded.calls import Call, Protocol
from trainmaster.embedded.permissions.evaluation import Asked
from trainmaster.embedded.sagemaker.wire import AwsError

Tags = Mapping[str, str]
Members = Mapping[str, Any]

_PLACE = re.compile(r"\{(?P<member>\w+)(?::(?P<kind>[\w-]+))?\}")
_PREFIXES = {"monitoring": "cloudwatch"}
"""Of services that sign by another name than IAM knows them by."""
_PATHS = {("elasticfilesystem", "GET", "/2015-02-01/file-systems"): "DescribeFileSystems"}
_EC2_KINDS = {"i": "instance", "vol": "volume", "sg": "security-group", "ami": "image", "snap": "snapshot"}
_PASSED = {
    "sagemaker:CreateTrainingJob": (("RoleArn",), "sagemaker.amazonaws.com"),
    "sagemaker:CreateModel": (("ExecutionRoleArn",), "sagemaker.amazonaws.com"),
    "sagemaker:CreateImage": (("RoleArn",), "sagemaker.amazonaws.com"),
    "sagemaker:CreateDomain": (("DefaultUserSettings", "ExecutionRole"), "sagemaker.amazonaws.com"),
    "sagemaker:UpdateDomain": (("DefaultUserSettings", "ExecutionRole"), "sagemaker.amazonaws.com"),
    "sagemaker:CreateUserProfile": (("UserSettings", "ExecutionRole"), "sagemaker.amazonaws.com"),
    "sagemaker:UpdateUserProfile": (("UserSettings", "ExecutionRole"), "sagemaker.amazonaws.com"),
    "codebuild:CreateProject": (("serviceRole",), "codebuild.amazonaws.com"),
    "iam:AddRoleToInstanceProfile": (("RoleName",), "ec2.amazonaws.com"),
    "ec2:RunInstances": (("IamInstanceProfile.Name",), "ec2.amazonaws.com"),
}
"""Calls that hand a service a role: the member that names it. An instance profile of ours is called like its role."""
_TAGGING = "sagemaker:taggingaction"
"""Which call it is that tags what it makes: a key that AddTags itself does not have."""
_LINKED = {
    "application-autoscaling:RegisterScalableTarget": "sagemaker.application-autoscaling.amazonaws.com",
    "sagemaker:CreateDomain": "sagemaker.amazonaws.com",
}
"""Calls for which AWS makes, where it is not there yet, its service's own role."""


@dataclass(frozen=True)
class Needs:
    """`tags` tells those of a resource by its ARN."""

    account_id: str
    region: str
    tags: Callable[[str], Tags]

    def of(self, call: Call) -> list[Asked]:
        """Of any service but S3. Raises AwsError for an operation of which nobody has written down what it needs."""
        prefix = _PREFIXES.get(call.service, call.service)
        if prefix == "apigateway":  # whose actions are HTTP's methods, and whose resources are its paths
            return [
                Asked(f"apigateway:{call.request.method}", f"arn:aws:apigateway:{self.region}::{call.request.path}")
            ]
        operation = call.operation or _PATHS.get((prefix, call.request.method, call.request.path), "")
        return self.named(f"{prefix}:{operation}", _members(call))

    def named(self, action: str, members: Members) -> list[Asked]:
        """Of an operation and its members, as JSON or flattened as a query has them."""
        patterns = _resources().get(action)
        if patterns is None:
            raise AwsError("NotImplementedException", f"resources.csv does not say what {action} needs.", status=501)
        tagged = _tags_in(members)
        own = {**_own_keys(action, members), **_requested(tagged)}
        resources = [arn for pattern in patterns for arn in self._resources(pattern, members)]
        needed = [Asked(action, arn, {**own, **self._tag_keys(arn)}) for arn in resources]
        needed += self._beside(action, members, resources, tagged)
        return needed

    def _beside(self, action: str, members: Members, resources: list[str], tagged: Tags) -> Iterator[Asked]:
        prefix, operation = action.split(":")
        if tagged and prefix == "sagemaker" and operation.startswith("Create"):
            yield Asked("sagemaker:AddTags", resources[0], {_TAGGING: (operation,), **_requested(tagged)})
        if tagged and prefix == "iam" and operation == "CreateRole":
            yield Asked("iam:TagRole", resources[0], _requested(tagged))
        if action in ("ec2:RunInstances", "ec2:CreateSecurityGroup", "ec2:CreateImage"):
            for kind, tags in _specified(members).items():
                arn = f"arn:aws:ec2:{self.region}:{'' if kind in ('image', 'snapshot') else self.account_id}:{kind}/*"
                yield Asked("ec2:CreateTags", arn, {"ec2:createaction": (operation,), **_requested(tags)})
        if action in _PASSED:
            path, service = _PASSED[action]
            if role := _at(members, path):
                arn = role if role.startswith("arn:") else f"arn:aws:iam::{self.account_id}:role/{role}"
                yield Asked("iam:PassRole", arn, {"iam:passedtoservice": (service,)})
        if action in _LINKED:
            arn = f"arn:aws:iam::{self.account_id}:role/aws-service-role/{_LINKED[action]}/*"
            yield Asked("iam:CreateServiceLinkedRole", arn, {"iam:awsservicename": (_LINKED[action],)})

    def _tag_keys(self, arn: str) -> dict[str, tuple[str, ...]]:
        return {f"aws:resourcetag/{key.lower()}": (value,) for key, value in self.tags(arn).items()}

    def _resources(self, pattern: str, members: Members) -> Iterator[str]:
        """One for each value of the members it names; a member that is not given may be any."""
        pattern = pattern.replace("{region}", self.region).replace("{account}", self.account_id)
        places = list(_PLACE.finditer(pattern))
        values = [_values(members, place["member"]) or ["*"] for place in places]
        for chosen in itertools.product(*values):
            arn = pattern
            for place, value in zip(places, chosen, strict=True):
                arn = arn.replace(place[0], self._written(value, place["kind"] or ""))
            yield arn

    def _written(self, value: str, kind: str) -> str:
        here = f"{self.region}:{self.account_id}"
        match kind:
            case "ec2":
                noun = _EC2_KINDS.get(value.partition("-")[0], "*")
                return f"arn:aws:ec2:{self.region}:{'' if noun in ('image', 'snapshot') else self.account_id}:{noun}/{value}"
            case "ssm":
                account = "" if value.startswith("/aws/") else self.account_id
                return f"arn:aws:ssm:{self.region}:{account}:parameter/{value.removeprefix('/')}"
            case "model-package" if not value.startswith("arn:"):
                return f"arn:aws:sagemaker:{here}:model-package/{value}"
            case "build":
                return value.partition(":")[0]
            case _:
                return value


@cache
def _resources() -> dict[str, list[str]]:
    with Path(__file__).with_name("resources.csv").open(newline="") as file:
        return {row["operation"]: row["resources"].split() for row in csv.DictReader(file)}


def _members(call: Call) -> Members:
    if call.endpoint:
        return {"EndpointName": call.endpoint}
    if call.protocol is Protocol.JSON:
        said = json.loads(call.request.get_data() or b"{}")
        return said if isinstance(said, dict) else {}
    if call.protocol in (Protocol.XML, Protocol.EC2):
        return {name: values[0] for name, values in call.parameters.items()}
    return {}


def _values(members: Members, name: str) -> list[str]:
    """Of one member, or of a list in either way it is written."""
    given = members.get(name)
    if isinstance(given, list):
        return [str(one) for one in given]
    if given is not None:
        return [str(given)]
    numbered = re.compile(rf"{name}\.(?:member\.)?\d+")
    return [str(value) for member, value in members.items() if numbered.fullmatch(member)]


def _at(members: Members, path: tuple[str, ...]) -> str:
    found: Any = members
    for name in path:
        found = (found or {}).get(name)
    return str(found or "")


def _tags_in(members: Members) -> dict[str, str]:
    """Those a call gives what it makes, or changes."""
    given = members.get("Tags", members.get("tags"))
    if isinstance(given, list):
        return {str(one.get("Key", one.get("key"))): str(one.get("Value", one.get("value", ""))) for one in given}
    return _numbered(members, re.compile(r"(?P<one>(?:Tags\.member|Tag)\.\d+)\.Key"))


def _specified(members: Members) -> dict[str, dict[str, str]]:
    """EC2's TagSpecifications, by the kind of thing."""
    found = {}
    for member, kind in members.items():
        if number := re.fullmatch(r"TagSpecification\.(\d+)\.ResourceType", member):
            found[str(kind)] = _numbered(members, re.compile(rf"(?P<one>TagSpecification\.{number[1]}\.Tag\.\d+)\.Key"))
    return found


def _numbered(members: Members, key: re.Pattern[str]) -> dict[str, str]:
    found = {}
    for member, name in members.items():
        if one := key.fullmatch(member):
            found[str(name)] = str(members.get(f"{one['one']}.Value", ""))
    return found


def _requested(tags: Tags) -> dict[str, tuple[str, ...]]:
    keys = {"aws:tagkeys": tuple(sorted(tags))} if tags else {}
    return {**{f"aws:requesttag/{key.lower()}": (value,) for key, value in tags.items()}, **keys}


def _own_keys(action: str, members: Members) -> dict[str, tuple[str, ...]]:
    """Condition keys of single services."""
    named = {"iam:AttachRolePolicy": ("PolicyArn", "iam:policyarn"), "cloudwatch:PutMetricData": ("Namespace", "cloudwatch:namespace")}  # fmt: skip
    if action.startswith("application-autoscaling:"):
        named[action] = ("ServiceNamespace", "application-autoscaling:service-namespace")
    if action in named and (value := members.get(named[action][0])):
        return {named[action][1]: (str(value),)}
    if action.startswith("sagemaker:DeleteTags"):
        return {"aws:tagkeys": tuple(map(str, members.get("TagKeys", [])))}
    return {}
