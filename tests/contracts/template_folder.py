"""Templates of a test's own, uniquely named, and the desk they are compiled and opened at."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import yaml
from desks import desk_at

from trainmaster.training.desk import Desk
from trainmaster.workspaces.images.request import CompileImageRequest

STUDIO = {
    "service_type": "sagemaker_studio",
    "connection_type": "web",
    "service_config": {"default_instance_type": "ml.t3.medium"},
    "image": {
        "base": "public.ecr.aws/sagemaker/sagemaker-distribution:3.4.2-cpu",
        "packages": {"pip": ["polars==1.33.1"]},
    },
}
MACHINE = {
    "service_type": "ec2",
    "connection_type": "ssh",
    "service_config": {
        "default_instance_type": "t3.large",
        "ami_parameter": "/aws/service/canonical/ubuntu/server/24.04/stable/current/amd64/hvm/ebs-gp3/ami-id",
    },
    "image": {"packages": {"pip": ["polars==1.33.1"]}},
}


class TemplateFolder:
    """A folder of templates, and a desk that reads them."""

    def __init__(self, folder: Path, desk: Desk) -> None:
        self.folder, self.desk = folder, desk

    @classmethod
    @contextmanager
    def at(cls, folder: Path, embedded: Any, **settings: Any) -> Iterator[TemplateFolder]:
        templates = folder / "templates"
        templates.mkdir(parents=True, exist_ok=True)
        # whole seconds of sleep between polls would be most of a test
        given = {"workspace_templates": templates, "poll_seconds": 0.1, **settings}
        with desk_at(folder / "state", embedded.environment, **given) as desk:
            yield cls(templates, desk)

    def write(self, template: dict[str, Any], name: str = "") -> str:
        """The name it is written under, of a domain of its own unless it names one."""
        name = name or f"image-{uuid4().hex[:8]}"
        text = yaml.safe_dump({"name": name, "description": "Of a test.", **template}, sort_keys=False)
        (self.folder / f"{name}.yaml").write_text(text)
        return name

    def request(self, name: str, **members: Any) -> CompileImageRequest:
        return CompileImageRequest(template=name, **members)
