"""When AWS ends an app that nobody uses: as the idle settings of its domain, its owner's profile and its space say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from trainmaster.embedded.sagemaker.wire import Json, invalid

_MEMBERS = {"JupyterLab": "JupyterLabAppSettings", "CodeEditor": "CodeEditorAppSettings"}


@dataclass(frozen=True)
class Activity:
    """`last` is when somebody last did anything, in epoch seconds; `busy` whether a kernel computes right now."""

    last: float
    busy: bool


@dataclass(frozen=True)
class Absence:
    """A rehearsal: as if what was last used before `at` had not been for so many more seconds."""

    at: float = 0.0
    seconds: float = 0.0


def idle_seconds(activity: Activity, since: float, now: float, absence: Absence) -> float:
    """For how long nobody has used an app that runs since then; what computes is in use."""
    if activity.busy:
        return 0.0
    last = max(activity.last, since)
    return now - last + (absence.seconds if last < absence.at else 0.0)


def timeout_minutes(app_type: str, layers: list[Json], space: Json) -> int | None:
    """After how many idle minutes an app ends; None for never. `layers` are the settings of domain and profile, `space` the space's.

    The profile's idle settings take the place of the domain's; the space's own time counts only where they are enabled.
    """
    idle = _idle(app_type, layers)
    if idle.get("LifecycleManagement") != "ENABLED":
        return None
    own = _settings(app_type, space).get("IdleTimeoutInMinutes")
    return own or idle.get("IdleTimeoutInMinutes")


def check_timeout(space: Json, layers: list[Json]) -> None:
    """Raises AwsError when a space asks for a time outside of what its domain or profile allows."""
    for app_type in _MEMBERS:
        own, idle = _settings(app_type, space).get("IdleTimeoutInMinutes"), _idle(app_type, layers)
        least, most = idle.get("MinIdleTimeoutInMinutes"), idle.get("MaxIdleTimeoutInMinutes")
        if own is not None and not (least or 0) <= own <= (most or own):
            raise invalid(f"IdleTimeoutInMinutes {own} is not between {least} and {most}, as the domain or user profile has it.")  # fmt: skip


def _idle(app_type: str, layers: list[Json]) -> Json:
    found = [idle for layer in layers if (idle := _settings(app_type, layer))]
    return found[-1] if found else {}


def _settings(app_type: str, settings: Json) -> Json:
    held: Any = settings.get(_MEMBERS.get(app_type, ""), {})
    idle: Json = held.get("AppLifecycleManagement", {}).get("IdleSettings", {})
    return idle
