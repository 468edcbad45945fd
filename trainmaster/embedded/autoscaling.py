"""Application Auto Scaling over moto's: variants of endpoints whose number of instances really follows their traffic."""

from __future__ import annotations

import json
import logging
import math
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from moto.applicationautoscaling.models import applicationautoscaling_backends
from werkzeug.wrappers import Response

from trainmaster.embedded.calls import Call
from trainmaster.embedded.sagemaker.account import Account
from trainmaster.embedded.sagemaker.serving.metrics import MINUTE, InvocationMetrics, Series
from trainmaster.embedded.sagemaker.wire import AwsError, Json, invalid

SERVICE = "application-autoscaling"
DIMENSION = "sagemaker:variant:DesiredInstanceCount"
METRIC = "SageMakerVariantInvocationsPerInstance"
LOOK_SECONDS = 1.0
COOLDOWN_SECONDS = 300
"""AWS's, of both directions, for variants of endpoints."""
QUIET_MINUTES = 3
"""How long a variant must have had less than its share before it loses instances; AWS waits for fifteen."""
QUIET_SHARE = 0.9
_RESOURCE = re.compile(r"endpoint/(?P<endpoint>[^/]+)/variant/(?P<variant>[^/]+)")

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Target:
    """A variant that is registered, and what its policy asks for; without one only the limits hold."""

    endpoint: str
    variant: str
    least: int
    most: int
    policy: str | None = None
    invocations: float = math.inf
    scales_in: bool = True
    out_cooldown: float = COOLDOWN_SECONDS
    in_cooldown: float = COOLDOWN_SECONDS


@dataclass(frozen=True)
class Change:
    """To how many instances, and why, in AWS's words."""

    instances: int
    cause: str


def change(target: Target, instances: int, minutes: Sequence[float | None], rested: float) -> Change | None:
    """What becomes of a variant with so many instances; None when nothing does.

    `minutes` are invocations per instance, newest first, the first minute still running; None is one without any, of
    which AWS knows nothing and so takes no instance away. `rested` are the seconds since the last change.
    """
    if instances < target.least:
        return Change(target.least, f"minimum capacity was set to {target.least}")
    if instances > target.most:
        return Change(target.most, f"maximum capacity was set to {target.most}")
    return _followed(target, instances, minutes, rested) if target.policy else None


def _followed(target: Target, instances: int, minutes: Sequence[float | None], rested: float) -> Change | None:
    now = minutes[0] or 0.0
    if now > target.invocations:
        wanted = min(math.ceil(instances * now / target.invocations), target.most)
        if wanted > instances and rested >= target.out_cooldown:
            return Change(wanted, f"monitor alarm AlarmHigh in state ALARM triggered policy {target.policy}")
        return None
    past = minutes[1 : QUIET_MINUTES + 1]
    known = [minute for minute in past if minute is not None]
    quiet = len(known) == QUIET_MINUTES and max(known) < QUIET_SHARE * target.invocations
    if quiet and target.scales_in and rested >= target.in_cooldown:
        wanted = max(math.ceil(instances * max([*known, now]) / target.invocations), target.least)
        if wanted < instances:
            return Change(wanted, f"monitor alarm AlarmLow in state ALARM triggered policy {target.policy}")
    return None


class Autoscaling:
    """Answers the service's calls, and looks after what they registered once a second until it is closed."""

    def __init__(
        self,
        account: Account,
        metrics: InvocationMetrics,
        instances: Callable[[str, str], int | None],
        resize: Callable[[str, str, int], None],
    ) -> None:
        """`instances` says how many a variant has, None where that cannot be changed now; `resize` raises AwsError."""
        self._account, self._metrics, self._instances, self._resize = account, metrics, instances, resize
        self._changed: dict[tuple[str, str], float] = {}
        self._activities: deque[Json] = deque(maxlen=1000)
        self._closed = threading.Event()
        self._looking = threading.Thread(target=self._look_after, name="autoscaling", daemon=True)

    def start(self) -> None:
        for target in self.targets():
            if self._account.records.get("endpoint", target.endpoint) is None:
                self.deregister(target.endpoint)  # it was deleted; the journal of calls does not know that
        self._looking.start()

    def close(self) -> None:
        self._closed.set()
        if self._looking.is_alive():
            self._looking.join(LOOK_SECONDS * 2)

    def answer(self, call: Call, others: Callable[[Call], Response]) -> Response:
        """The answer of `others`, or ours where they lack something. Raises AwsError for what is not embedded."""
        request = _asked(call)
        if request.get("ServiceNamespace") != "sagemaker" or request.get("ScalableDimension", DIMENSION) != DIMENSION:
            return others(call)
        if call.operation == "DescribeScalingActivities":
            said = [
                one
                for one in list(self._activities)
                if request.get("ResourceId", one["ResourceId"]) == one["ResourceId"]
            ]
            return Response(json.dumps({"ScalingActivities": said}), content_type="application/x-amz-json-1.1")
        if call.operation == "RegisterScalableTarget":
            self._check_resource(request)
        if call.operation == "PutScalingPolicy":
            _check_policy(request)
        response = others(call)
        if call.operation == "DeregisterScalableTarget" and response.status_code == 200:
            self._forget(str(request["ResourceId"]))
        return response

    def targets(self) -> list[Target]:
        """What is registered now."""
        backend = self._backend()
        policies = {
            policy.resource_id: policy
            for policy in list(backend.policies.values())
            if policy.scalable_dimension == DIMENSION
        }
        return [
            _target(target, policies.get(resource), found["endpoint"], found["variant"])
            for resource, target in list(backend.targets.get(DIMENSION, {}).items())
            if (found := _RESOURCE.fullmatch(resource))
        ]

    def deregister(self, endpoint: str) -> None:
        """As AWS does with the variants of an endpoint that is deleted."""
        for target in self.targets():
            if target.endpoint == endpoint:
                resource = f"endpoint/{endpoint}/variant/{target.variant}"
                self._backend().targets[DIMENSION].pop(resource, None)
                self._forget(resource)

    def _look_after(self) -> None:
        while not self._closed.wait(LOOK_SECONDS):
            for target in self.targets():
                try:
                    self._follow(target)
                except Exception:  # noqa: BLE001  # one variant that cannot be scaled must not keep the others from it
                    _log.exception("Autoscaling of endpoint %s failed.", target.endpoint)

    def _follow(self, target: Target) -> None:
        instances = self._instances(target.endpoint, target.variant)
        if instances is None:
            return
        key = (target.endpoint, target.variant)
        rested = time.monotonic() - self._changed.get(key, -math.inf)
        wanted = change(target, instances, self._minutes(target), rested)
        if wanted is None:
            return
        self._changed[key] = time.monotonic()
        status, message = "Successful", f"Successfully set desired instance count to {wanted.instances}."
        try:
            self._resize(target.endpoint, target.variant, wanted.instances)
        except AwsError as error:
            status, message = "Failed", f"Failed to set desired instance count to {wanted.instances}. {error.message}"
        self._activities.appendleft(
            {
                "ActivityId": str(uuid4()),
                "ServiceNamespace": "sagemaker",
                "ResourceId": f"endpoint/{target.endpoint}/variant/{target.variant}",
                "ScalableDimension": DIMENSION,
                "Description": f"Setting desired instance count to {wanted.instances}.",
                "Cause": wanted.cause,
                "StartTime": self._account.now(),
                "EndTime": self._account.now(),
                "StatusCode": status,
                "StatusMessage": message,
            }
        )

    def _minutes(self, target: Target) -> list[float | None]:
        series = Series(target.endpoint, target.variant, "InvocationsPerInstance")
        running = int(time.time() // MINUTE) * MINUTE
        found = (
            self._metrics.during(series, start, start + MINUTE)
            for start in (running - MINUTE * back for back in range(QUIET_MINUTES + 1))
        )
        return [values.total if values else None for values in found]

    def _check_resource(self, request: Json) -> None:
        resource = str(request.get("ResourceId", ""))
        found = _RESOURCE.fullmatch(resource)
        body = self._account.records.get("endpoint", found["endpoint"]) if found else None
        variants = {plan["name"]: plan for plan in body["Plan"]} if body else {}
        if not found or found["variant"] not in variants or variants[found["variant"]]["serverless"]:
            raise invalid(
                f"No scalable resource found for service namespace: sagemaker, resource ID: {resource}, "
                f"scalable dimension: {DIMENSION}"
            )
        if request.get("MinCapacity", 1) < 1 or request.get("MaxCapacity", 1) < request.get("MinCapacity", 1):
            raise invalid("MinCapacity must be at least 1, and MaxCapacity at least MinCapacity.")

    def _forget(self, resource: str) -> None:
        """A target's policies go with it."""
        policies = self._backend().policies
        for key in [key for key, policy in policies.items() if policy.resource_id == resource]:
            del policies[key]

    def _backend(self) -> Any:
        return applicationautoscaling_backends[self._account.account_id][self._account.region]


def _asked(call: Call) -> Json:
    try:
        request = json.loads(call.request.get_data() or b"{}")
    except ValueError:
        request = None
    if not isinstance(request, dict):
        raise AwsError("SerializationException", "The request body must be a JSON object.")
    return request


def _check_policy(request: Json) -> None:
    tracking = request.get("TargetTrackingScalingPolicyConfiguration") or {}
    metric = (tracking.get("PredefinedMetricSpecification") or {}).get("PredefinedMetricType")
    if request.get("PolicyType") != "TargetTrackingScaling" or metric != METRIC:
        raise invalid(f"The embedded AWS scales variants by TargetTrackingScaling of {METRIC} only.")
    if not tracking.get("TargetValue", 0) > 0:
        raise invalid("TargetValue must be greater than 0.")


def _target(registered: Any, policy: Any, endpoint: str, variant: str) -> Target:
    limits = (int(registered.min_capacity), int(registered.max_capacity))
    if policy is None:
        return Target(endpoint, variant, *limits)
    asked = policy.target_tracking_scaling_policy_configuration
    return Target(
        endpoint, variant, *limits, policy.policy_name, float(asked["TargetValue"]),
        not asked.get("DisableScaleIn", False),
        float(asked.get("ScaleOutCooldown", COOLDOWN_SECONDS)), float(asked.get("ScaleInCooldown", COOLDOWN_SECONDS)),
    )  # fmt: skip
