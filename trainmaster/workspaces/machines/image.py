"""What an instance starts from: an AMI of ours that was compiled, else one of AWS's or Canonical's by the SSM parameter that names its newest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from trainmaster.aws.failures import code_of
from trainmaster.errors import RefusedError, UnknownChoiceError
from trainmaster.training.desk import Desk
from trainmaster.workspaces.images.current import image_of
from trainmaster.workspaces.spec import spec_of
from trainmaster.workspaces.workspace import Workspace


@dataclass(frozen=True)
class Ami:
    """`root` is the name of the device its volume is; `least_gb` the smallest it fits on."""

    id: str
    root: str
    least_gb: int


def ami_of(desk: Desk, workspace: Workspace) -> Ami:
    """The one written down when it was launched, else the newest of its template. Raises RefusedError, botocore's errors."""
    id_ = workspace.resources.get("image_id") or _newest(desk, workspace)
    found = desk.client("ec2").describe_images(Filters=[{"Name": "image-id", "Values": [id_]}])["Images"]
    if not found:
        raise UnknownChoiceError(
            f"Template {workspace.template} starts from {id_}, which {desk.settings.region} has not."
        )
    image = found[0]
    mapped: Mapping[str, Any] = next(
        (one["Ebs"] for one in image["BlockDeviceMappings"] if one["DeviceName"] == image["RootDeviceName"]), {}
    )
    ami = Ami(id_, image["RootDeviceName"], mapped.get("VolumeSize", 1))
    if workspace.volume_gb < ami.least_gb:
        raise RefusedError(
            f"Workspace {workspace.name} would have a volume of {workspace.volume_gb} GB; its image needs {ami.least_gb} GB."
            f" Ask for volume_gb={ami.least_gb} or more."
        )
    return ami


def _newest(desk: Desk, workspace: Workspace) -> str:
    template = spec_of(workspace).template
    if compiled := image_of(desk, template):
        return compiled.ami_id
    parameter = template.service_config.ami_parameter
    try:
        return str(desk.client("ssm").get_parameter(Name=parameter)["Parameter"]["Value"])
    except ClientError as error:
        if code_of(error) != "ParameterNotFound":
            raise
        raise UnknownChoiceError(
            f"Template {workspace.template} starts from the AMI that SSM parameter {parameter} names, and {desk.settings.region} has no"
            f" such parameter. `aws ssm get-parameters-by-path --path {parameter.rsplit('/', 2)[0]} --recursive` lists what it has."
        ) from error
