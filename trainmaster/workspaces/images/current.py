"""The image a template's workspaces start from: made already, and found by what it is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from trainmaster.aws.failures import code_of
from trainmaster.errors import RefusedError
from trainmaster.training.desk import Desk
from trainmaster.workspaces.images.fingerprint import fingerprint_of
from trainmaster.workspaces.template import Template

_PREFIX = "trainmaster"
_ABSENT = {"ResourceNotFound", "ResourceNotFoundException"}


@dataclass(frozen=True)
class ImageRef:
    """An image that workspaces can start from now: of SageMaker an image version with its app configuration, of EC2 an AMI."""

    template: str
    fingerprint: str
    image_arn: str = ""
    image_version_arn: str = ""
    app_image_config: str = ""
    ami_id: str = ""


def image_name(template: Template) -> str:
    """Of the image and its app configuration in SageMaker, and what the AMI's name begins with."""
    return f"{_PREFIX}-{template.name}"


def ami_name(template: Template, fingerprint: str) -> str:
    return f"{image_name(template)}-{fingerprint}"


def image_of(desk: Desk, template: Template) -> ImageRef | None:
    """The image that is made of the template as it is now; None for a template that needs none of ours.

    Raises RefusedError, telling to compile, when there is none yet.
    """
    if template.image is None:
        return None
    fingerprint = fingerprint_of(template)
    if template.service_type == "ec2":
        found = available_ami(desk, template, fingerprint)
    else:
        found = created_version(desk, template, fingerprint)
    if found is None:
        raise RefusedError(
            f"Template {template.name} starts from an image of our own, which is not made yet as the template is now"
            f" ({fingerprint}). `trainmaster compile {template.name}` makes it; `--dry-run` says what that costs."
        )
    return found


def created_version(desk: Desk, template: Template, fingerprint: str) -> ImageRef | None:
    """The version of SageMaker's image that has this fingerprint for an alias, once it can be used."""
    found = described_version(desk.client("sagemaker"), image_name(template), fingerprint)
    if not found or found["ImageVersionStatus"] != "CREATED":
        return None
    return ImageRef(
        template.name, fingerprint, found["ImageArn"], found["ImageVersionArn"], app_image_config=image_name(template)
    )


def described_version(sagemaker: Any, image: str, fingerprint: str) -> Mapping[str, Any] | None:
    """As SageMaker tells of it, in whatever status; None when there is none."""
    try:
        found: Mapping[str, Any] = sagemaker.describe_image_version(ImageName=image, Alias=fingerprint)
    except ClientError as error:
        if code_of(error) not in _ABSENT:
            raise
        return None
    return found


def available_ami(desk: Desk, template: Template, fingerprint: str) -> ImageRef | None:
    """The AMI of this name, once it can be used."""
    found = described_ami(desk.client("ec2"), ami_name(template, fingerprint))
    if not found or found["State"] != "available":
        return None
    return ImageRef(template.name, fingerprint, ami_id=found["ImageId"])


def described_ami(ec2: Any, name: str) -> Mapping[str, Any] | None:
    """Ours of this name, in whatever state but gone; None when there is none."""
    found = ec2.describe_images(Owners=["self"], Filters=[{"Name": "name", "Values": [name]}])["Images"]
    return next((one for one in found if one["State"] not in ("deregistered", "failed", "invalid", "error")), None)


_SETTINGS: Mapping[str, str] = {"JupyterLab": "JupyterLabAppSettings", "CodeEditor": "CodeEditorAppSettings"}
_TRIES = 5


def attached_images(domain: Mapping[str, Any], app: str) -> Sequence[Mapping[str, Any]]:
    """Those a domain, as described, lets applications of one kind start from."""
    listed: Sequence[Mapping[str, Any]] = (
        domain.get("DefaultUserSettings", {}).get(_SETTINGS[app], {}).get("CustomImages", [])
    )
    return listed


def is_attached(domain: Mapping[str, Any], template: Template) -> bool:
    """Whether a domain, as described, lets spaces start from the template's image."""
    wanted = {"ImageName": image_name(template), "AppImageConfigName": image_name(template)}
    return any(
        wanted.items() <= one.items() and "ImageVersionNumber" not in one
        for one in attached_images(domain, template.service_config.app)
    )


def attach(desk: Desk, domain_id: str, template: Template) -> bool:
    """Let spaces of a domain start from the template's image; False when they could already. Safe to race: what others attach stays.

    Raises RefusedError when others changed the domain again and again meanwhile.
    """
    sagemaker, app = desk.client("sagemaker"), template.service_config.app
    ours = {"ImageName": image_name(template), "AppImageConfigName": image_name(template)}
    for attempt in range(_TRIES):
        domain = sagemaker.describe_domain(DomainId=domain_id)
        if is_attached(domain, template):
            return attempt > 0
        others = [one for one in attached_images(domain, app) if one["ImageName"] != ours["ImageName"]]
        before = domain.get("DefaultUserSettings", {}).get(_SETTINGS[app], {})
        changed = {_SETTINGS[app]: {**before, "CustomImages": [*others, ours]}}
        sagemaker.update_domain(DomainId=domain_id, DefaultUserSettings=changed)
    raise RefusedError(
        f"The images of domain {domain_id} are being changed by others; {image_name(template)} did not stay attached in"
        f" {_TRIES} tries. Run the same again."
    )
