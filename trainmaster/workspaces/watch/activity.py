"""When workspaces were last in use, as far as anybody can say: by JupyterLab's own API, Canvas's metric, an instance's CPU, network
and GPU. Where there is no data it is unknown, which counts as in use."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import Any
from uuid import UUID

from botocore.exceptions import BotoCoreError, ClientError

from trainmaster.endpoints.watch.datapoints import MOST_PAGES, Points, datapoints, period_of
from trainmaster.errors import TrainmasterError
from trainmaster.training.desk import Desk
from trainmaster.workspaces.watch.jupyter import last_used
from trainmaster.workspaces.workspace import Workspace

PASSING = (ClientError, BotoCoreError, TrainmasterError)
"""What keeps it unknown how one workspace is used, and no other."""
AT_ONCE = 8
"""JupyterLabs that are asked side by side."""
URL_SECONDS = 60
SESSION_SECONDS = 1800
"""The shortest AWS gives."""
CPU_PERCENT = 5.0
NETWORK_BYTES_PER_SECOND = 5_000.0
GPU_PERCENT = 1.0
"""An instance that does no more than this in a period is not in use: less than a shell somebody types in, more than its agents."""
COVERED = 0.8
"""Of the periods of the time it has to be idle for, how many CloudWatch must have: else too little is known."""
_CANVAS = "/aws/sagemaker/Canvas/AppActivity"


@dataclass(frozen=True)
class Activity:
    """When it was last in use; None where nobody can say, and then why."""

    used_at: datetime | None
    why: str = ""


@dataclass(frozen=True)
class Metric:
    """One of CloudWatch's, with whose it is."""

    workspace: UUID
    namespace: str
    name: str
    dimensions: tuple[tuple[str, str], ...]
    statistic: str
    period: int
    least: float = 0.0
    """From how much on it shows use."""

    def query(self, number: int) -> dict[str, Any]:
        dimensions = [{"Name": name, "Value": value} for name, value in self.dimensions]
        metric = {"Namespace": self.namespace, "MetricName": self.name, "Dimensions": dimensions}
        stat = {"Metric": metric, "Period": self.period, "Stat": self.statistic}
        return {"Id": f"m{number}", "MetricStat": stat, "ReturnData": True}


def activities(desk: Desk, workspaces: Sequence[Workspace], now: datetime) -> Mapping[UUID, Activity]:
    """Of each workspace that runs, by its id. One that cannot be asked is unknown, and keeps no other from being asked."""
    by_service: dict[str, list[Workspace]] = defaultdict(list)
    for one in workspaces:
        by_service[one.service_type].append(one)
    return {
        **{one.id: Activity(None, "nothing tells when it was used") for one in workspaces},
        **_of_studios(desk, by_service["sagemaker_studio"], now),
        **_of_canvases(desk, by_service["sagemaker_canvas"], now),
        **_of_instances(desk, by_service["ec2"], now),
    }


def _of_studios(desk: Desk, workspaces: Sequence[Workspace], now: datetime) -> dict[UUID, Activity]:
    # Not LastUserActivityTimestamp: AWS moves it on at its own health checks.
    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = pool.map(lambda workspace: _of_studio(desk, workspace, now), workspaces)
        return {workspace.id: activity for workspace, activity in zip(workspaces, found, strict=True)}


def _of_studio(desk: Desk, workspace: Workspace, now: datetime) -> Activity:
    parts = workspace.resources
    if parts.get("app_type", "JupyterLab") != "JupyterLab" or not parts.get("space"):
        return Activity(None, "only JupyterLab says when it was used")
    try:
        url = desk.client("sagemaker").create_presigned_domain_url(
            DomainId=parts.get("domain_id", ""),
            UserProfileName=parts.get("user_profile", ""),
            SpaceName=parts["space"],
            ExpiresInSeconds=URL_SECONDS,
            SessionExpirationDurationInSeconds=SESSION_SECONDS,
            LandingUri="app:JupyterLab:",
        )["AuthorizedUrl"]
        return Activity(last_used(url, now))
    except PASSING as error:
        return Activity(None, str(error))


def _of_canvases(desk: Desk, workspaces: Sequence[Workspace], now: datetime) -> dict[UUID, Activity]:
    """By the seconds since somebody did something, which Canvas publishes while it runs."""
    wanted = [
        Metric(
            one.id,
            _CANVAS,
            "TimeSinceLastActive",
            (
                ("DomainId", one.resources.get("domain_id", "")),
                ("UserProfileName", one.resources.get("user_profile", "")),
            ),
            "Minimum",
            300,
        )
        for one in workspaces
        if one.resources.get("domain_id") and one.resources.get("user_profile")
    ]
    found, why = _read(desk, wanted, now - timedelta(hours=1), now)
    told = {metric.workspace: points[-1] for metric, points in found.items() if points}
    return {
        one.id: Activity(told[one.id][0] - timedelta(seconds=told[one.id][1]))
        if one.id in told
        else Activity(None, why or "Canvas has published nothing in the last hour")
        for one in workspaces
    }


def _of_instances(desk: Desk, workspaces: Sequence[Workspace], now: datetime) -> dict[UUID, Activity]:
    by_silence: dict[timedelta, list[Workspace]] = defaultdict(list)
    for one in workspaces:
        if one.auto_stop_minutes and one.resources.get("instance_id"):
            by_silence[timedelta(minutes=one.auto_stop_minutes)].append(one)
    activities: dict[UUID, Activity] = {}
    try:
        gpus = _gpu_dimensions(desk) if by_silence else {}
    except PASSING as error:
        return {one.id: Activity(None, f"CloudWatch does not say: {error}") for one in workspaces}
    for silence, alike in by_silence.items():
        period = (
            period_of(silence) if silence > timedelta(days=1) else 300
        )  # without detailed monitoring there is no finer
        wanted = [metric for one in alike for metric in _metrics(one, gpus, period)]
        found, why = _read(desk, wanted, now - silence, now)
        for one in alike:
            of_it = {metric: points for metric, points in found.items() if metric.workspace == one.id}
            activities[one.id] = Activity(None, why) if why else _by_metrics(of_it, silence, now)
    return activities


def _metrics(
    workspace: Workspace, gpus: Mapping[str, Sequence[tuple[tuple[str, str], ...]]], period: int
) -> Iterable[Metric]:
    instance = workspace.resources["instance_id"]
    mine = (("InstanceId", instance),)
    yield Metric(workspace.id, "AWS/EC2", "CPUUtilization", mine, "Maximum", period, CPU_PERCENT)
    for direction in ("NetworkIn", "NetworkOut"):
        yield Metric(workspace.id, "AWS/EC2", direction, mine, "Sum", period, NETWORK_BYTES_PER_SECOND * period)
    for dimensions in gpus.get(instance, ()):
        yield Metric(workspace.id, "CWAgent", "nvidia_smi_utilization_gpu", dimensions, "Maximum", period, GPU_PERCENT)


def _gpu_dimensions(desk: Desk) -> dict[str, list[tuple[tuple[str, str], ...]]]:
    """By instance, those of every GPU that CloudWatch's agent publishes."""
    pages = (
        desk.client("cloudwatch")
        .get_paginator("list_metrics")
        .paginate(Namespace="CWAgent", MetricName="nvidia_smi_utilization_gpu")
    )
    found: dict[str, list[tuple[tuple[str, str], ...]]] = defaultdict(list)
    for page in islice(pages, MOST_PAGES):
        for metric in page["Metrics"]:
            dimensions = tuple((one["Name"], one["Value"]) for one in metric["Dimensions"])
            found[dict(dimensions).get("InstanceId", "")].append(dimensions)
    return found


def _by_metrics(found: Mapping[Metric, Points], silence: timedelta, now: datetime) -> Activity:
    """In use in the last period in which any of them shows it; else, where enough is known, not since the silence began."""
    active = [
        at + timedelta(seconds=metric.period)
        for metric, points in found.items()
        for at, value in points
        if value >= metric.least
    ]
    if active:
        return Activity(min(max(active), now))
    processor = [(metric, points) for metric, points in found.items() if metric.name == "CPUUtilization"]
    for metric, points in processor:
        if len(points) >= COVERED * (silence / timedelta(seconds=metric.period)):
            return Activity(now - silence)
    return Activity(None, "CloudWatch has too little of it")


def _read(
    desk: Desk, wanted: Sequence[Metric], begins: datetime, ends: datetime
) -> tuple[Mapping[Metric, Points], str]:
    """And why nothing could be read, if so."""
    try:
        return (datapoints(desk.client("cloudwatch"), wanted, begins, ends) if wanted else {}), ""
    except PASSING as error:
        return {}, f"CloudWatch does not say: {error}"
