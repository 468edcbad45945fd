"""Instances that are kept, and billed, after a job for the next one: how a job's WarmPoolStatus changes. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable

from trainmaster.embedded.sagemaker.wire import Json

_SAME = ("RoleArn", "VpcConfig", "EnableNetworkIsolation", "EnableInterContainerTrafficEncryption")
_SAME_RESOURCES = ("InstanceType", "InstanceCount", "VolumeSizeInGB", "VolumeKmsKeyId")


def begin(job: Json) -> None:
    """Of a job that has just been created."""
    if job["ResourceConfig"].get("KeepAlivePeriodInSeconds"):
        job["WarmPoolStatus"] = {"Status": "InUse"}


def keep(job: Json) -> None:
    """Of a job that has just ended: only a completed one leaves its instances."""
    if "WarmPoolStatus" not in job:
        return
    kept = job["TrainingJobStatus"] == "Completed" and job["ResourceConfig"].get("KeepAlivePeriodInSeconds")
    job["WarmPoolStatus"] = {
        "Status": "Available" if kept else "Terminated",
        "ResourceRetainedBillableTimeInSeconds": 0,
    }


def is_available(job: Json) -> bool:
    """As of the last `settle`."""
    return bool(job.get("WarmPoolStatus", {}).get("Status") == "Available")


def settle(job: Json, now: float) -> None:
    """Bring a pool to the present: what it has cost so far, and its end when its time has passed."""
    if not is_available(job):
        return
    period = job["ResourceConfig"].get("KeepAlivePeriodInSeconds", 0)
    kept = max(now - job["TrainingEndTime"], 0.0)
    status = job["WarmPoolStatus"]
    status["ResourceRetainedBillableTimeInSeconds"] = math.ceil(min(kept, period))
    if kept >= period:
        status["Status"] = "Terminated"
        job["LastModifiedTime"] = job["TrainingEndTime"] + period


def reuse(job: Json, by: str, now: float) -> None:
    """Its instances go over to another job, which pays for them from now on."""
    settle(job, now)
    job["WarmPoolStatus"].update(Status="Reused", ReusedByJob=by)
    job["LastModifiedTime"] = now


def change(job: Json, period: int, now: float) -> None:
    """UpdateTrainingJob: another period from the job's end, 0 to give the instances back now."""
    settle(job, now)
    job["ResourceConfig"]["KeepAlivePeriodInSeconds"] = period
    if is_available(job) and not period:
        job["WarmPoolStatus"]["Status"] = "Terminated"
    settle(job, now)
    job["LastModifiedTime"] = now


def matching(pools: Iterable[Json], request: Json) -> Json | None:
    """The first pool a new job may run on: it asks for the same of all that decides how instances are set up."""
    if request.get("EnableManagedSpotTraining") or not request["ResourceConfig"].get("KeepAlivePeriodInSeconds"):
        return None
    return next((pool for pool in pools if is_available(pool) and _is_alike(pool, request)), None)


def _is_alike(pool: Json, request: Json) -> bool:
    ours, theirs = pool["ResourceConfig"], request["ResourceConfig"]
    return all((pool.get(name) or None) == (request.get(name) or None) for name in _SAME) and all(
        ours.get(name) == theirs.get(name) for name in _SAME_RESOURCES
    )
