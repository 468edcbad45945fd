"""The image a template's workspaces start from: made already, and found by what it is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from trainmaster.aws.failures import code_of, is_taken
from trainmaster.errors import RefusedError
from trainmaster.training.desk import Desk
from trainmaster.workspaces.images.fingerprint import fingerprint_of
from trainmaster.workspaces.images.names import SETTINGS, ami_name, attached_images, image_name, is_attached
from trainmaster.workspaces.studio.parts import Part, found, settled
from trainmaster.workspaces.templates.template import Template

_TRIES = 5  # to keep one image attached to a domain that others change
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


def image_of(desk: Desk, template: Template) -> ImageRef | None:
    """The image that is made of the template as it is now; None for a template that needs none of ours.

    Raises RefusedError, telling to compile, when there is none yet.
    """
    if template.image is None:
        return None
    fingerprint = fingerprint_of(template)
    if template.service_type == "ec2":
        made = available_ami(desk, template, fingerprint)
    else:
        made = created_version(desk, template, fingerprint)
    if made is None:
        raise RefusedError(
            f"Template {template.name} starts from an image of our own, which is not made yet as the template is now"
            f" ({fingerprint}). `trainmaster compile {template.name}` makes it; `--dry-run` says what that costs."
        )
    return made


def created_version(desk: Desk, template: Template, fingerprint: str) -> ImageRef | None:
    """The version of SageMaker's image that has this fingerprint for an alias, once it can be used."""
    version = described_version(desk.client("sagemaker"), image_name(template), fingerprint)
    if not version or version["ImageVersionStatus"] != "CREATED":
        return None
    return ImageRef(
        template.name,
        fingerprint,
        version["ImageArn"],
        version["ImageVersionArn"],
        app_image_config=image_name(template),
    )


def described_version(sagemaker: Any, image: str, fingerprint: str) -> Mapping[str, Any] | None:
    """As SageMaker tells of it, in whatever status; None when there is none."""
    try:
        described: Mapping[str, Any] = sagemaker.describe_image_version(ImageName=image, Alias=fingerprint)
    except ClientError as error:
        if code_of(error) not in _ABSENT:
            raise
        return None
    return described


def available_ami(desk: Desk, template: Template, fingerprint: str) -> ImageRef | None:
    """The AMI of this name, once it can be used."""
    ami = described_ami(desk.client("ec2"), ami_name(template, fingerprint))
    if not ami or ami["State"] != "available":
        return None
    return ImageRef(template.name, fingerprint, ami_id=ami["ImageId"])


def described_ami(ec2: Any, name: str) -> Mapping[str, Any] | None:
    """Ours of this name, in whatever state but gone; None when there is none."""
    listed = ec2.describe_images(Owners=["self"], Filters=[{"Name": "name", "Values": [name]}])["Images"]
    return next((one for one in listed if one["State"] not in ("deregistered", "failed", "invalid", "error")), None)


def attach(desk: Desk, domain_id: str, template: Template) -> bool:
    """Let spaces of a domain start from the template's image; False when they could already. Safe to race: what others attach stays.

    Raises RefusedError when others changed the domain again and again meanwhile, WaitTimedOutError.
    """
    sagemaker, app = desk.client("sagemaker"), template.service_config.app
    ours = {"ImageName": image_name(template), "AppImageConfigName": image_name(template)}
    part = Part("domain", domain_id, lambda: found(sagemaker.describe_domain, DomainId=domain_id))
    for attempt in range(_TRIES):
        domain = settled(desk, part)
        if domain is None:
            raise RefusedError(f"There is no domain {domain_id} to attach {image_name(template)} to any more.")
        if is_attached(domain, template):
            return attempt > 0
        others = [one for one in attached_images(domain, app) if one["ImageName"] != ours["ImageName"]]
        before = domain.get("DefaultUserSettings", {}).get(SETTINGS[app], {})
        changed = {SETTINGS[app]: {**before, "CustomImages": [*others, ours]}}
        try:
            sagemaker.update_domain(DomainId=domain_id, DefaultUserSettings=changed)
        except ClientError as error:
            if not is_taken(error):
                raise
    raise RefusedError(
        f"The images of domain {domain_id} are being changed by others; {image_name(template)} did not stay attached in"
        f" {_TRIES} tries. Run the same again."
    )
