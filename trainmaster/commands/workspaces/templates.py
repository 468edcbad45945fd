"""`trainmaster templates`: what workspaces can be opened from. Asks nothing of AWS."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from trainmaster.budget.money import shown
from trainmaster.budget.prices import known_prices
from trainmaster.commands.terminal.reporting import DONE, REFUSED, add_local_command, note, say, say_json
from trainmaster.commands.terminal.tables import labelled, table
from trainmaster.errors import UnknownPriceError
from trainmaster.local_settings import LocalSettings
from trainmaster.plain_words import counted
from trainmaster.workspaces.rates import rates_of
from trainmaster.workspaces.templates.loading import Templates, find_template, read_templates
from trainmaster.workspaces.templates.template import Template

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

_SERVICES = {
    "ec2": "EC2",
    "sagemaker_studio": "Studio",
    "sagemaker_lab": "Studio Lab",
    "sagemaker_canvas": "Canvas",
}


def add_commands(commands: Subparsers) -> None:
    """The one that looks and changes nothing."""
    templates = add_local_command(commands, "templates", "what workspaces can be opened from", _templates)
    templates.add_argument("name", nargs="?", metavar="NAME", help="everything that this one says")


def _templates(args: argparse.Namespace, settings: LocalSettings) -> int:
    if args.name:
        return _one(find_template(settings, args.name), args, settings)
    found = read_templates(settings.workspace_templates)
    wrong = [one.sentence() for one in found.all_problems]
    if args.json:
        say_json({"templates": [_facts(one, settings) for one in found.templates.values()], "problems": wrong})
    else:
        _list(found, settings)
    if wrong:
        note(f"{counted(len(found.problems), 'template')} of {found.folder} cannot be used before this is put right:")
        note(*(f"  {one}" for one in wrong))
    return REFUSED if wrong else DONE


def _list(found: Templates, settings: LocalSettings) -> None:
    if not found.templates:
        note(f"There are none in {found.folder}.")
        return
    head = ("NAME", "SERVICE", "ACCESS", "RUNS ON", "PER HOUR", "DESCRIPTION")
    rows = [_row(one, settings) for one in found.templates.values()]
    say(*table([head, *rows], frozenset({4})))
    note("`trainmaster templates NAME` shows one, `trainmaster launch TEMPLATE NAME` opens a workspace of it.")


def _hourly(template: Template, settings: LocalSettings) -> Decimal | None:
    """While it runs, its volume included, by the price list; None where nobody knows."""
    try:
        return rates_of(known_prices(settings.refreshed_prices), template, settings.region).total
    except UnknownPriceError:
        return None


def _costs(template: Template, settings: LocalSettings) -> str:
    """An hour; the template's estimate where nobody knows."""
    hourly, estimate = _hourly(template, settings), template.estimated_cost.per_hour
    if hourly is not None:
        return shown(hourly)
    return "" if estimate is None else f"about {shown(estimate)}"


def _row(template: Template, settings: LocalSettings) -> tuple[str, ...]:
    return (
        template.name,
        _SERVICES[template.service_type],
        template.connection_type,
        template.service_config.default_instance_type,
        _costs(template, settings),
        template.description,
    )


def _one(template: Template, args: argparse.Namespace, settings: LocalSettings) -> int:
    if args.json:
        say_json(_facts(template, settings))
        return DONE
    say(f"Template {template.name}: {template.description}", *_said(template, settings))
    return DONE


def _said(template: Template, settings: LocalSettings) -> Iterator[str]:
    config, policy = template.service_config, template.policy
    per_hour = f"{costs} an hour in {settings.region}" if (costs := _costs(template, settings)) else ""
    allowed = ", ".join(config.allowed_instance_types)
    yield from labelled(
        {
            "service": _SERVICES[template.service_type],
            "access": template.connection_type,
            "runs on": f"{config.default_instance_type}{f'; allowed: {allowed}' if allowed else ''}",
            "cost": " ".join(filter(None, (per_hour, template.estimated_cost.note))),
            "at most": f"{shown(config.max_hourly_cost)} an hour" if config.max_hourly_cost else "",
            "stops": f"after {config.auto_stop_minutes} minutes idle" if config.auto_stop_minutes else "",
            "files": f"{config.volume_gb} GB{', and the shared home' if config.shared_efs else ''}"
            if config.default_instance_type
            else "",
            "project": config.project_url,
            "builds": ", ".join(config.model_types),
            "data": policy.data_classification,
            "tags": ", ".join(f"{key}={value}" for key, value in policy.tags.items()),
            "image": f"of our own; `trainmaster compile {template.name}` makes it" if template.image else "",
            "open": f"trainmaster launch {template.name} NAME",
        }
    )


def _facts(template: Template, settings: LocalSettings) -> dict[str, Any]:
    hourly = _hourly(template, settings)
    return {**template.model_dump(mode="json"), "hourly_cost": None if hourly is None else f"{hourly:f}"}
