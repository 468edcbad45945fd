"""Which code acts for which service: the one place that knows all of them."""

from __future__ import annotations

from collections.abc import Mapping

from trainmaster.workspaces.kinds import Kind
from trainmaster.workspaces.machines.ec2 import Ec2
from trainmaster.workspaces.studio.canvas import Canvas
from trainmaster.workspaces.studio.lab import StudioLab
from trainmaster.workspaces.studio.space import Studio
from trainmaster.workspaces.workspace import ServiceType

KINDS: Mapping[ServiceType, Kind] = {
    "ec2": Ec2(),
    "sagemaker_studio": Studio(),
    "sagemaker_canvas": Canvas(),
    "sagemaker_lab": StudioLab(),
}


def kind_of(service_type: ServiceType) -> Kind:
    """What can be done with a workspace of that service."""
    return KINDS[service_type]
