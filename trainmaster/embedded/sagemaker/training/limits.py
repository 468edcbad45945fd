"""The account's quotas as CreateTrainingJob enforces them. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from trainmaster.embedded.sagemaker.wire import AwsError, Json

LONGEST_RUNTIME = "Longest run time for a training job"

Allowed = Callable[[str], float | None]
"""From a quota's name to what is allowed; None when there is no such quota."""


def anything(_name: str) -> None:
    """No quotas at all."""


def check(request: Json, running: Sequence[Json], pools: Sequence[Json], allowed: Allowed) -> None:
    """Raises AWS's ResourceLimitExceeded for the first quota that the job would exceed.

    `running` are the jobs that have not ended, `pools` those whose instances are kept warm.
    """
    resources, spot = request["ResourceConfig"], bool(request.get("EnableManagedSpotTraining"))
    instance_type, count, kind = resources["InstanceType"], resources["InstanceCount"], "spot " if spot else ""
    like_it = [job for job in running if bool(job.get("EnableManagedSpotTraining")) == spot]
    _require(allowed, LONGEST_RUNTIME, 0, request["StoppingCondition"]["MaxRuntimeInSeconds"], "Seconds")
    _require(allowed, f"Maximum number of instances per {kind}training job", 0, count)
    _require(allowed, f"Number of instances across all {kind}training jobs", _instances(like_it), count)
    of_type = f"{instance_type} for {kind}training job usage"
    _require(allowed, of_type, _instances(like_it, instance_type), count)
    if resources.get("KeepAlivePeriodInSeconds"):
        keeping = [job for job in running if job["ResourceConfig"].get("KeepAlivePeriodInSeconds")]
        used = _instances([*keeping, *pools], instance_type)
        _require(allowed, f"{instance_type} for training warm pool usage", used, count)


def _instances(jobs: Sequence[Json], instance_type: str | None = None) -> int:
    resources = [job["ResourceConfig"] for job in jobs]
    return sum(each["InstanceCount"] for each in resources if instance_type in (None, each["InstanceType"]))


def _require(allowed: Allowed, name: str, used: int, more: int, unit: str = "Instances") -> None:
    limit = allowed(name)
    if limit is not None and used + more > limit:
        raise AwsError(
            "ResourceLimitExceeded",
            f"The account-level service limit '{name}' is {limit:.0f} {unit}, with current utilization of {used} {unit} and a"
            f" request delta of {more} {unit}. Please use AWS Service Quotas to request an increase for this quota. If AWS"
            " Service Quotas is not available, contact AWS support to request an increase for this quota.",
        )
