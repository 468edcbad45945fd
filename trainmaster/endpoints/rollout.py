"""How traffic moves to a new version, in SageMaker's words: its deployment guardrails. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trainmaster.endpoints.request import Rollout

KEEPING_COUNTS: dict[str, Any] = {
    "RetainAllVariantProperties": True,
    "ExcludeRetainedVariantProperties": [
        {"VariantPropertyType": kind} for kind in ("DesiredWeight", "DataCaptureConfig")
    ],
}
"""For UpdateEndpoint: without it the numbers of instances that autoscaling set are set back."""
LAUNCHING_SECONDS = 3600
"""Allowed for starting and stopping instances, beside the waits that were asked for."""
SHORTEST_TIMEOUT, LONGEST_TIMEOUT = 600, 28_800  # AWS's
LONGEST_WAIT = 3600  # AWS's


def deployment_config(rollout: Rollout, alarm_names: Sequence[str]) -> dict[str, Any] | None:
    """DeploymentConfig for UpdateEndpoint; None where AWS's own default, all at once, is what was asked for.

    All at once there is no step to bake after: the old instances stand by as long instead, while alarms are watched.
    """
    if rollout == Rollout() and not alarm_names:
        return None
    at_once = rollout.kind == "all-at-once"
    keep = rollout.keep_old_seconds + (rollout.wait_seconds if at_once else 0)
    routing: dict[str, Any] = {
        "Type": rollout.kind.upper().replace("-", "_"),
        "WaitIntervalInSeconds": 0 if at_once else rollout.wait_seconds,
    }
    if not at_once:
        size = "CanarySize" if rollout.kind == "canary" else "LinearStepSize"
        routing[size] = {"Type": "CAPACITY_PERCENT", "Value": rollout.step_percent}
    timeout = rollout.waiting_seconds() + LAUNCHING_SECONDS
    config: dict[str, Any] = {
        "BlueGreenUpdatePolicy": {
            "TrafficRoutingConfiguration": routing,
            "TerminationWaitInSeconds": min(keep, LONGEST_WAIT),
            "MaximumExecutionTimeoutInSeconds": min(max(timeout, SHORTEST_TIMEOUT), LONGEST_TIMEOUT),
        }
    }
    if alarm_names:
        config["AutoRollbackConfiguration"] = {"Alarms": [{"AlarmName": name} for name in alarm_names]}
    return config
