"""From a template to an image its workspaces start from: planned with what it costs, then made; what is made already is found."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from trainmaster.budget.budgets import Payer
from trainmaster.errors import ImageFailedError, RefusedError
from trainmaster.training.desk import Desk
from trainmaster.workspaces.images import building, machine_building
from trainmaster.workspaces.images.current import ImageRef, available_ami, created_version
from trainmaster.workspaces.images.fingerprint import fingerprint_of
from trainmaster.workspaces.images.machine_image import build_script
from trainmaster.workspaces.images.paying import Cost
from trainmaster.workspaces.images.plan import plan
from trainmaster.workspaces.images.request import CompileImageRequest
from trainmaster.workspaces.kinds import Step
from trainmaster.workspaces.templates.loading import find_template
from trainmaster.workspaces.templates.template import Template

_BUILDS = {("build", "container image"), ("launch", "builder")}
"""Steps that cost something."""
_STUDIO_NOTE = "ECR keeps the image for about $0.10 a GB and month, for as long as it is there."
_EC2_NOTE = "EC2 keeps the image's snapshot for about $0.05 a GB and month, for as long as it is there."


@dataclass(frozen=True)
class PlannedImage:
    """What making the image would come to. Nothing was changed. `cost` is US dollars at most, 0 where nothing is built."""

    template: str
    fingerprint: str
    recipe: str
    """The Dockerfile, or what the machine on EC2 does."""
    steps: tuple[Step, ...]
    cost: Decimal
    note: str
    domain: str = ""
    """Of Studio, which is not there yet; the image is attached to it when the first workspace is opened."""


@dataclass(frozen=True)
class CompiledImage:
    """An image workspaces can start from. `steps` are what was done to get there; none when it was there already."""

    image: ImageRef
    steps: tuple[Step, ...]


def planned_image(desk: Desk, request: CompileImageRequest) -> PlannedImage:
    """What compiling would do and cost. Raises RefusedError: no such template, one without an image, no price."""
    template = template_with_image(desk, request.template)
    fingerprint = fingerprint_of(template)
    if template.service_type == "ec2":
        steps = machine_building.plan_machine_image(desk, template)
        return PlannedImage(
            template.name, fingerprint, build_script(template), tuple(steps),
            _cost(steps, machine_building.machine_cost(desk)), _EC2_NOTE,
        )  # fmt: skip
    wanted = building.wanted_image(desk, template)
    there = building.described_image(desk, wanted)
    steps = plan(wanted, there)
    return PlannedImage(
        template.name, fingerprint, wanted.dockerfile, tuple(steps), _cost(steps, building.build_cost(desk)), _STUDIO_NOTE,
        "" if there.domain else wanted.place.domain,
    )  # fmt: skip


def compile_image(desk: Desk, request: CompileImageRequest, note: building.Note) -> CompiledImage:
    """The image of the template as it is now, made when it is not there; `note` is told each step before it begins.

    Safe to repeat after any failure and to race. Raises RefusedError before anything is made, ImageFailedError, WaitTimedOutError.
    """
    template = template_with_image(desk, request.template)
    payer, fingerprint = request.payer(Payer(desk.settings.user_id, desk.settings.team)), fingerprint_of(template)
    if template.service_type == "ec2":
        steps = machine_building.make_machine_image(desk, template, payer, note)
        made = available_ami(desk, template, fingerprint)
    else:
        steps = building.make_image(desk, building.wanted_image(desk, template), payer, note)
        made = created_version(desk, template, fingerprint)
    if made is None:
        raise ImageFailedError(f"The image of {template.name} was deleted while it was being made. Run the same again.")
    return CompiledImage(made, tuple(steps))


def template_with_image(desk: Desk, name: str) -> Template:
    """Raises RefusedError for one whose workspaces start from AWS's own images, and as `find_template`."""
    template = find_template(desk.settings, name)
    if template.image is None:
        raise RefusedError(
            f"Template {name} has no image of its own to make: its workspaces start from {_starts_from(template)}."
            " Add `image` to it, with packages, or open it as it is."
        )
    return template


def _starts_from(template: Template) -> str:
    return template.service_config.ami_parameter or "AWS's own image"


def _cost(steps: list[Step], cost: Cost) -> Decimal:
    return cost.worst if any((step.verb, step.noun) in _BUILDS for step in steps) else Decimal(0)
