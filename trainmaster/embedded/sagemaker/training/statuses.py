"""How a training job's record changes from status to status, and what the job is billed. Pure."""

from __future__ import annotations

import math

from trainmaster.embedded.sagemaker.wire import Json

TERMINAL = frozenset({"Completed", "Failed", "Stopped"})

SPOT_SHARE = 0.3
"""Of the on-demand price a managed spot job pays this share here, all through its BillableTimeInSeconds, as on AWS.
AWS's own discount varies by type and hour up to 90 %; 70 % is usual."""

MESSAGES = {
    "Starting": "Preparing the instances for training",
    "Pending": "Training job waiting for capacity",
    "Downloading": "Downloading input data",
    "Training": "Training image download completed. Training in progress.",
    "Interrupted": "Spot instance was interrupted",
    "Restarting": "Restarting the training job on a new instance",
    "Stopping": "Stopping the training job",
    "Uploading": "Uploading generated training model",
    "Completed": "Training job completed",
    "Failed": "Training job failed",
    "Stopped": "Training job stopped",
    "MaxRuntimeExceeded": "Training job runtime exceeded MaxRuntimeInSeconds provided",
    "MaxWaitTimeExceeded": "Training job exceeded MaxWaitTimeInSeconds provided",
}


def move(job: Json, secondary: str, now: float, status: str | None = None, message: str | None = None) -> None:
    """Enter a secondary status: the one before ends, the new one begins; the job's own status changes when given."""
    message = message or MESSAGES[secondary]
    transitions = job.setdefault("SecondaryStatusTransitions", [])
    if transitions and transitions[-1]["Status"] == secondary:
        transitions[-1]["StatusMessage"] = message
    else:
        if transitions:
            transitions[-1]["EndTime"] = now
        transitions.append({"Status": secondary, "StartTime": now, "StatusMessage": message})
    job.update(SecondaryStatus=secondary, LastModifiedTime=now)
    if status:
        job["TrainingJobStatus"] = status


def finish(job: Json, status: str, now: float, *, secondary: str | None = None, reason: str | None = None) -> None:
    """Enter a terminal status. `reason` becomes FailureReason, cut to AWS's 1,024 characters."""
    assert status in TERMINAL, status
    move(job, secondary or status, now, status, reason)
    job["SecondaryStatusTransitions"][-1]["EndTime"] = now
    if reason:
        job["FailureReason"] = reason[:1024]
    if "TrainingStartTime" in job:
        job["TrainingEndTime"] = now


def bill(job: Json, seconds: float) -> None:
    """Note how long the instances were up; a job that never got any has no training and no billable time, as on AWS."""
    if seconds <= 0:
        return
    share = SPOT_SHARE if job.get("EnableManagedSpotTraining") else 1.0
    job["TrainingTimeInSeconds"] = math.ceil(seconds)
    job["BillableTimeInSeconds"] = max(1, math.ceil(seconds * share))


def algorithm_error(failure: str, exit_code: int) -> str:
    """AWS's FailureReason for a container that failed: what it wrote to /opt/ml/output/failure and how it exited."""
    prefix, suffix = "AlgorithmError: ", f", exit code: {exit_code}"
    return prefix + failure[: 1024 - len(prefix) - len(suffix)] + suffix
