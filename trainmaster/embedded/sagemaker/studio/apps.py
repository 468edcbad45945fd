"""Apps: what people pay for by the hour. A JupyterLab app of a space is a JupyterLab on this machine."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from trainmaster.embedded.faults import Faults
from trainmaster.embedded.sagemaker.studio import attached
from trainmaster.embedded.sagemaker.studio.jupyterlab import Lab, LabFailedError, Labs
from trainmaster.embedded.sagemaker.studio.parts import (
    APP,
    DELETED,
    DELETING,
    DOMAIN,
    FAILED,
    IN_SERVICE,
    LIVING,
    PENDING,
    PROFILE,
    SPACE,
    Parts,
    in_use,
)
from trainmaster.embedded.sagemaker.studio.spaces import Spaces
from trainmaster.embedded.sagemaker.wire import AwsError, Json, invalid

if TYPE_CHECKING:
    from trainmaster.embedded.sagemaker.api import Operation

JUPYTERLAB, CODE_EDITOR, CANVAS = "JupyterLab", "CodeEditor", "Canvas"
_OWNED_BY_SPACE = (JUPYTERLAB, CODE_EDITOR)
_DEFAULT_INSTANCE_TYPE = "ml.t3.medium"
_LISTED_SECONDS = 24 * 3600.0
"""For so long AWS tells of apps that were deleted."""
CLOSE_SECONDS = 10.0

_log = logging.getLogger(__name__)


class Apps:
    """Safe to share between threads. Starts and ends go on in the background, as on AWS."""

    def __init__(self, parts: Parts, spaces: Spaces, labs: Labs, faults: Faults) -> None:
        self._parts, self._spaces, self._labs, self._faults = parts, spaces, labs, faults
        self._lock = threading.Lock()
        self._changes: set[threading.Thread] = set()
        self._healthy: dict[str, float] = {}

    @property
    def operations(self) -> Mapping[str, Operation]:
        return {
            "CreateApp": self._create,
            "DescribeApp": self._described,
            "DeleteApp": self._delete,
            "ListApps": self._list,
        }

    def recover(self) -> None:
        """Start again, in the background, the apps of an earlier process; end those that were ending."""
        for body in self._parts.all(APP):
            if body["Status"] == DELETING:
                self._end(body)
            elif body["Status"] in (PENDING, IN_SERVICE):
                with self._parts.changing(APP, body["Key"]) as changed:
                    changed["Status"] = PENDING
                self._begin(body)

    def close(self) -> None:
        """End every JupyterLab at once; the records keep their statuses for the next `recover`."""
        self._labs.close()
        with self._lock:
            changes = list(self._changes)
        for thread in changes:
            thread.join(CLOSE_SECONDS)

    def delete(self, app: Json) -> None:
        """As DeleteApp does. Raises AwsError when it is gone, failed, or on its way elsewhere."""
        with self._parts.together():
            now = self._parts.known(APP, app["Key"])
            if now["Status"] == DELETED:
                raise invalid(f"App [{now['AppArn']}] has already been deleted.")
            if now["Status"] == FAILED:
                raise invalid(f"App [{now['AppArn']}] previously failed and was automatically deleted.")
            body = self._parts.begin(APP, app["Key"], DELETING, "delete")
        self._in_background(self._end, body)

    def healthy(self, app: Json, now: float) -> None:
        """It was looked at, and answered."""
        self._healthy[app["Run"]] = now

    def visited(self, app: Json) -> None:
        """Somebody opened an app that runs in name only."""
        with self._parts.changing(APP, app["Key"]) as body:
            body["Visited"] = self._parts.account.now()

    def fail(self, app: Json, reason: str) -> None:
        """It ended by itself."""
        with self._parts.together():
            if (now := self._parts.find(APP, app["Key"])) and (now["Run"], now["Status"]) == (app["Run"], IN_SERVICE):
                with self._parts.changing(APP, app["Key"]) as body:
                    body.update(Status=FAILED, FailureReason=reason)

    def _create(self, request: Json) -> Json:
        domain, app_type, name = request["DomainId"], request["AppType"], request["AppName"]
        space_name, profile_name = request.get("SpaceName"), request.get("UserProfileName")
        if (space_name is None) == (profile_name is None):
            raise invalid("Give either UserProfileName or SpaceName.")
        if app_type not in (*_OWNED_BY_SPACE, CANVAS):
            raise invalid(f"The embedded AWS has apps of type JupyterLab, CodeEditor and Canvas, not {app_type}.")
        if (app_type in _OWNED_BY_SPACE) != (space_name is not None):
            raise invalid(f"An app of type {app_type} belongs to a {'SpaceName' if app_type in _OWNED_BY_SPACE else 'UserProfileName'}.")  # fmt: skip
        key = f"{domain}/{space_name or profile_name}/{app_type.lower()}/{name}"
        body = {member: value for member, value in request.items() if member != "Tags"} | {"Run": uuid.uuid4().hex}
        with self._parts.together():
            self._parts.serving(DOMAIN, domain)
            body["ResourceSpec"] = self._resources(request)
            self._check_free(domain, space_name, key)
            self._parts.forget(APP, key)
            arn = self._parts.create(APP, key, body, request.get("Tags"))
        self._begin(self._parts.known(APP, key))
        return {"AppArn": arn}

    def _resources(self, request: Json) -> Json:
        """What it runs on: as it asks, else as its space says, its owner's profile, its domain. Raises AwsError."""
        domain, app_type = request["DomainId"], request["AppType"]
        if app_type == CANVAS:
            self._parts.serving(PROFILE, f"{domain}/{request['UserProfileName']}")
            given: Json = request.get("ResourceSpec", {})
            return {"InstanceType": "system"} | given
        space = self._parts.serving(SPACE, f"{domain}/{request['SpaceName']}")
        settings = space["SpaceSettings"]
        if (kept := settings.get("AppType", app_type)) != app_type:
            raise invalid(f"Space [{space['SpaceArn']}] is for apps of type {kept}, not {app_type}.")
        layers = [*self._spaces.layers(space), settings]
        spec: Json = {"InstanceType": _DEFAULT_INSTANCE_TYPE}
        for layer in layers:
            spec |= layer.get(f"{app_type}AppSettings", {}).get("DefaultResourceSpec", {})
        spec |= request.get("ResourceSpec", {})
        if spec["InstanceType"] == "system":
            raise invalid(f"An app of type {app_type} needs an ml. instance type, not system.")
        attached.check_resource(self._parts.account, app_type, spec, layers)
        return spec

    def _check_free(self, domain: str, space_name: str | None, key: str) -> None:
        for body in self._parts.all(APP, domain):
            if body["Status"] not in LIVING:
                continue
            if body["Key"] == key:
                raise in_use("create", APP, body["AppArn"], f"it already exists and is {body['Status']}")
            if space_name is not None and body.get("SpaceName") == space_name:
                raise in_use("create", APP, self._parts.account.arn(APP.kind, key), f"the space has {body['AppArn']}")

    def _known(self, request: Json) -> Json:
        owner = request.get("SpaceName") or request.get("UserProfileName")
        if owner is None:
            raise invalid("Give either UserProfileName or SpaceName.")
        key = f"{request['DomainId']}/{owner}/{request['AppType'].lower()}/{request['AppName']}"
        body = self._parts.find(APP, key)
        if body is None or not self._is_told(body):
            raise AwsError("ResourceNotFound", f"App [{self._parts.account.arn(APP.kind, key)}] does not exist.")
        return body

    def _described(self, request: Json) -> Json:
        """LastUserActivityTimestamp is moved on by every health check, nobody's use or not: so AWS does, too."""
        app = self._known(request)
        if app["Status"] == IN_SERVICE:
            now = self._parts.account.now()
            checked = now if self.lab(app) is None else self._healthy.get(app["Run"], app["Since"])
            app |= {"LastHealthCheckTimestamp": checked, "LastUserActivityTimestamp": checked}
        return app

    def _delete(self, request: Json) -> Json:
        self.delete(self._known(request))
        return {}

    def _list(self, request: Json) -> Json:
        domain, profile = request.pop("DomainIdEquals", None), request.pop("UserProfileNameEquals", None)
        space = request.pop("SpaceNameEquals", None)
        if space is not None and profile is not None:
            raise invalid("Give either UserProfileNameEquals or SpaceNameEquals.")
        found = [
            body
            for body in self._parts.all(APP, domain)
            if space in (None, body.get("SpaceName"))
            and profile in (None, body.get("UserProfileName"))
            and self._is_told(body)
        ]
        return self._parts.page(request, "Apps", found)

    def _is_told(self, app: Json) -> bool:
        age = self._parts.account.now() - app["LastModifiedTime"]
        return app["Status"] not in (DELETED, FAILED) or age < _LISTED_SECONDS

    def _begin(self, app: Json) -> None:
        if app["AppType"] == JUPYTERLAB and self._labs.are_real:
            self._in_background(self._start, app)
        else:
            self._parts.in_a_while(lambda: self._start(app))

    def _start(self, app: Json) -> None:
        fault = self._faults.take("LaunchingMLInstances", app.get("SpaceName", ""))
        try:
            if fault:
                time.sleep(fault.latency)
                if fault.error:
                    raise LabFailedError(f"{fault.error}: {fault.message}")
            if app["AppType"] == JUPYTERLAB and self._labs.are_real:
                self._labs.start(app["Key"], self._spaces.folder(app))
        except LabFailedError as failed:
            if self._labs.are_closed:
                return  # it did not fail: the next start's recovery begins anew
            self._parts.reach(APP, app["Key"], FAILED, FailureReason=str(failed)[:1024])
            return
        now = self._parts.account.now()
        self._parts.reach(APP, app["Key"], IN_SERVICE, Since=now)

    def _end(self, app: Json) -> None:
        self._labs.stop(app["Key"])
        self._healthy.pop(app["Run"], None)
        self._parts.in_a_while(lambda: self._ended(app))

    def _ended(self, app: Json) -> None:
        with self._parts.changing(APP, app["Key"]) as body:
            body["Status"] = DELETED

    def lab(self, app: Json) -> Lab | None:
        """The JupyterLab of an app, where one runs."""
        return self._labs.of(app["Key"])

    def _in_background(self, change: Callable[[Json], None], app: Json) -> None:
        def carried_out() -> None:
            try:
                change(app)
            except Exception:  # noqa: BLE001 - nobody waits for this thread: the log is told, whatever it is
                if not self._labs.are_closed:
                    _log.exception("App %s", app["AppArn"])
            finally:
                with self._lock:
                    self._changes.discard(threading.current_thread())

        thread = threading.Thread(target=carried_out, name=f"app {app['Key']}", daemon=True)
        with self._lock:
            self._changes.add(thread)
        thread.start()
