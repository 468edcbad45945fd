"""Making and removing the parts of a workspace on EC2: one step at a time, each safe to repeat and to race."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from botocore.exceptions import ClientError

from trainmaster.aws.failures import code_of
from trainmaster.errors import NotConfiguredError, WorkspaceFailedError
from trainmaster.training.desk import Desk
from trainmaster.workspaces.kinds import Step
from trainmaster.workspaces.machines.image import Ami, ami_of
from trainmaster.workspaces.machines.network import network_of
from trainmaster.workspaces.machines.parts import Parts
from trainmaster.workspaces.machines.plan import PROFILE, launch_of, names_of, plan_open
from trainmaster.workspaces.machines.profile import has_profile, make_profile
from trainmaster.workspaces.machines.user_data import user_data
from trainmaster.workspaces.machines.wanted import wanted
from trainmaster.workspaces.spec import spec_of
from trainmaster.workspaces.studio.domains import SharedHome, domain_name, shared_home
from trainmaster.workspaces.tags import tag_list
from trainmaster.workspaces.workspace import Workspace


def plan(desk: Desk, workspace: Workspace, parts: Parts) -> list[Step]:
    """What is lacking until it runs, with what AWS is asked. Changes nothing. Raises RefusedError where it cannot be made."""
    needs_machine = parts.machine is None or parts.machine.is_gone
    if needs_machine and "volume_id" not in workspace.resources:
        first = _sharing(desk, workspace)
        to_be = replace(wanted(workspace), launch=_launch(desk, workspace))
    else:
        first, to_be = [], wanted(workspace)
    return first + plan_open(workspace, to_be, parts, has_profile=not needs_machine or has_profile(desk))


def note(desk: Desk, workspace: Workspace, parts: Parts) -> Workspace:
    """Write down what AWS shows of it by now; of an instance that ended before it ran, that the next one is to be made."""
    known: dict[str, str] = {}
    machine = parts.machine
    if parts.group:
        known["security_group_id"] = parts.group.id
    if machine and machine.is_gone and "volume_id" not in workspace.resources:
        _note(desk, workspace, {"launch": str(launch_of(workspace) + 1), "instance_id": "", "image_id": ""})
        raise WorkspaceFailedError(
            f"AWS ended the instance {machine.id} of workspace {workspace.name} before it ran: {machine.reason or 'it gave no reason'}."
            " Nothing of it is paid for. The same again makes another; a different instance_type may do better."
        )
    if machine and not machine.is_gone:
        known["instance_id"] = machine.id
        if machine.state in ("running", "stopping", "stopped") and parts.volume:
            known["volume_id"] = parts.volume.id
    return _note(desk, workspace, known)


def take(desk: Desk, workspace: Workspace, step: Step) -> Workspace:
    """One step of `plan`; what it made is written down."""
    return _TAKEN[step.verb, step.noun](desk, workspace, step)


def take_away(desk: Desk, step: Step) -> None:
    """One step of `plan_delete`; what is gone already is fine, and what AWS still holds on to is left for later."""
    ec2 = desk.client("ec2")
    act = {
        "instance": ec2.terminate_instances,
        "volume": ec2.delete_volume,
        "security group": ec2.delete_security_group,
    }
    try:
        act[step.noun](**step.request)
    except ClientError as error:
        if code_of(error) not in _GONE | _HELD:
            raise


_GONE = {"InvalidInstanceID.NotFound", "InvalidVolume.NotFound", "InvalidGroup.NotFound", "InvalidGroupId.NotFound"}
_HELD = {"DependencyViolation", "VolumeInUse", "IncorrectState"}
"""An instance that is on its way out lets go of its volume and its security group a while later."""


def _sharing(desk: Desk, workspace: Workspace) -> list[Step]:
    lacks = spec_of(workspace).template.service_config.shared_efs and "efs_uid" not in workspace.resources
    return [Step("share", "home folder", f"of domain {domain_name(desk, workspace)}")] if lacks else []


def _launch(desk: Desk, workspace: Workspace) -> dict[str, Any]:
    """What RunInstances is asked with: the same for the same row, or AWS would not take it for the same launch."""
    spec, ami = spec_of(workspace), ami_of(desk, workspace)
    tags = tag_list(names_of(workspace))
    return {
        "ImageId": ami.id,
        "InstanceType": workspace.instance_type,
        "MinCount": 1,
        "MaxCount": 1,
        **network_of(desk, spec.template).launch_members(),
        "IamInstanceProfile": {"Name": PROFILE},
        "InstanceInitiatedShutdownBehavior": "stop",
        "MetadataOptions": {"HttpTokens": "required", "HttpEndpoint": "enabled", "HttpPutResponseHopLimit": 1},
        "BlockDeviceMappings": [_volume(workspace, ami)],
        "UserData": user_data(spec.template, _home(workspace), desk.settings.region, is_open=bool(spec.address)),
        "TagSpecifications": [{"ResourceType": kind, "Tags": tags} for kind in ("instance", "volume")],
    }


def _volume(workspace: Workspace, ami: Ami) -> dict[str, Any]:
    """It goes with an instance that never comes to run, and outlives any other: `plan` sees to that once it runs."""
    ebs = {"VolumeSize": workspace.volume_gb, "VolumeType": "gp3", "Encrypted": True, "DeleteOnTermination": True}
    return {"DeviceName": ami.root, "Ebs": ebs}


def _home(workspace: Workspace) -> SharedHome | None:
    known = workspace.resources
    uid = known.get("efs_uid")
    return SharedHome(known["efs_id"], f"/{uid}", int(uid)) if uid else None


def _share(desk: Desk, workspace: Workspace, step: Step) -> Workspace:  # noqa: ARG001 - one of _TAKEN
    workspace, home = shared_home(desk, workspace)
    name = f"security-group-for-outbound-nfs-{workspace.resources['domain_id']}"
    groups = desk.client("ec2").describe_security_groups(Filters=[{"Name": "group-name", "Values": [name]}])
    reached_by = groups["SecurityGroups"][0]["GroupId"] if groups["SecurityGroups"] else ""
    return _note(desk, workspace, {"efs_uid": str(home.uid), "nfs_group_id": reached_by})


def _create_profile(desk: Desk, workspace: Workspace, step: Step) -> Workspace:
    make_profile(desk)
    return _note(desk, workspace, {"instance_profile": step.name})


def _create_group(desk: Desk, workspace: Workspace, step: Step) -> Workspace:
    network = network_of(desk, spec_of(workspace).template)
    tags = [{"ResourceType": "security-group", "Tags": tag_list(names_of(workspace))}]
    try:
        made = desk.client("ec2").create_security_group(
            **step.request, **network.group_members(), TagSpecifications=tags
        )
    except ClientError as error:
        if code_of(error) == "InvalidGroup.Duplicate":
            return workspace
        if code_of(error) in ("VPCIdNotSpecified", "DefaultVpcDoesNotExist"):
            raise NotConfiguredError(
                f"{desk.settings.region} has no default VPC. Name vpc_id and subnet_ids in template {workspace.template}."
            ) from error
        raise
    return _note(desk, workspace, {"security_group_id": made["GroupId"]})


def _let_in(desk: Desk, workspace: Workspace, step: Step) -> Workspace:
    _unless(desk.client("ec2").authorize_security_group_ingress, "InvalidPermission.Duplicate", step.request)
    return workspace


def _shut_out(desk: Desk, workspace: Workspace, step: Step) -> Workspace:
    _unless(desk.client("ec2").revoke_security_group_ingress, "InvalidPermission.NotFound", step.request)
    return workspace


def _run(desk: Desk, workspace: Workspace, step: Step) -> Workspace:
    """By its client token EC2 makes one instance, whoever asks how often; a token whose instance has ended is used up."""
    if not workspace.resources.get("image_id"):
        workspace = _note(desk, workspace, {"image_id": step.request["ImageId"]})
    try:
        made = desk.client("ec2").run_instances(**step.request)["Instances"][0]
    except ClientError as error:
        if code_of(error) == "IdempotentInstanceTerminated":
            return _note(desk, workspace, {"launch": str(launch_of(workspace) + 1), "instance_id": ""})
        if code_of(error) == "IdempotentParameterMismatch":
            return workspace  # the template changed since; what was launched then will be seen, or was ended
        if code_of(error) == _UNKNOWN_PROFILE:
            _be_patient_with_iam(desk, error)
            return workspace
        raise
    return _note(desk, workspace, {"instance_id": made["InstanceId"], "instance_profile": PROFILE})


_UNKNOWN_PROFILE = "InvalidParameterValue"
"""What EC2 says, among others, of an instance profile IAM has not told it of yet."""
_TOLD_WITHIN = 120.0


def _be_patient_with_iam(desk: Desk, error: ClientError) -> None:
    """Raises the error again where the profile is not new."""
    made = desk.client("iam").get_instance_profile(InstanceProfileName=PROFILE)["InstanceProfile"]["CreateDate"]
    if (desk.ledger.now() - made).total_seconds() > _TOLD_WITHIN:
        raise error


def _start(desk: Desk, workspace: Workspace, step: Step) -> Workspace:
    desk.client("ec2").start_instances(**step.request)
    return workspace


def _change(desk: Desk, workspace: Workspace, step: Step) -> Workspace:
    desk.client("ec2").modify_instance_attribute(**step.request)
    return workspace


def _require_tokens(desk: Desk, workspace: Workspace, step: Step) -> Workspace:
    desk.client("ec2").modify_instance_metadata_options(**step.request)
    return workspace


def _tag(desk: Desk, workspace: Workspace, step: Step) -> Workspace:
    desk.client("ec2").create_tags(**step.request, Tags=tag_list(names_of(workspace)))
    return workspace


def _unless(act: Callable[..., Any], code: str, request: Mapping[str, Any]) -> None:
    try:
        act(**request)
    except ClientError as error:
        if code_of(error) != code:
            raise


def _note(desk: Desk, workspace: Workspace, known: Mapping[str, str]) -> Workspace:
    news = {name: value for name, value in known.items() if workspace.resources.get(name, "") != value}
    return desk.catalogue.workspaces.note_resources(workspace, **news) if news else workspace


_TAKEN: Mapping[tuple[str, str], Callable[[Desk, Workspace, Step], Workspace]] = {
    ("share", "home folder"): _share,
    ("create", "instance profile"): _create_profile,
    ("create", "security group"): _create_group,
    ("let in", "address"): _let_in,
    ("shut out", "address"): _shut_out,
    ("run", "instance"): _run,
    ("start", "instance"): _start,
    ("change", "instance type"): _change,
    ("keep", "volume"): _change,
    ("require", "metadata tokens"): _require_tokens,
    ("tag", "instance"): _tag,
}
