"""What is on this machine: settings, versions, disk, and the files that say what is allowed, offered and paid."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from difflib import get_close_matches
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from packaging.requirements import Requirement
from pydantic import AliasChoices

from trainmaster.budget.prices import known_prices
from trainmaster.doctor.findings import Finding, failure, ok, warning
from trainmaster.settings import Settings
from trainmaster.workspaces.policy.file import load_policy, policy_path
from trainmaster.workspaces.templates.loading import read_templates

PREFIX = "TRAINMASTER_"
ASKED_ELSEWHERE = {
    "TRAINMASTER_DEBUG",
    "TRAINMASTER_HTTP_TOKEN",
    "TRAINMASTER_HTTP_URL",
    "TRAINMASTER_NAMESPACES",
    "TRAINMASTER_SOAK",
}
"""Variables of ours that are no settings."""
NEEDED = ("bucket", "execution_role_arn")
OLDEST_PRICES_DAYS = 90
LITTLE, TOO_LITTLE = 10 << 30, 1 << 30
"""Bytes free for state, results and uploads on their way."""


def settings(settings: Settings, environment: Mapping[str, str]) -> Iterator[Finding]:
    """What is set, misspelt, or lacking."""
    known = {name for field in Settings.model_fields for name in _variables(field)} | ASKED_ELSEWHERE
    for name in sorted(environment):
        if name.startswith(PREFIX) and name not in known:
            near = get_close_matches(name, known, 1)
            meant = f"Did you mean {near[0]}?" if near else "docs/reference/settings.md lists those there are."
            yield warning("settings", f"{name} is set, and nothing reads it", meant)
    lacking = [field for field in NEEDED if not getattr(settings, field)]
    for field in lacking:
        what = Settings.model_fields[field].description or ""
        yield failure(
            "settings", f"{_variables(field)[0]} is not set", f"{what} Set it for workers and for this shell."
        )
    if not lacking:
        yield ok("settings", f"{', '.join(_variables(field)[0] for field in NEEDED)} are set")


def _variables(field: str) -> list[str]:
    alias = Settings.model_fields[field].validation_alias
    if isinstance(alias, AliasChoices):
        return [str(choice) for choice in alias.choices]
    return [alias if isinstance(alias, str) else f"{PREFIX}{field.upper()}"]


def versions() -> Iterator[Finding]:
    """Of Python and what Trainmaster was locked with."""
    wrong = []
    for line in requires("trainmaster") or []:
        wanted = Requirement(line)
        if wanted.marker and not wanted.marker.evaluate({"extra": ""}):
            continue
        try:
            there = version(wanted.name)
        except PackageNotFoundError:
            wrong.append(f"{wanted.name} is missing")
        else:
            if not wanted.specifier.contains(there, prereleases=True):
                wrong.append(f"{wanted.name} is {there}, not {wanted.specifier}")
    python = ".".join(map(str, sys.version_info[:3]))
    if wrong:
        yield failure(
            "versions", "; ".join(wrong), "`pip install -r requirements.lock -e .`, or `make clean` and `make run`."
        )
    else:
        yield ok("versions", f"Trainmaster {version('trainmaster')}, Python {python}, and all it needs")


def disk(settings: Settings) -> Iterator[Finding]:
    """Room where state is kept, or will be."""
    there = next(
        folder for folder in (settings.state_dir.absolute(), *settings.state_dir.absolute().parents) if folder.exists()
    )
    free = shutil.disk_usage(there).free
    told = f"{free / (1 << 30):.1f} GB free at {settings.state_dir}"
    if not os.access(there, os.W_OK):
        yield failure("disk", f"{there} cannot be written to", "Make it writable, or set TRAINMASTER_STATE_DIR.")
    elif free < TOO_LITTLE:
        yield failure(
            "disk", told, "Free some: uploads and the catalogue on SQLite need it. Or set TRAINMASTER_STATE_DIR."
        )
    elif free < LITTLE:
        yield warning(
            "disk", told, "Free some before there is none: large uploads wait there. Or set TRAINMASTER_STATE_DIR."
        )
    else:
        yield ok("disk", told)


def policy(settings: Settings) -> Iterator[Finding]:
    """Who may do what. Raises NotConfiguredError with all that is wrong with the file."""
    load_policy(settings)
    yield ok("policy", f"{_short(policy_path(settings))} can be used")


def templates(settings: Settings) -> Iterator[Finding]:
    """What workspaces are opened from."""
    found = read_templates(settings.workspace_templates)
    if problems := found.all_problems:
        more = f", and {len(problems) - 1} more" if len(problems) > 1 else ""
        yield failure(
            "templates", f"{problems[0].sentence()}{more}", "`trainmaster templates` lists them all; mend the files."
        )
    else:
        yield ok("templates", f"{_short(settings.workspace_templates)} has {len(found.templates)}, all sound")


def prices(settings: Settings) -> Iterator[Finding]:
    """How old the prices of the region are: what is reserved, approved and refused rests on them."""
    here = [price for price in known_prices(settings.refreshed_prices) if price.region == settings.region]
    refresh = f"`trainmaster prices refresh --region {settings.region}`"
    if not any(price.use == "training" for price in here):
        yield failure("prices", f"none is known for training in {settings.region}: everything is refused", refresh)
        return
    oldest = min(max(price.as_of for price in here if price.use == use) for use in {price.use for price in here})
    days = (datetime.now(UTC).date() - date.fromisoformat(oldest)).days
    told = f"{len(here)} known for {settings.region}, the oldest use of {oldest}"
    if days > OLDEST_PRICES_DAYS:
        yield warning("prices", f"{told}, {days} days ago", f"{refresh}, best every month.")
    else:
        yield ok("prices", told)


def _short(path: Path) -> str:
    try:
        return str(path.absolute().relative_to(Path.cwd()))
    except ValueError:
        return str(path)
