"""Spaces: each has a folder of its own, kept while apps come and go, gone with the space."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from trainmaster.embedded.sagemaker.studio.idleness import check_timeout
from trainmaster.embedded.sagemaker.studio.parts import (
    APP,
    DELETING,
    DOMAIN,
    LIVING,
    PROFILE,
    SPACE,
    UPDATING,
    Parts,
    in_use,
    merged,
)
from trainmaster.embedded.sagemaker.wire import Json, invalid

if TYPE_CHECKING:
    from trainmaster.embedded.sagemaker.api import Operation

_APP_SETTINGS = {"JupyterLab": "JupyterLabAppSettings", "CodeEditor": "CodeEditorAppSettings"}
_SMALLEST_GB = 5


class Spaces:
    def __init__(self, parts: Parts) -> None:
        self._parts, self._folder = parts, parts.account.state / "studio"

    @property
    def operations(self) -> Mapping[str, Operation]:
        return {
            "CreateSpace": self._create,
            "DescribeSpace": lambda request: self._parts.known(SPACE, _key(request)),
            "UpdateSpace": self._update,
            "DeleteSpace": self._delete,
            "ListSpaces": self._list,
        }

    def folder(self, space: Json) -> Path:
        """Where its files are, on this machine."""
        return self._folder / str(space["DomainId"]) / str(space["SpaceName"])

    def recover(self) -> None:
        """End what was on its way when the last process ended."""
        for body in self._parts.all(SPACE):
            if body["Status"] == DELETING:
                self._remove(body)
            else:
                self._parts.settle(SPACE, body["Key"])

    def _create(self, request: Json) -> Json:
        sharing, owner = request.get("SpaceSharingSettings"), request.get("OwnershipSettings")
        if (sharing is None) != (owner is None):
            raise invalid("SpaceSharingSettings and OwnershipSettings go together.")
        settings = request.get("SpaceSettings", {})
        if settings.get("AppType") in _APP_SETTINGS and sharing is None:
            raise invalid(f"A space for {settings['AppType']} needs OwnershipSettings and SpaceSharingSettings.")
        self._check_settings(settings)
        key, domain = _key(request), request["DomainId"]
        body = {member: value for member, value in request.items() if member != "Tags"}
        body["SpaceSettings"] = merged(
            {"SpaceStorageSettings": {"EbsStorageSettings": {"EbsVolumeSizeInGb": _SMALLEST_GB}}}, settings
        )
        with self._parts.together():
            domain_body = self._parts.serving(DOMAIN, domain)
            layers = [domain_body["DefaultUserSettings"]]
            if owner:
                profile = self._parts.serving(PROFILE, f"{domain}/{owner['OwnerUserProfileName']}")
                layers.append(profile.get("UserSettings", {}))
            check_timeout(settings, layers)
            arn = self._parts.create(
                SPACE, key, body | _summaries(body) | {"Url": f"{self._parts.account.endpoint_url}/_studio/{key}"},
                request.get("Tags"),
            )  # fmt: skip
        self.folder(body).mkdir(parents=True, exist_ok=True, mode=0o700)
        self._parts.settle(SPACE, key)
        return {"SpaceArn": arn}

    def _update(self, request: Json) -> Json:
        key, given = _key(request), request.get("SpaceSettings", {})
        self._check_settings(given)
        with self._parts.together():
            space = self._parts.known(SPACE, key)
            after = merged(space["SpaceSettings"], given)
            if self._apps(request) and _machine(after) != _machine(space["SpaceSettings"]):
                raise in_use("update", SPACE, space["SpaceArn"], "App(s) are associated with it; delete them first")
            if (now := _volume(after)) < (before := _volume(space["SpaceSettings"])):
                raise invalid(f"EbsVolumeSizeInGb cannot be decreased from {before} to {now}.")
            check_timeout(given, self.layers(space))
            self._parts.begin(SPACE, key, UPDATING, "update")
            with self._parts.changing(SPACE, key) as body:
                body["SpaceSettings"] = after
                body["SpaceDisplayName"] = request.get("SpaceDisplayName", body.get("SpaceDisplayName"))
                body.update(_summaries(body))
        self._parts.settle(SPACE, key)
        return {"SpaceArn": space["SpaceArn"]}

    def _delete(self, request: Json) -> Json:
        key = _key(request)
        with self._parts.together():
            arn = self._parts.known(SPACE, key)["SpaceArn"]
            if self._apps(request):
                raise in_use("delete", SPACE, arn, "App(s) are associated with it")
            space = self._parts.begin(SPACE, key, DELETING, "delete")
        self._parts.in_a_while(lambda: self._remove(space))
        return {}

    def _list(self, request: Json) -> Json:
        domain, contains = request.pop("DomainIdEquals", None), request.pop("SpaceNameContains", "")
        found = [body for body in self._parts.all(SPACE, domain) if contains in body["SpaceName"]]
        return self._parts.page(request, "Spaces", found)

    def layers(self, space: Json) -> list[Json]:
        """The settings that hold for its apps: the domain's, then its owner's."""
        domain = self._parts.known(DOMAIN, space["DomainId"])
        owner = space.get("OwnershipSettings", {}).get("OwnerUserProfileName", "")
        profile = self._parts.find(PROFILE, f"{space['DomainId']}/{owner}") or {}
        return [domain["DefaultUserSettings"], profile.get("UserSettings", {})]

    def _remove(self, space: Json) -> None:
        for app in self._parts.all(APP, space["DomainId"]):
            if app.get("SpaceName") == space["SpaceName"]:
                self._parts.forget(APP, app["Key"])
        shutil.rmtree(self.folder(space), ignore_errors=True)
        self._parts.forget(SPACE, space["Key"])

    def _apps(self, request: Json) -> list[Json]:
        return [
            body
            for body in self._parts.all(APP, request["DomainId"])
            if body.get("SpaceName") == request["SpaceName"] and body["Status"] in LIVING
        ]

    def _check_settings(self, settings: Json) -> None:
        kept = settings.get("AppType")
        for app_type, member in _APP_SETTINGS.items():
            if kept and kept != app_type and member in settings:
                raise invalid(f"{member} cannot be given to a space whose AppType is {kept}.")


def _summaries(body: Json) -> Json:
    """What ListSpaces says of the settings."""
    settings = body["SpaceSettings"]
    found: Json = {
        "SpaceSettingsSummary": {
            "AppType": settings.get("AppType"),
            "SpaceStorageSettings": settings["SpaceStorageSettings"],
        }
    }
    if "SpaceSharingSettings" in body:
        found["SpaceSharingSettingsSummary"] = body["SpaceSharingSettings"]
        found["OwnershipSettingsSummary"] = body["OwnershipSettings"]
    return found


def _machine(settings: Json) -> list[Json]:
    """What cannot be changed under an app that runs."""
    specs = [settings.get(member, {}).get("DefaultResourceSpec", {}) for member in _APP_SETTINGS.values()]
    return [*specs, settings["SpaceStorageSettings"], {"AppType": settings.get("AppType")}]


def _volume(settings: Json) -> int:
    return int(settings["SpaceStorageSettings"]["EbsStorageSettings"]["EbsVolumeSizeInGb"])


def _key(request: Json) -> str:
    return f"{request['DomainId']}/{request['SpaceName']}"
