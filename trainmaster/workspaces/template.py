"""What a workspace template says. Pure: `templates.py` reads the files."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from trainmaster.budget.money import Dollars
from trainmaster.workspaces.workspace import ConnectionType, ServiceType


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
    kernel: str = "python3"


class ServiceConfig(Part):
    """How the service is set up. Each service refuses what it has no use for."""

    domain: Annotated[str, Field(description="Of Studio and Canvas; TRAINMASTER_STUDIO_DOMAIN without it.")] = ""
    app: Literal["JupyterLab", "CodeEditor"] = "JupyterLab"
    default_instance_type: str = ""
    allowed_instance_types: Annotated[tuple[str, ...], Field(description="Globs, such as ml.g5.*; the default alone without it.")] = ()  # fmt: skip
    volume_gb: Annotated[int, Field(ge=5, le=16_384)] = 20
    shared_efs: Annotated[bool, Field(description="Mount the user's folder of the shared EFS.")] = False
    vpc_id: str = ""
    subnet_ids: tuple[str, ...] = ()
    ami_parameter: Annotated[str, Field(description="SSM parameter with the id of the AMI; EC2 only.")] = ""
    packages: Annotated[tuple[str, ...], Field(description="apt packages installed at first start; EC2 only.")] = ()
    auto_stop_minutes: Annotated[int | None, Field(ge=60, le=525_600)] = None
    max_hourly_cost: Dollars | None = None
    data_sources: Annotated[tuple[str, ...], Field(description="Of Canvas: S3 URIs people import from.")] = ()
    model_types: Annotated[tuple[str, ...], Field(description="Of Canvas: what people may build.")] = ()
    project_url: Annotated[str, Field(description="Of Studio Lab: the repository that is imported.")] = ""
    runtime: Annotated[Literal["CPU", "GPU", ""], Field(description="Of Studio Lab.")] = ""


class PolicyMetadata(Part):
    """What the policy looks at besides."""

    data_classification: str = ""
    free_tier: bool = False
    tags: dict[str, str] = Field(default_factory=dict)


class EstimatedCost(Part):
    """What people are told in `templates`; what counts is the price list's."""

    per_hour: Dollars | None = None
    note: str = ""


class Template(Part):
    """One file of `deployments/workspaces`, with what it extends laid under it."""

    name: str
    description: str
    service_type: ServiceType
    connection_type: ConnectionType
    service_config: ServiceConfig = ServiceConfig()
    image: Image | None = None
    estimated_cost: EstimatedCost = EstimatedCost()
    policy: PolicyMetadata = PolicyMetadata()

    @model_validator(mode="after")
    def _connected(self) -> Self:
        ways: dict[ServiceType, set[ConnectionType]] = {
            "ec2": {"ssh", "dcv"},
            "sagemaker_studio": {"web"},
            "sagemaker_canvas": {"web"},
            "sagemaker_lab": {"web"},
        }
        if self.connection_type not in ways[self.service_type] | {"api"}:
            raise ValueError(
                f"connection_type is {self.connection_type}; {self.service_type} has {', '.join(sorted(ways[self.service_type]))}"
            )
        return self
