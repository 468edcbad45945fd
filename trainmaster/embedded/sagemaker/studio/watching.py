"""Looks after the apps that run: what ended by itself has failed, and what nobody uses is ended when its idle settings say so."""

from __future__ import annotations

import logging
import threading
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from trainmaster.embedded.sagemaker.account import Account
from trainmaster.embedded.sagemaker.studio.apps import CANVAS, Apps
from trainmaster.embedded.sagemaker.studio.idleness import Absence, Activity, idle_seconds, timeout_minutes
from trainmaster.embedded.sagemaker.studio.jupyterlab import LabSilentError
from trainmaster.embedded.sagemaker.studio.parts import APP, IN_SERVICE, SPACE, Parts
from trainmaster.embedded.sagemaker.studio.spaces import Spaces
from trainmaster.embedded.sagemaker.wire import AwsError, Json

LOOK_SECONDS = 5.0
PUBLISH_SECONDS = 60.0
CANVAS_NAMESPACE = "/aws/sagemaker/Canvas/AppActivity"
_MOST_METRICS = 1000
"""In one PutMetricData."""

_log = logging.getLogger(__name__)


class Watch:
    """Begins with `start`. Unknown is active: a JupyterLab that does not answer is left alone."""

    def __init__(self, account: Account, parts: Parts, spaces: Spaces, apps: Apps) -> None:
        self._account, self._parts, self._spaces, self._apps = account, parts, spaces, apps
        self._lock, self._closed = threading.Lock(), threading.Event()
        self._absences: dict[str, Absence] = {}
        self._published: dict[str, float] = {}
        self._thread = threading.Thread(target=self._run, name="studio-watch", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Back when it looks no more."""
        self._closed.set()
        if self._thread.is_alive():
            self._thread.join()

    def leave(self, owner: str, minutes: float) -> None:
        """As if nobody had used the app of a space, or a profile's Canvas, for so many minutes. Raises AwsError when none runs."""
        running = [body["Key"] for body in self._running() if _owner(body) == owner]
        if not running:
            raise AwsError("ResourceNotFound", f"No app of {owner} is InService.", status=404)
        with self._lock:
            self._absences.update(dict.fromkeys(running, Absence(self._account.now(), minutes * 60)))

    def _run(self) -> None:
        while not self._closed.wait(LOOK_SECONDS):
            try:
                self._look()
            except Exception:  # noqa: BLE001 - whatever it is, the next look may do; the log is told
                if not self._closed.is_set():
                    _log.exception("Studio's apps could not be looked after.")

    def _look(self) -> None:
        running = self._running()
        for app in running:
            activity = self._activity(app)
            if activity is None or app["AppType"] == CANVAS:
                continue
            minutes = self._timeout(app)
            if minutes is not None and self._idle_seconds(app, activity) >= minutes * 60:
                self._end(app, minutes)
        self._publish([app for app in running if app["AppType"] == CANVAS])

    def _activity(self, app: Json) -> Activity | None:
        """When it was last used; None where it ended by itself or does not say. What runs in name only can only be visited."""
        lab = self._apps.lab(app)
        if lab is None:
            return _visit(app)
        if (code := lab.ended) is not None:
            self._apps.fail(app, f"JupyterLab ended with exit code {code}.")
            return None
        try:
            activity = lab.activity()
        except LabSilentError as silent:
            _log.warning("%s: %s", app["AppArn"], silent)
            return None
        self._apps.healthy(app, self._account.now())
        return activity

    def _end(self, app: Json, minutes: int) -> None:
        _log.info("%s was idle for %d minutes and is ended.", app["AppArn"], minutes)
        try:
            self._apps.delete(app)
        except AwsError as refused:  # somebody else was quicker
            _log.info("%s", refused)

    def _timeout(self, app: Json) -> int | None:
        space = self._parts.find(SPACE, f"{app['DomainId']}/{app['SpaceName']}")
        if space is None:
            return None
        return timeout_minutes(app["AppType"], self._spaces.layers(space), space["SpaceSettings"])

    def _idle_seconds(self, app: Json, activity: Activity) -> float:
        with self._lock:
            absence = self._absences.get(app["Key"], Absence())
        return idle_seconds(activity, app["Since"], self._account.now(), absence)

    def _publish(self, canvases: list[Json]) -> None:
        """As Canvas tells CloudWatch, once a minute, for how many seconds nobody did anything."""
        now = self._account.now()
        due = [app for app in canvases if now - self._published.get(app["Run"], 0.0) >= PUBLISH_SECONDS]
        self._published = {run: at for run, at in self._published.items() if now - at < PUBLISH_SECONDS}
        self._published |= {app["Run"]: now for app in due}
        data: list[Any] = [
            {
                "MetricName": "TimeSinceLastActive",
                "Dimensions": [
                    {"Name": "DomainId", "Value": app["DomainId"]},
                    {"Name": "UserProfileName", "Value": app["UserProfileName"]},
                ],
                "Value": self._idle_seconds(app, _visit(app)),
                "Unit": "Seconds",
            }
            for app in due
        ]
        for begin in range(0, len(data), _MOST_METRICS):
            try:
                self._account.cloudwatch.put_metric_data(
                    Namespace=CANVAS_NAMESPACE, MetricData=data[begin : begin + _MOST_METRICS]
                )
            except (ClientError, BotoCoreError) as error:
                _log.warning("Canvas could not publish its activity: %s", error)

    def _running(self) -> list[Json]:
        return [body for body in self._parts.all(APP) if body["Status"] == IN_SERVICE]


def _visit(app: Json) -> Activity:
    return Activity(app.get("Visited", 0.0), busy=False)


def _owner(app: Json) -> str:
    owner: str = app.get("SpaceName") or app["UserProfileName"]
    return owner
