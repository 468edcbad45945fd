"""What a workspace of Studio or Canvas lacks until it runs, by what AWS describes, and how it stands. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from trainmaster.workspaces.kinds import Seen, Step
from trainmaster.workspaces.spec import Spec
from trainmaster.workspaces.tags import owner_of, tag_list, tags_of
from trainmaster.workspaces.workspace import Status, Workspace

APP_NAME = "default"
CANVAS = "Canvas"
_LIFECYCLE = "AppLifecycleManagement"
IDLE_MINUTES = 120
"""After which the domain stops an idle app whose space says nothing else, such as one that somebody made by hand."""
LONGEST_IDLE_MINUTES = 525_600
"""What AWS allows at most: a space without auto-stop is given this, or its domain's would hold."""
SETTLING = frozenset({"Pending", "Updating", "Deleting"})
_APP_STATUSES: dict[str, Status] = {
    "Pending": "starting",
    "InService": "running",
    "Deleting": "stopping",
    "Deleted": "stopped",
    "Failed": "failed",
}
_SPACE_STATUSES: dict[str, Status] = {
    "Pending": "starting",
    "Deleting": "deleting",
    "Failed": "failed",
    "Delete_Failed": "failed",
}
Found = Mapping[str, Any] | None


@dataclass(frozen=True)
class Desired:
    """The requests AWS would be asked with, but for the id of the domain, which is known once it is there. Canvas has no space."""

    domain: Mapping[str, Any]
    profile: Mapping[str, Any]
    app: Mapping[str, Any]
    space: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Described:
    """What AWS answered; None for what is not there, and of tags for what was not asked. An app that is listed as deleted is not there."""

    domain: Found = None
    profile: Found = None
    space: Found = None
    app: Found = None
    space_tags: Mapping[str, str] | None = None
    app_tags: Mapping[str, str] | None = None


def profile_name(workspace: Workspace) -> str:
    """Of the research user: the same in every domain."""
    return f"user-{owner_of(workspace)}" if workspace.user_id else owner_of(workspace)


def desired(workspace: Workspace, spec: Spec, *, domain: Mapping[str, Any], role: str, now: datetime) -> Desired:
    """What is wanted of AWS for a workspace of Studio or Canvas."""
    config = spec.template.service_config
    ours = tag_list({key: value for key, value in tags_of(workspace).items() if key in _SHARED_TAGS})
    settings: dict[str, Any] = {
        "ExecutionRole": role,
        "AutoMountHomeEFS": "Enabled" if config.shared_efs else "Disabled",
    }
    profile = {"UserProfileName": profile_name(workspace), "UserSettings": settings, "Tags": ours}
    if workspace.service_type == "sagemaker_canvas":
        settings["CanvasAppSettings"] = {
            "TimeSeriesForecastingSettings": {"Status": _enabled("time-series" in config.model_types)},
            "ModelRegisterSettings": {"Status": "ENABLED"},
        }
        return Desired(domain, profile, _app(workspace, CANVAS, {"UserProfileName": profile_name(workspace)}, {}))
    resources = {"InstanceType": workspace.instance_type, **_image(workspace)}
    idle = _idle(workspace, domain, config.app, now)
    space = {
        "SpaceName": workspace.slug,
        "SpaceDisplayName": workspace.name,
        "OwnershipSettings": {"OwnerUserProfileName": profile_name(workspace)},
        "SpaceSharingSettings": {"SharingType": "Private"},
        "SpaceSettings": {
            "AppType": config.app,
            "SpaceStorageSettings": {"EbsStorageSettings": {"EbsVolumeSizeInGb": workspace.volume_gb}},
            f"{config.app}AppSettings": {
                "DefaultResourceSpec": resources,
                **idle,
            },
        },
        "Tags": tag_list(tags_of(workspace)),
    }
    return Desired(domain, profile, _app(workspace, config.app, {"SpaceName": workspace.slug}, resources), space)


def domain_request(name: str, role: str, vpc_id: str, subnet_ids: tuple[str, ...]) -> dict[str, Any]:
    """A domain for the workspaces of all users: signed in to by IAM, its apps stopped when idle, its files encrypted by AWS."""
    idle = {
        "LifecycleManagement": "ENABLED",
        "IdleTimeoutInMinutes": IDLE_MINUTES,
        "MinIdleTimeoutInMinutes": 60,
        "MaxIdleTimeoutInMinutes": LONGEST_IDLE_MINUTES,
    }
    app = {_LIFECYCLE: {"IdleSettings": idle}}
    settings = {"ExecutionRole": role, "JupyterLabAppSettings": app}
    return {
        "DomainName": name,
        "AuthMode": "IAM",
        "DefaultUserSettings": {**settings, "CodeEditorAppSettings": app, "StudioWebPortal": "ENABLED"},
        "DefaultSpaceSettings": settings,
        "AppNetworkAccessType": "PublicInternetOnly",
        "VpcId": vpc_id,
        "SubnetIds": list(subnet_ids),
        "Tags": tag_list({"trainmaster:domain": name}),
    }


def idle_minutes(workspace: Workspace, now: datetime) -> int:
    """After how long AWS itself stops the app; not while the owner wants it kept, but then, for nobody else can tell of Code Editor.

    In whole days while it is kept, so that it is the same for whoever opens it again.
    """
    if workspace.auto_stop_minutes is None:
        return LONGEST_IDLE_MINUTES
    kept_days = -((now - workspace.keep_until) // timedelta(days=1)) if workspace.keep_until else 0
    return min(max(workspace.auto_stop_minutes, kept_days * 24 * 60), LONGEST_IDLE_MINUTES)


def plan(wanted: Desired, described: Described) -> list[Step]:
    """What is done, in order, until the app runs; empty when it does. Under a running app only its idle time is changed."""
    steps = []
    if described.domain is None:
        steps.append(Step("create", "domain", wanted.domain["DomainName"], wanted.domain))
    if described.profile is None:
        steps.append(Step("create", "user profile", wanted.profile["UserProfileName"], wanted.profile))
    elif settings := profile_changes(wanted, described.profile):
        steps.append(Step("update", "user profile", wanted.profile["UserProfileName"], {"UserSettings": settings}))
    app = described.app["Status"] if described.app else "Deleted"  # one that failed AWS has deleted by itself
    runs = app in ("InService", "Pending")
    if wanted.space is not None:
        steps += _space_steps(wanted.space, described.space, runs=runs)
        steps += _tag_steps(wanted.space, described.space_tags, "space", wanted.space["SpaceName"])
    if runs:
        steps += _tag_steps(wanted.app, described.app_tags, "app", _app_title(wanted))
        return [*steps, *([Step("await", "app", _app_title(wanted))] if app == "Pending" else [])]
    return [*steps, Step("create", "app", _app_title(wanted), wanted.app)]


def profile_changes(wanted: Desired, profile: Mapping[str, Any]) -> dict[str, Any]:
    """Settings a profile lacks for a workspace that shares the user's files: other workspaces of the user go on as they are."""
    mounts = wanted.profile["UserSettings"]["AutoMountHomeEFS"]
    has = profile.get("UserSettings", {}).get("AutoMountHomeEFS")
    return {"AutoMountHomeEFS": mounts} if mounts == "Enabled" and has != mounts else {}


def stands(workspace: Workspace, described: Described) -> Seen:
    """In the one vocabulary of all services, with what differs from its row."""
    space, app = described.space, described.app
    has_space = workspace.service_type == "sagemaker_studio"
    if has_space and space is None:
        known = "space" in workspace.resources
        return Seen("missing", "AWS has no such space any more") if known else Seen("pending", _why(workspace))
    if space is not None and space["Status"] in _SPACE_STATUSES:
        return Seen(_SPACE_STATUSES[space["Status"]], space.get("FailureReason", ""), described=_parts(described))
    if app is None:
        made = has_space or "app_name" in workspace.resources
        if not made:
            return Seen("pending", _why(workspace))
        return Seen("stopped", volume_gb=_volume(space), described=_parts(described))
    return Seen(
        _APP_STATUSES[app["Status"]],
        app.get("FailureReason", ""),
        instance_type=app.get("ResourceSpec", {}).get("InstanceType", ""),
        volume_gb=_volume(space),
        since=app.get("CreationTime"),
        last_used_at=_used_at(app),
        drift=tuple(_drift(workspace, space, app)),
        described=_parts(described),
    )


def _used_at(app: Mapping[str, Any]) -> datetime | None:
    """AWS moves LastUserActivityTimestamp on at its own health checks, nobody's use or not: then it says nothing."""
    used: datetime | None = app.get("LastUserActivityTimestamp")
    return None if used == app.get("LastHealthCheckTimestamp") else used


def _space_steps(wanted: Mapping[str, Any], found: Found, *, runs: bool) -> list[Step]:
    """Its volume stays as it was made: AWS takes no smaller one, and a larger one was somebody's wish."""
    if found is None or found["Status"] == "Deleting":
        return [Step("create", "space", wanted["SpaceName"], wanted)]
    member = f"{wanted['SpaceSettings']['AppType']}AppSettings"
    settings = {key: value for key, value in wanted["SpaceSettings"][member].items() if not runs or key == _LIFECYCLE}
    if _has(found.get("SpaceSettings", {}).get(member, {}), settings):
        return []
    request = {"SpaceName": wanted["SpaceName"], "SpaceSettings": {member: settings}}
    return [Step("update", "space", wanted["SpaceName"], request)]


def _tag_steps(wanted: Mapping[str, Any], has: Mapping[str, str] | None, noun: str, name: str) -> list[Step]:
    """The tags it lacks, or has with another value; those that others put on it stay."""
    lacking = [tag for tag in wanted["Tags"] if has is not None and has.get(tag["Key"]) != tag["Value"]]
    return [Step("tag", noun, name, {"Tags": lacking})] if lacking else []


def _why(workspace: Workspace) -> str:
    """What kept it from being made, as was written down then."""
    return workspace.detail if workspace.status in ("failed", "pending") else ""


def _has(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Whether all that is wanted is so; AWS tells of more than it was asked for."""
    return all(
        _has(found.get(key, {}), value) if isinstance(value, Mapping) else found.get(key) == value
        for key, value in wanted.items()
    )


def _idle(workspace: Workspace, domain: Mapping[str, Any], app: str, now: datetime) -> dict[str, Any]:
    """What the space says of idleness, within its domain's bounds; nothing in a domain that does not stop what is idle."""
    of_app = domain.get("DefaultUserSettings", {}).get(f"{app}AppSettings", {})
    bounds = of_app.get(_LIFECYCLE, {}).get("IdleSettings", {})
    if bounds.get("LifecycleManagement") != "ENABLED":
        return {}
    longest = bounds.get("MaxIdleTimeoutInMinutes", LONGEST_IDLE_MINUTES)
    minutes = max(bounds.get("MinIdleTimeoutInMinutes", 60), min(idle_minutes(workspace, now), longest))
    return {_LIFECYCLE: {"IdleSettings": {"IdleTimeoutInMinutes": minutes}}}


def _drift(workspace: Workspace, space: Found, app: Mapping[str, Any]) -> list[str]:
    differs = []
    runs_on = app.get("ResourceSpec", {}).get("InstanceType", "")
    if (
        workspace.instance_type
        and app["Status"] in ("Pending", "InService")
        and runs_on not in ("", workspace.instance_type)
    ):
        differs.append(f"it runs on {runs_on}, and was opened on {workspace.instance_type}")
    if (volume := _volume(space)) and volume != workspace.volume_gb:
        differs.append(f"its volume has {volume} GB, and was made with {workspace.volume_gb} GB")
    return differs


def _volume(space: Found) -> int | None:
    settings = (space or {}).get("SpaceSettings") or (space or {}).get("SpaceSettingsSummary") or {}
    found = settings.get("SpaceStorageSettings", {}).get("EbsStorageSettings", {}).get("EbsVolumeSizeInGb")
    return int(found) if found else None


def _app(workspace: Workspace, app_type: str, of: Mapping[str, str], resources: Mapping[str, str]) -> dict[str, Any]:
    spec = {"ResourceSpec": dict(resources)} if resources else {}
    return {"AppType": app_type, "AppName": APP_NAME, **of, **spec, "Tags": tag_list(tags_of(workspace))}


def _image(workspace: Workspace) -> dict[str, str]:
    version = workspace.resources.get("image_version_arn", "")
    if not version:
        return {}
    image = version.replace(":image-version/", ":image/").rpartition("/")[0]
    return {"SageMakerImageArn": image, "SageMakerImageVersionArn": version}


def _app_title(wanted: Desired) -> str:
    return f"{wanted.app['AppType']} of {wanted.app.get('SpaceName') or wanted.app['UserProfileName']}"


def _parts(described: Described) -> dict[str, Any]:
    both = {"space": described.space, "app": described.app}
    return {name: dict(part) for name, part in both.items() if part}


def _enabled(wanted: bool) -> str:
    return "ENABLED" if wanted else "DISABLED"


_SHARED_TAGS = frozenset({"trainmaster:owner", "trainmaster:team"})
"""On what a user's workspaces have in common."""
