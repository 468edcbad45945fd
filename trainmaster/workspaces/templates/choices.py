"""What forms offer of workspaces: the templates there are where the form is made, and the machines those allow."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from trainmaster.budget.choices import instance_choices, known_types
from trainmaster.budget.prices import Use

if TYPE_CHECKING:
    from trainmaster.workspaces.templates.template import Template

_MACHINES: tuple[Use, ...] = ("studio", "ec2")


def templates_there_are(schema: dict[str, Any]) -> None:
    """Their names, instead of any text."""
    _offer(schema, sorted(template.name for template in _templates()))


def templates_with_an_image(schema: dict[str, Any]) -> None:
    """The names of those an image is made for, instead of any text."""
    _offer(schema, sorted(template.name for template in _templates() if template.image))


def instances_of_templates(schema: dict[str, Any]) -> None:
    """The instance types that any of them allows, each with its price; and none."""
    templates = list(_templates())
    offered = [
        choice
        for use in _MACHINES
        for choice in instance_choices(
            use, [one for one in known_types(use) if any(template.allows(one) for template in templates)]
        )
    ]
    if offered:
        labels_first = sorted(offered, key=lambda choice: " " not in choice)
        _offer(schema, [*labels_first, ""])
        schema["description"] += " The price is that of an hour of it in us-east-1."


def _offer(schema: dict[str, Any], choices: list[str]) -> None:
    """Nothing to choose from, as where templates are elsewhere, leaves it to whoever types."""
    if choices:
        schema.pop("pattern", None)
        schema["enum"] = choices


def _templates() -> Iterable[Template]:
    from trainmaster.settings import Settings  # noqa: PLC0415 - a request is read without either
    from trainmaster.workspaces.templates.loading import read_templates  # noqa: PLC0415

    folder = Settings().workspace_templates
    return read_templates(folder).templates.values() if folder.is_dir() else ()
