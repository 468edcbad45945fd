"""EC2 of the embedded AWS: what its client tokens promise, and what it refuses as EC2 does."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import pytest
from botocore.exceptions import ClientError
from embedded_aws import EmbeddedAws
from waiting import TRUST

UBUNTU = "/aws/service/canonical/ubuntu/server/{}.04/stable/current/{}/hvm/ebs-gp3/ami-id"
LEARNING = "/aws/service/deeplearning/ami/x86_64/oss-nvidia-driver-gpu-pytorch-2.7-ubuntu-22.04/latest/ami-id"


class Launcher:
    """Launches instances, and says what became of them."""

    def __init__(self, embedded: EmbeddedAws) -> None:
        self.ec2, self.ssm = embedded.client("ec2"), embedded.client("ssm")
        self.image = self.ami(UBUNTU.format(24, "amd64"))

    def ami(self, parameter: str) -> str:
        return str(self.ssm.get_parameter(Name=parameter)["Parameter"]["Value"])

    def run(self, token: str, **members: Any) -> str:
        asked = {"ImageId": self.image, "InstanceType": "t3.large", "MinCount": 1, "MaxCount": 1, "ClientToken": token}
        return str(self.ec2.run_instances(**asked | members)["Instances"][0]["InstanceId"])

    def group(self) -> str:
        return str(self.ec2.create_security_group(GroupName=f"group-{uuid4().hex[:8]}", Description="one")["GroupId"])


@pytest.fixture(scope="module")
def launcher(embedded: EmbeddedAws) -> Launcher:
    return Launcher(embedded)


@pytest.fixture
def token() -> str:
    return uuid4().hex


@pytest.fixture
def refused() -> Iterator[Any]:
    """Checks the code of what AWS refuses."""

    def refused(code: str, call: Any, **members: Any) -> None:
        with pytest.raises(ClientError) as refusal:
            call(**members)
        assert refusal.value.response["Error"]["Code"] == code

    return refused


def test_a_client_token_makes_one_instance_however_many_ask(launcher: Launcher, token: str) -> None:
    with ThreadPoolExecutor(6) as threads:
        made = set(threads.map(lambda _: launcher.run(token), range(12)))
    assert len(made) == 1
    assert launcher.run(uuid4().hex) not in made


def test_a_client_token_is_for_one_request_alone(launcher: Launcher, token: str, refused: Any) -> None:
    launcher.run(token)
    refused("IdempotentParameterMismatch", launcher.run, token=token, InstanceType="t3.xlarge")


def test_a_client_token_whose_instance_is_terminated_is_used_up(launcher: Launcher, token: str, refused: Any) -> None:
    launcher.ec2.terminate_instances(InstanceIds=[launcher.run(token)])
    refused("IdempotentInstanceTerminated", launcher.run, token=token)


def test_what_is_terminated_is_neither_started_nor_stopped(launcher: Launcher, token: str, refused: Any) -> None:
    id_ = launcher.run(token)
    launcher.ec2.terminate_instances(InstanceIds=[id_])
    refused("IncorrectInstanceState", launcher.ec2.start_instances, InstanceIds=[id_])
    refused("IncorrectInstanceState", launcher.ec2.stop_instances, InstanceIds=[id_])


def test_only_a_stopped_instance_changes_its_type(launcher: Launcher, token: str, refused: Any) -> None:
    id_ = launcher.run(token)
    change = {"InstanceId": id_, "InstanceType": {"Value": "t3.xlarge"}}
    refused("IncorrectInstanceState", launcher.ec2.modify_instance_attribute, **change)
    launcher.ec2.stop_instances(InstanceIds=[id_])
    launcher.ec2.modify_instance_attribute(**change)


def test_there_is_no_instance_of_a_type_there_is_not(launcher: Launcher, token: str, refused: Any) -> None:
    refused("InvalidParameterValue", launcher.run, token=token, InstanceType="t9.huge")


def test_a_security_group_stays_for_as_long_as_an_instance_is_in_it(
    launcher: Launcher, token: str, refused: Any
) -> None:
    group = launcher.group()
    id_ = launcher.run(token, SecurityGroupIds=[group])
    refused("DependencyViolation", launcher.ec2.delete_security_group, GroupId=group)
    launcher.ec2.terminate_instances(InstanceIds=[id_])
    launcher.ec2.delete_security_group(GroupId=group)


@pytest.mark.parametrize(
    ("parameter", "architecture"),
    [
        (UBUNTU.format(22, "amd64"), "x86_64"),
        (UBUNTU.format(24, "arm64"), "arm64"),
        (LEARNING, "x86_64"),
    ],
    ids=["Ubuntu 22.04", "Ubuntu 24.04 on Graviton", "deep learning"],
)
def test_the_images_that_ssm_names_are_those_of_ec2(launcher: Launcher, parameter: str, architecture: str) -> None:
    id_ = launcher.ami(parameter)
    assert launcher.ami(parameter) == id_
    (image,) = launcher.ec2.describe_images(ImageIds=[id_])["Images"]
    assert (image["Architecture"], image["RootDeviceType"], image["State"]) == (architecture, "ebs", "available")


def test_a_parameter_that_names_nothing_is_not_found(launcher: Launcher, refused: Any) -> None:
    refused("ParameterNotFound", launcher.ssm.get_parameter, Name=UBUNTU.format(24, "m68k"))


def test_policies_of_aws_itself_can_be_attached(embedded: EmbeddedAws, refused: Any) -> None:
    iam, name = embedded.client("iam"), f"role-{uuid4().hex[:8]}"
    iam.create_role(RoleName=name, AssumeRolePolicyDocument=TRUST)
    iam.attach_role_policy(RoleName=name, PolicyArn="arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore")
    attached = iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"]
    assert [one["PolicyName"] for one in attached] == ["AmazonSSMManagedInstanceCore"]
    nothing = "arn:aws:iam::aws:policy/AmazonNothingAtAll"
    refused("NoSuchEntity", iam.attach_role_policy, RoleName=name, PolicyArn=nothing)
