"""Alarms on an endpoint's variants: AWS watches them while traffic moves, and takes it back when one goes off."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trainmaster.endpoints.request import Rollout

if TYPE_CHECKING:
    from mypy_boto3_cloudwatch import CloudWatchClient

KINDS = ("errors", "5xx", "latency")
PERIOD_SECONDS = 60
MICROSECONDS = 1000  # in a millisecond; ModelLatency is in microseconds


@dataclass(frozen=True)
class Alarm:
    """One alarm of one variant: it goes off when the statistic of a minute is above the threshold, in the metric's unit."""

    name: str
    endpoint_name: str
    variant: str
    metric: str
    statistic: str
    threshold: float

    def request(self) -> dict[str, Any]:
        """For PutMetricAlarm. A minute without requests is a good one."""
        which = "ExtendedStatistic" if self.statistic.startswith("p") else "Statistic"
        return {
            "AlarmName": self.name,
            "AlarmDescription": f"Brings endpoint {self.endpoint_name} back to what served before, while traffic moves.",
            "Namespace": "AWS/SageMaker",
            "MetricName": self.metric,
            "Dimensions": [
                {"Name": "EndpointName", "Value": self.endpoint_name},
                {"Name": "VariantName", "Value": self.variant},
            ],
            which: self.statistic,
            "Period": PERIOD_SECONDS,
            "EvaluationPeriods": 1,
            "Threshold": self.threshold,
            "ComparisonOperator": "GreaterThanThreshold",
            "TreatMissingData": "notBreaching",
        }


def alarm_names(endpoint_name: str, variants: Iterable[str]) -> list[str]:
    """Of every alarm that may have been made for the endpoint: the first variant's go by the endpoint's name alone."""
    return [_name(endpoint_name, kind, number, variant) for number, variant in enumerate(variants) for kind in KINDS]


def desired_alarms(endpoint_name: str, rollout: Rollout, variants: Sequence[str]) -> tuple[Alarm, ...]:
    """Those that a rollout's limits ask for, of each variant that answers requests; the main one comes first.

    SageMaker sends 0 or 1 to an error metric for every request, so that its average is the share of failures.
    """
    limits: list[tuple[str, str, str, float]] = []
    if rollout.max_error_percent is not None:
        share = rollout.max_error_percent / 100
        limits += [("errors", "InvocationModelErrors", "Average", share)]
        limits += [("5xx", "Invocation5XXErrors", "Average", share)]
    if rollout.max_latency_ms is not None:
        limits += [("latency", "ModelLatency", "p95", float(rollout.max_latency_ms * MICROSECONDS))]
    return tuple(
        Alarm(_name(endpoint_name, kind, number, variant), endpoint_name, variant, metric, statistic, limit)
        for number, variant in enumerate(variants)
        for kind, metric, statistic, limit in limits
    )


def described_alarms(cloudwatch: CloudWatchClient, names: Sequence[str]) -> frozenset[Alarm]:
    """Those of these names that there are."""
    if not names:
        return frozenset()
    found = cloudwatch.describe_alarms(AlarmNames=list(names), AlarmTypes=["MetricAlarm"])["MetricAlarms"]
    return frozenset(_described(alarm) for alarm in found)


def put_alarm(cloudwatch: CloudWatchClient, alarm: Alarm) -> None:
    """Make it, or make it what it should be."""
    cloudwatch.put_metric_alarm(**alarm.request())


def delete_alarms(cloudwatch: CloudWatchClient, names: Sequence[str]) -> None:
    """Those of these names that there are; AWS would delete none if one were missing."""
    found = described_alarms(cloudwatch, names)
    if found:
        cloudwatch.delete_alarms(AlarmNames=sorted(alarm.name for alarm in found))


def _name(endpoint_name: str, kind: str, number: int, variant: str) -> str:
    return f"{endpoint_name}--{variant}-{kind}" if number else f"{endpoint_name}-{kind}"


def _described(alarm: Mapping[str, Any]) -> Alarm:
    dimensions = {one["Name"]: one["Value"] for one in alarm.get("Dimensions", [])}
    return Alarm(
        alarm["AlarmName"],
        dimensions.get("EndpointName", ""),
        dimensions.get("VariantName", ""),
        alarm.get("MetricName", ""),
        alarm.get("ExtendedStatistic") or alarm.get("Statistic", ""),
        float(alarm.get("Threshold", 0)),
    )
