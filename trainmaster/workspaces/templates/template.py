"""What a workspace template says. Pure: `templates.py` reads the files."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from trainmaster.budget.money import Dollars
from trainmaster.workspaces.tags import RESERVED_PREFIXES
from trainmaster.workspaces.templates.pins import PINNED, base_fault, package_faults
from trainmaster.workspaces.workspace import ConnectionType, ServiceType

NAME_PATTERN = r"^[a-z0-9](-?[a-z0-9])*$"
LONGEST_NAME = 50
"""What AWS's names of compiled images are made of; those have at most 63 characters."""
Fault = tuple[tuple[str | int, ...], str]
"""Where something does not fit, and what."""

_CONNECTIONS: dict[ServiceType, tuple[ConnectionType, ...]] = {
    "ec2": ("ssh", "dcv", "api"),
    "sagemaker_studio": ("web", "api"),
    "sagemaker_canvas": ("web", "api"),
    "sagemaker_lab": ("web", "api"),
}
_MACHINES: tuple[ServiceType, ...] = ("ec2", "sagemaker_studio")
_BILLED: tuple[ServiceType, ...] = ("ec2", "sagemaker_studio", "sagemaker_canvas")
_USED_BY: dict[str, tuple[ServiceType, ...]] = {
    "domain": ("sagemaker_studio", "sagemaker_canvas"),
    "app": ("sagemaker_studio",),
    "default_instance_type": _MACHINES,
    "allowed_instance_types": _MACHINES,
    "volume_gb": _MACHINES,
    "shared_efs": _MACHINES,
    "vpc_id": _BILLED,
    "subnet_ids": _BILLED,
    "ami_parameter": ("ec2",),
    "packages": ("ec2",),
    "direct_access": ("ec2",),
    "auto_stop_minutes": _BILLED,
    "max_hourly_cost": _BILLED,
    "data_sources": ("sagemaker_canvas",),
    "model_types": ("sagemaker_canvas",),
    "project_url": ("sagemaker_lab",),
    "runtime": ("sagemaker_lab",),
}


class Part(BaseModel):
    """Strict, and the same for good once made."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class Packages(Part):
    """What `compile` puts into an image, each pinned: `numpy==2.3.0`."""

    conda: tuple[str, ...] = ()
    pip: tuple[str, ...] = ()
    apt: tuple[str, ...] = ()


class Image(Part):
    """An image of our own: what it starts from and what is added. Without `base` SageMaker's own, or `ami_parameter`, is used."""

    base: str = ""
    packages: Packages = Packages()


class ServiceConfig(Part):
    """How the service is set up. Each service refuses what it has no use for."""

    domain: Annotated[
        str,
        Field(
            description="Of Studio and Canvas; TRAINMASTER_STUDIO_DOMAIN without it.",
            pattern=r"^([a-zA-Z0-9](-*[a-zA-Z0-9]){0,62})?$",
        ),
    ] = ""
    app: Literal["JupyterLab", "CodeEditor"] = "JupyterLab"
    default_instance_type: Annotated[str, Field(pattern=r"^([a-z0-9-]+\.)+[a-z0-9-]+$|^$", max_length=60)] = ""
    allowed_instance_types: Annotated[
        tuple[Annotated[str, Field(pattern=r"^[a-z0-9.*?\[\]-]+$", max_length=60)], ...],
        Field(description="Globs, such as ml.g5.*; the default alone without it."),
    ] = ()
    volume_gb: Annotated[int, Field(ge=5, le=16_384)] = 20
    shared_efs: Annotated[bool, Field(description="Mount the user's folder of the shared EFS.")] = False
    vpc_id: Annotated[str, Field(pattern=r"^(vpc-[0-9a-f]+)?$")] = ""
    subnet_ids: tuple[Annotated[str, Field(pattern=r"^subnet-[0-9a-f]+$")], ...] = ()
    ami_parameter: Annotated[
        str,
        Field(description="SSM parameter with the id of the AMI; EC2 only.", pattern=r"^(/[a-zA-Z0-9_.-]+)*$"),
    ] = ""
    packages: Annotated[
        tuple[Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9+.-]+(=\S+)?$")], ...],
        Field(description="apt packages installed at first start; EC2 only."),
    ] = ()
    direct_access: Annotated[
        bool, Field(description="Reached by its address instead of Session Manager, from one address alone; EC2 only.")
    ] = False
    auto_stop_minutes: Annotated[int | None, Field(ge=60, le=525_600)] = None
    max_hourly_cost: Annotated[Dollars | None, Field(gt=0, le=100_000)] = None
    data_sources: Annotated[
        tuple[Annotated[str, Field(pattern=r"^s3://[a-z0-9][a-z0-9.-]{2,62}(/\S*)?$")], ...],
        Field(description="Of Canvas: S3 URIs people import from."),
    ] = ()
    model_types: Annotated[
        tuple[Literal["tabular", "time-series", "image", "text", "fine-tuning"], ...],
        Field(description="Of Canvas: what people may build."),
    ] = ()
    project_url: Annotated[
        str,
        Field(
            description="Of Studio Lab: the repository that is imported.",
            pattern=r"^(https://github\.com/[\w.-]+/[\w.-]+(/\S*)?)?$",
        ),
    ] = ""
    runtime: Annotated[Literal["CPU", "GPU", ""], Field(description="Of Studio Lab.")] = ""


_UNSET = ServiceConfig()


class PolicyMetadata(Part):
    """What the policy looks at besides."""

    data_classification: Annotated[str, Field(pattern=r"^[a-z0-9-]{0,60}$")] = ""
    free_tier: bool = False
    tags: Annotated[
        dict[
            Annotated[str, Field(min_length=1, max_length=128)],
            Annotated[str, Field(max_length=256)],
        ],
        Field(max_length=30),
    ] = Field(default_factory=dict)


class EstimatedCost(Part):
    """What people are told in `templates`; what counts is the price list's."""

    per_hour: Annotated[Dollars | None, Field(ge=0)] = None
    note: str = ""


class Template(Part):
    """One file of `deployments/workspaces`, with what it extends laid under it."""

    name: Annotated[str, Field(pattern=NAME_PATTERN, max_length=LONGEST_NAME)]
    description: Annotated[str, Field(min_length=1, max_length=500)]
    service_type: ServiceType
    connection_type: ConnectionType
    service_config: ServiceConfig = ServiceConfig()
    image: Image | None = None
    estimated_cost: EstimatedCost = EstimatedCost()
    policy: PolicyMetadata = PolicyMetadata()

    @model_validator(mode="after")
    def _fitting(self) -> Self:
        faults = [
            InitErrorDetails(type=PydanticCustomError("unfit", "{said}", {"said": said}), loc=key, input=None)
            for key, said in _faults(self)
        ]
        if faults:
            raise ValidationError.from_exception_data("Template", faults)
        return self

    def allows(self, instance_type: str) -> bool:
        """Whether its workspaces may run on that."""
        config = self.service_config
        globs = config.allowed_instance_types or (config.default_instance_type,)
        return any(fnmatchcase(instance_type, glob) for glob in globs)

    @property
    def is_compiled(self) -> bool:
        """Whether its workspaces start from an image of ours, which `compile` makes."""
        return self.image is not None


def _faults(template: Template) -> Iterator[Fault]:
    """What each part is right in itself for, but not all of them together."""
    service, config = template.service_type, template.service_config
    ways = _CONNECTIONS[service]
    if template.connection_type not in ways:
        yield ("connection_type",), f"{template.connection_type} is no way into {service}; {' and '.join(ways)} are"
    for field, users in _USED_BY.items():
        if service not in users and getattr(config, field) != getattr(_UNSET, field):
            yield ("service_config", field), f"{service} has no use for it; {' and '.join(users)} may"
    yield from _machine_faults(template)
    if template.image:
        yield from _image_faults(template.image)
    if service == "sagemaker_lab" and not config.project_url:
        yield (
            ("service_config", "project_url"),
            "Studio Lab is opened by the address of a repository on GitHub; name one",
        )
    for tag in template.policy.tags:
        if tag.lower().startswith(RESERVED_PREFIXES):
            yield ("policy", "tags", tag), "Tags that begin so are AWS's, or Trainmaster's own"


def _image_faults(image: Image) -> Iterator[Fault]:
    if image.base and (said := base_fault(image.base)):
        yield ("image", "base"), said
    for installer in PINNED:
        for at, said in package_faults(installer, getattr(image.packages, installer)):
            yield ("image", "packages", installer, at), said


def _machine_faults(template: Template) -> Iterator[Fault]:
    service, config, image = template.service_type, template.service_config, template.image
    if service not in _MACHINES:
        if image:
            yield ("image",), f"{service} runs no image of ours; ec2 and sagemaker_studio do"
        return
    default = config.default_instance_type
    if not default:
        yield ("service_config", "default_instance_type"), f"{service} needs one, such as {_example(service)}"
    elif default.startswith("ml.") != (service != "ec2"):
        yield ("service_config", "default_instance_type"), f"{default} is none of {service}, whose are such as {_example(service)}"  # fmt: skip
    elif not template.allows(default):
        allowed = ", ".join(config.allowed_instance_types)
        yield ("service_config", "default_instance_type"), f"{default} is none of those allowed: {allowed}"
    if service == "ec2" and not config.ami_parameter:
        yield ("service_config", "ami_parameter"), "EC2 starts from an AMI; name the SSM parameter that has its id"
    if service == "ec2" and image and image.base:
        yield ("image", "base"), "An AMI starts from ami_parameter; base is of Studio's images"
    if service == "ec2" and image and image.packages.conda:
        yield ("image", "packages", "conda"), "conda packages go into images of Studio; on EC2 use pip or apt"
    if service == "sagemaker_studio" and image and not image.base:
        yield ("image", "base"), "Name the image it starts from, with its tag or digest"


def _example(service: ServiceType) -> str:
    return "t3.xlarge" if service == "ec2" else "ml.t3.medium"
