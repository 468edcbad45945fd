"""Workspaces on EC2: made once, closed to everybody, kept when stopped, gone when deleted."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest
import yaml
from botocore.exceptions import ClientError
from desks import desk_at
from ec2_workspaces import again, groups, instances, living, row, volumes
from ended_calls import MOMENTS, EndedError, Moment, ending
from waiting import TRUST

from trainmaster.aws.clients import Clients
from trainmaster.errors import NameConflictError, NotConfiguredError, RefusedError, WorkspaceFailedError
from trainmaster.training.desk import Desk
from trainmaster.workspaces.images.current import ami_name
from trainmaster.workspaces.images.fingerprint import fingerprint_of
from trainmaster.workspaces.machines.ec2 import Ec2
from trainmaster.workspaces.machines.plan import PROFILE
from trainmaster.workspaces.machines.profile import has_profile, make_profile
from trainmaster.workspaces.spec import spec_of
from trainmaster.workspaces.tags import WORKSPACE_TAG

EC2 = Ec2()


@pytest.fixture(scope="module")
def desk(embedded: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    name = f"machines-{uuid4().hex[:8]}"
    with desk_at(tmp_path_factory.mktemp("desk"), embedded.environment, poll_seconds=0.05, studio_domain=name) as desk:
        make_profile(desk)
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
    assert access.url == ""
    assert not access.secret


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


OPENING = 3
"""Changes that opening makes: a security group, the instance, and that its volume outlives it. Role and profile are there for all."""
DELETING = 3
"""Terminated, its volume and its security group deleted."""


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("step", range(1, OPENING + 1))
def test_a_run_that_dies_at_any_step_of_opening_is_gone_on_with(
    desk: Desk, embedded: Any, step: int, moment: Moment
) -> None:
    workspace = row(desk)
    with pytest.raises(EndedError):
        EC2.open(ending(desk, embedded, step, moment), workspace)
    EC2.open(desk, again(desk, workspace))
    (machine,) = instances(desk, workspace)
    (volume,) = volumes(desk, workspace)
    assert len(groups(desk, workspace)) == 1
    kept = again(desk, workspace).resources
    assert (kept["instance_id"], kept["volume_id"]) == (machine["InstanceId"], volume["VolumeId"])


def test_opening_makes_no_more_changes_than_those(desk: Desk, embedded: Any) -> None:
    assert EC2.open(ending(desk, embedded, OPENING + 1, "before-call"), row(desk)).status == "running"


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("step", range(1, DELETING + 1))
def test_a_run_that_dies_at_any_step_of_deleting_leaves_nothing_in_the_end(
    desk: Desk, embedded: Any, step: int, moment: Moment
) -> None:
    workspace = EC2.open(desk, row(desk))
    with pytest.raises(EndedError):
        EC2.delete(ending(desk, embedded, step, moment), workspace)
    EC2.delete(desk, again(desk, workspace))
    assert (living(desk, workspace), volumes(desk, workspace), groups(desk, workspace)) == ([], [], [])


def test_many_who_open_one_at_once_come_to_one_instance(desk: Desk) -> None:
    workspace = row(desk)
    with ThreadPoolExecutor(6) as threads:
        opened = list(threads.map(lambda _: EC2.open(desk, workspace), range(6)))
    assert {one.status for one in opened} == {"running"}
    assert len(instances(desk, workspace)) == 1
    assert len(groups(desk, workspace)) == 1


@pytest.fixture
def faults(embedded: Any) -> Iterator[Any]:
    """Commands a fault of an operation, once; all are over with the test."""
    yield lambda operation, **fault: embedded.control("POST", "faults", {"operation": operation, "count": 1, **fault})
    embedded.control("DELETE", "faults")


def test_an_answer_that_is_lost_on_its_way_makes_no_second_instance(desk: Desk, faults: Any) -> None:
    workspace = row(desk)
    faults("CreateSecurityGroup", lost=True)
    faults("RunInstances", lost=True)
    EC2.open(desk, workspace)
    assert len(instances(desk, workspace)) == 1
    assert len(groups(desk, workspace)) == 1


def test_throttling_and_an_expired_token_are_waited_out(desk: Desk, faults: Any) -> None:
    workspace = row(desk)
    faults("DescribeInstances", error="RequestLimitExceeded", status=503)
    faults("RunInstances", error="RequestLimitExceeded", status=503)
    faults("DescribeVolumes", error="RequestExpired", status=400)
    assert EC2.open(desk, workspace).status == "running"
    assert len(instances(desk, workspace)) == 1


def test_no_machines_at_aws_leave_nothing_to_pay_and_the_same_again_goes_on(desk: Desk, faults: Any) -> None:
    workspace = row(desk)
    faults("RunInstances", error="InsufficientInstanceCapacity", status=400)
    with pytest.raises(ClientError, match="InsufficientInstanceCapacity"):
        EC2.open(desk, workspace)
    assert (instances(desk, workspace), volumes(desk, workspace)) == ([], [])
    assert EC2.look(desk, [again(desk, workspace)])[workspace.id].status == "pending"
    assert EC2.open(desk, again(desk, workspace)).status == "running"


def test_an_instance_that_aws_ends_before_it_runs_is_made_anew_by_the_next_run(desk: Desk) -> None:
    workspace = row(desk)
    ec2 = desk.client("ec2")
    EC2.open(desk, workspace)
    (first,) = instances(desk, workspace)
    ec2.terminate_instances(InstanceIds=[first["InstanceId"]])
    never_ran = desk.catalogue.workspaces.note_resources(workspace, instance_id=first["InstanceId"])
    desk.catalogue.workspaces.change(never_ran, resources={"image_id": again(desk, workspace).resources["image_id"]})
    with pytest.raises(WorkspaceFailedError, match="before it ran"):
        EC2.open(desk, again(desk, workspace))
    assert EC2.look(desk, [again(desk, workspace)])[workspace.id].status == "pending"
    EC2.open(desk, again(desk, workspace))
    (second,) = living(desk, workspace)
    assert second["InstanceId"] != first["InstanceId"]


def test_files_of_an_instance_terminated_by_hand_are_neither_lost_nor_passed_over(desk: Desk) -> None:
    workspace = EC2.open(desk, row(desk))
    (machine,) = instances(desk, workspace)
    (volume,) = volumes(desk, workspace)
    desk.client("ec2").terminate_instances(InstanceIds=[machine["InstanceId"]])
    seen = EC2.look(desk, [again(desk, workspace)])[workspace.id]
    assert seen.status == "failed"
    assert volume["VolumeId"] in seen.detail
    assert [one["VolumeId"] for one in volumes(desk, workspace)] == [volume["VolumeId"]]
    with pytest.raises(WorkspaceFailedError, match=volume["VolumeId"]):
        EC2.open(desk, again(desk, workspace))
    with pytest.raises(RefusedError, match="is failed"):
        EC2.access(desk, again(desk, workspace))
    EC2.delete(desk, again(desk, workspace))
    assert volumes(desk, workspace) == []


def test_a_name_that_was_deleted_is_opened_anew_as_another_instance(desk: Desk) -> None:
    workspace = EC2.open(desk, row(desk))
    EC2.delete(desk, workspace)
    gone = desk.catalogue.workspaces.change(again(desk, workspace), status="deleted")
    anew = desk.catalogue.workspaces.begin(replace(gone, status="pending", resources={}))
    assert EC2.look(desk, [anew])[anew.id].status == "pending"
    EC2.open(desk, anew)
    assert len(living(desk, anew)) == 1


def test_another_instance_type_takes_hold_when_it_is_started_again(desk: Desk) -> None:
    workspace = EC2.open(desk, row(desk))
    EC2.stop(desk, workspace)
    changed = desk.catalogue.workspaces.change(again(desk, workspace), instance_type="t3.xlarge")
    assert [step.noun for step in EC2.plan_open(desk, changed)] == ["instance type", "instance"]
    EC2.open(desk, changed)
    (machine,) = instances(desk, workspace)
    assert (machine["InstanceType"], machine["State"]["Name"]) == ("t3.xlarge", "running")


def test_what_was_changed_by_hand_is_told_and_put_right_without_interrupting_anybody(desk: Desk) -> None:
    workspace = EC2.open(desk, row(desk))
    ec2, kept = desk.client("ec2"), again(desk, workspace).resources
    world = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
    ec2.authorize_security_group_ingress(GroupId=kept["security_group_id"], IpPermissions=[world])
    ec2.modify_instance_metadata_options(InstanceId=kept["instance_id"], HttpTokens="optional")
    ec2.delete_tags(Resources=[kept["instance_id"]], Tags=[{"Key": WORKSPACE_TAG}])
    ec2.modify_volume(VolumeId=kept["volume_id"], Size=40)
    along = [{"DeviceName": "/dev/sda1", "Ebs": {"DeleteOnTermination": True}}]
    ec2.modify_instance_attribute(InstanceId=kept["instance_id"], BlockDeviceMappings=along)
    drift = EC2.look(desk, [again(desk, workspace)])[workspace.id].drift
    assert drift == (
        "its volume has 40 GB instead of 30 GB",
        "its volume goes when its instance is terminated",
        "its metadata answers without a token (IMDSv1)",
        f"its tags differ: {WORKSPACE_TAG}",
        "its security group lets in 0.0.0.0/0 to port 22",
    )
    launched = instances_by_id(desk, kept["instance_id"])["LaunchTime"]
    EC2.open(desk, again(desk, workspace))
    assert EC2.look(desk, [again(desk, workspace)])[workspace.id].drift == ("its volume has 40 GB instead of 30 GB",)
    assert instances_by_id(desk, kept["instance_id"])["LaunchTime"] == launched


def test_a_type_changed_by_hand_is_told_while_it_runs(desk: Desk) -> None:
    workspace = EC2.open(desk, row(desk))
    EC2.stop(desk, workspace)
    id_ = again(desk, workspace).resources["instance_id"]
    desk.client("ec2").modify_instance_attribute(InstanceId=id_, InstanceType={"Value": "m5.4xlarge"})
    desk.client("ec2").start_instances(InstanceIds=[id_])
    seen = EC2.look(desk, [again(desk, workspace)])[workspace.id]
    assert seen.instance_type == "m5.4xlarge"
    assert "m5.4xlarge instead of t3.large" in seen.drift[0]
    assert EC2.plan_open(desk, again(desk, workspace)) == []


def test_a_machine_whose_volume_was_taken_away_is_not_stopped(desk: Desk) -> None:
    workspace = EC2.open(desk, row(desk))
    kept = again(desk, workspace).resources
    desk.client("ec2").detach_volume(VolumeId=kept["volume_id"], InstanceId=kept["instance_id"])
    with pytest.raises(WorkspaceFailedError, match=kept["volume_id"]):
        EC2.stop(desk, again(desk, workspace))
    (machine,) = instances(desk, workspace)
    assert machine["State"]["Name"] == "running"


@pytest.mark.parametrize(
    ("service", "changed", "said"),
    [
        ({"ami_parameter": "/aws/service/canonical/ubuntu/nothing"}, {}, "names, and us-east-1 has no such parameter"),
        ({"volume_gb": 5}, {"volume_gb": 5}, "its image needs 15 GB"),
    ],
    ids=["no such parameter", "volume too small"],
)
def test_what_cannot_be_launched_is_refused_before_anything_is_made(
    desk: Desk, service: dict[str, Any], changed: dict[str, Any], said: str
) -> None:
    workspace = row(desk, service=service, **changed)
    with pytest.raises(RefusedError, match=said):
        EC2.plan_open(desk, workspace)
    with pytest.raises(RefusedError, match=said):
        EC2.open(desk, workspace)
    assert (instances(desk, workspace), groups(desk, workspace)) == ([], [])


def test_five_hundred_are_looked_at_in_a_handful_of_calls(desk: Desk, embedded: Any) -> None:
    running = EC2.open(desk, row(desk))
    others = [replace(running, id=uuid4(), resources={}, name=f"not-there-{number}") for number in range(499)]
    asked: list[str] = []

    def counting(service: str) -> Any:
        client = embedded.client(service)
        client.meta.events.register("before-call", lambda model, **_: asked.append(model.name))
        return client

    seen = EC2.look(replace(desk, client=Clients(counting)), [again(desk, running), *others])
    assert seen[running.id].status == "running"
    assert {seen[one.id].status for one in others} == {"pending"}
    assert len(asked) <= 8


def instances_by_id(desk: Desk, id_: str) -> dict[str, Any]:
    found: dict[str, Any] = desk.client("ec2").describe_instances(InstanceIds=[id_])["Reservations"][0]["Instances"][0]
    return found


def test_the_profile_of_all_is_made_whatever_of_it_is_there(desk: Desk) -> None:
    iam = desk.client("iam")
    iam.remove_role_from_instance_profile(InstanceProfileName=PROFILE, RoleName=PROFILE)
    assert not has_profile(desk)
    workspace = row(desk)
    assert EC2.plan_open(desk, workspace)[0].sentence() == f"create instance profile {PROFILE}"
    EC2.open(desk, workspace)
    assert has_profile(desk)
    attached = iam.list_attached_role_policies(RoleName=PROFILE)["AttachedPolicies"]
    assert [one["PolicyName"] for one in attached] == ["AmazonSSMManagedInstanceCore"]
    (machine,) = instances(desk, workspace)
    assert machine["IamInstanceProfile"]["Arn"].endswith(f"/{PROFILE}")


def test_it_has_the_home_that_the_same_user_has_in_studio(desk: Desk) -> None:
    workspace = row(desk, service={"shared_efs": True})
    assert EC2.plan_open(desk, workspace)[0].sentence() == f"share home folder of domain {desk.settings.studio_domain}"
    opened = EC2.open(desk, workspace)
    sagemaker, known = desk.client("sagemaker"), opened.resources
    domain = sagemaker.describe_domain(DomainId=known["domain_id"])
    profile = sagemaker.describe_user_profile(DomainId=known["domain_id"], UserProfileName=known["user_profile"])
    uid = profile["HomeEfsFileSystemUid"]
    (machine,) = instances(desk, workspace)
    script = user_data_of(desk, machine["InstanceId"])["write_files"][0]["content"]
    assert f"{domain['HomeEfsFileSystemId']}.efs.us-east-1.amazonaws.com" in script
    assert f'"$from:/{uid} /home/sagemaker-user/user-default-efs' in script
    (user,) = [one for one in user_data_of(desk, machine["InstanceId"])["users"] if one != "default"]
    assert (user["name"], str(user["uid"])) == ("sagemaker-user", uid)
    in_groups = {one["GroupName"] for card in machine["NetworkInterfaces"] for one in card["Groups"]}
    reached = desk.client("ec2").describe_security_groups(GroupIds=[known["nfs_group_id"]])["SecurityGroups"][0]
    assert reached["GroupName"] == f"security-group-for-outbound-nfs-{known['domain_id']}"
    assert len(in_groups) == 2
    assert EC2.look(desk, [opened])[opened.id].drift == ()
    other = EC2.open(desk, row(desk, user_id=workspace.user_id, service={"shared_efs": True}))
    assert other.resources["efs_uid"] == uid


def user_data_of(desk: Desk, instance_id: str) -> dict[str, Any]:
    told = desk.client("ec2").describe_instance_attribute(InstanceId=instance_id, Attribute="userData")
    read: dict[str, Any] = yaml.safe_load(base64.b64decode(told["UserData"]["Value"]))
    return read


def test_one_address_is_let_in_and_the_next_one_in_its_place(desk: Desk) -> None:
    def let_in() -> list[str]:
        (group,) = groups(desk, workspace)
        return [one["CidrIp"] for rule in group["IpPermissions"] for one in rule["IpRanges"]]

    workspace = EC2.open(desk, row(desk, service={"direct_access": True}, address="203.0.113.7"))
    assert let_in() == ["203.0.113.7/32"]
    moved = {**workspace.spec, "address": "198.51.100.9"}
    elsewhere = desk.catalogue.workspaces.change(again(desk, workspace), spec=moved)
    steps = [step.sentence() for step in EC2.plan_open(desk, elsewhere)]
    assert steps == [
        "shut out address 203.0.113.7/32 to port 22",
        "let in address 198.51.100.9/32 to port 22",
    ]
    EC2.open(desk, elsewhere)
    assert let_in() == ["198.51.100.9/32"]


def test_a_profile_that_is_somebody_elses_is_a_conflict_before_anything_is_launched(desk: Desk) -> None:
    iam, other, workspace = desk.client("iam"), f"other-{uuid4().hex[:8]}", row(desk)
    iam.create_role(RoleName=other, AssumeRolePolicyDocument=TRUST)
    iam.remove_role_from_instance_profile(InstanceProfileName=PROFILE, RoleName=PROFILE)
    iam.add_role_to_instance_profile(InstanceProfileName=PROFILE, RoleName=other)
    try:
        with pytest.raises(NameConflictError, match=f"has role {other}"):
            EC2.open(desk, workspace)
    finally:
        iam.remove_role_from_instance_profile(InstanceProfileName=PROFILE, RoleName=other)
        make_profile(desk)
    assert instances(desk, workspace) == []


@pytest.fixture(scope="module")
def vpc(desk: Desk) -> dict[str, Any]:
    """One that is not the account's default, with two subnets."""
    ec2 = desk.client("ec2")
    id_ = ec2.create_vpc(CidrBlock="10.7.0.0/16")["Vpc"]["VpcId"]
    subnets = [
        ec2.create_subnet(VpcId=id_, CidrBlock=f"10.7.{number}.0/24")["Subnet"]["SubnetId"] for number in range(2)
    ]
    return {"id": id_, "subnets": subnets}


class TestNetwork:
    @pytest.mark.parametrize("named", [("vpc_id",), ("subnet_ids",), ("vpc_id", "subnet_ids")], ids="+".join)
    def test_instance_and_group_are_in_the_network_of_the_template(
        self, desk: Desk, vpc: dict[str, Any], named: tuple[str, ...]
    ) -> None:
        service = {"vpc_id": vpc["id"], "subnet_ids": (vpc["subnets"][1],)}
        workspace = EC2.open(desk, row(desk, service={name: service[name] for name in named}))
        (machine,), (group,) = instances(desk, workspace), groups(desk, workspace)
        assert machine["VpcId"] == group["VpcId"] == vpc["id"]
        wanted = vpc["subnets"][1] if "subnet_ids" in named else min(vpc["subnets"])
        assert machine["SubnetId"] == wanted

    def test_a_network_there_is_not_is_refused_before_anything_is_made(self, desk: Desk, vpc: dict[str, Any]) -> None:
        default = desk.client("ec2").describe_subnets(Filters=[{"Name": "default-for-az", "Values": ["true"]}])
        elsewhere = default["Subnets"][0]["SubnetId"]
        for service in (
            {"vpc_id": "vpc-0123456789abcdef0"},
            {"subnet_ids": ("subnet-0123456789abcdef0",)},
            {"vpc_id": vpc["id"], "subnet_ids": (elsewhere,)},
        ):
            workspace = row(desk, service=service)
            with pytest.raises(NotConfiguredError, match="Correct vpc_id"):
                EC2.open(desk, workspace)
            assert groups(desk, workspace) == []


def test_a_template_with_an_image_of_its_own_starts_from_that_and_from_nothing_else(desk: Desk) -> None:
    image = {"packages": {"pip": [f"numpy==2.3.{uuid4().int % 10**6}"]}}
    workspace = row(desk, image=image)
    with pytest.raises(RefusedError, match="trainmaster compile python-ml"):
        EC2.open(desk, workspace)
    assert groups(desk, workspace) == []
    template = spec_of(workspace).template
    made_of = EC2.open(desk, row(desk)).resources["instance_id"]
    name = ami_name(template, fingerprint_of(template))
    ami = desk.client("ec2").create_image(InstanceId=made_of, Name=name)["ImageId"]
    EC2.open(desk, workspace)
    (machine,) = instances(desk, workspace)
    assert machine["ImageId"] == ami
