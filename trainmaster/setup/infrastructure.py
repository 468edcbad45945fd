"""Where runs are carried out, as a file says it once for every type of work pool; and that file, read. Nothing in it is secret."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from trainmaster.errors import NotConfiguredError
from trainmaster.workspaces.lined_yaml import LinedYamlError, Wrong, read_yaml
from trainmaster.workspaces.templates.pins import base_fault

FARGATE: Mapping[int, tuple[int, int]] = {
    256: (512, 2048), 512: (1024, 4096), 1024: (2048, 8192), 2048: (4096, 16384), 4096: (8192, 30720), 8192: (16384, 61440),
    16384: (32768, 122880),
}  # fmt: skip
"""Least and most memory by processor: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-cpu-memory-error.html"""
LARGE_STEPS: Mapping[int, int] = {8192: 4096, 16384: 8192}
"""Of memory, where they are larger than 1,024 MB."""

_SECRET = re.compile(r"SECRET|PASSWORD|TOKEN|_KEY$|AUTH_STRING|DATABASE_URL|NOTIFY_URL|RATE_STORAGE")
_WITH_PASSWORD = re.compile(r"://[^/\s:@]*:[^/\s@]+@")


def _not_secret(environment: dict[str, str]) -> dict[str, str]:
    secret = sorted(name for name, value in environment.items() if _SECRET.search(name) or _WITH_PASSWORD.search(value))
    if secret:
        raise ValueError(f"{', '.join(secret)} is secret: name where it is kept, in ecs.secrets or kubernetes.secret")
    return environment


def _one_release(image: str) -> str:
    if fault := base_fault(image):
        raise ValueError(fault)
    return image


Variable = Annotated[str, StringConstraints(pattern=r"^[A-Z][A-Z0-9_]*$", max_length=128)]
Label = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$")]
KubernetesName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
RoleArn = Annotated[str, StringConstraints(pattern=r"^arn:aws[a-z-]*:iam::\d{12}:role/[\w+=,.@/-]+$")]
SecretArn = Annotated[
    str, StringConstraints(pattern=r"^arn:aws[a-z-]*:(secretsmanager|ssm):[a-z0-9-]+:\d{12}:(secret:|parameter/)\S+$")
]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Ecs(_Part):
    """Of a pool of type ecs: Fargate tasks of a cluster that is there."""

    cluster: Annotated[str, Field(min_length=1, max_length=2048)]
    vpc_id: Annotated[str | None, Field(pattern=r"^vpc-[0-9a-f]+$")] = None
    execution_role_arn: RoleArn
    task_role_arn: RoleArn
    secrets: dict[Variable, SecretArn] = Field(default_factory=dict)


class Kubernetes(_Part):
    """Of a pool of type kubernetes: jobs of a namespace that is there."""

    namespace: KubernetesName = "trainmaster"
    service_account: KubernetesName = "trainmaster-run"
    secret: KubernetesName | None = None
    finished_seconds: Annotated[int, Field(ge=60, le=30 * 86400)] = 86400
    """How long a job that ended can be looked at."""


class Infrastructure(_Part):
    """What each run has: image, machine, environment, labels."""

    image: Annotated[str, AfterValidator(_one_release)]
    cpu: Annotated[int, Field(ge=256, le=16384)] = 1024
    memory_mb: Annotated[int, Field(ge=512, le=122880)] = 2048
    environment: Annotated[dict[Variable, str], AfterValidator(_not_secret)] = Field(default_factory=dict)
    labels: dict[Label, Label] = Field(default_factory=dict)
    ecs: Ecs | None = None
    kubernetes: Kubernetes | None = None

    @model_validator(mode="after")
    def _fargate_has_such_machines(self) -> Self:
        if self.ecs is None:
            return self
        if self.cpu not in FARGATE:
            raise ValueError(f"cpu {self.cpu} is none of Fargate's: {', '.join(map(str, FARGATE))}")
        least, most = FARGATE[self.cpu]
        step = LARGE_STEPS.get(self.cpu, 1024)
        if not least <= self.memory_mb <= most or (self.memory_mb % step and self.memory_mb != 512):
            raise ValueError(
                f"with cpu {self.cpu} Fargate has {least} to {most} MB in steps of {step}, not {self.memory_mb}"
            )
        return self


def read_infrastructure(path: Path) -> Infrastructure:
    """Raises NotConfiguredError with all that is wrong, by line."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise NotConfiguredError(f"The pool file {path} cannot be read: {error}. --pool-file names another.") from error
    try:
        document = read_yaml(text)
    except LinedYamlError as error:
        raise _unusable(path, error.wrongs) from error
    try:
        return Infrastructure.model_validate(document.value)
    except ValidationError as error:
        raise _unusable(path, document.wrongs(error)) from error


def _unusable(path: Path, wrongs: list[Wrong] | tuple[Wrong, ...]) -> NotConfiguredError:
    said = "".join(f"\n  {one.sentence()}" for one in wrongs)
    return NotConfiguredError(
        f"The pool file {path} cannot be used:{said}\nMend it; deployments/work-pool.yaml has every key."
    )
