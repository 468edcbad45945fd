"""Metrics read from a job's log by its MetricDefinitions: the last value of each for Describe, all of them for CloudWatch."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import regex

from trainmaster.embedded.sagemaker.wire import Json

if TYPE_CHECKING:
    from mypy_boto3_cloudwatch import CloudWatchClient
    from mypy_boto3_cloudwatch.type_defs import MetricDatumTypeDef

NAMESPACE = "/aws/sagemaker/TrainingJobs"
REGEX_SECONDS = 0.5
"""A pattern that needs longer for one line is not tried again: a bad regex must not stall a job's log."""


@dataclass(frozen=True)
class Measurement:
    """A metric's value in a log line written at `timestamp` (epoch milliseconds)."""

    name: str
    value: float
    timestamp: int


class MetricDefinitions:
    """Raises regex.error when a Regex is none."""

    def __init__(self, definitions: Iterable[Json]) -> None:
        self._patterns = [(each["Name"], regex.compile(each["Regex"])) for each in definitions]

    def measurements(self, text: str, timestamp: int) -> Iterator[Measurement]:
        """Every finite number the first group of a definition's regex matches in the line."""
        for name, pattern in self._patterns:
            try:
                for match in pattern.finditer(text, timeout=REGEX_SECONDS):
                    value = _number(match.group(1) if pattern.groups else match.group())
                    if value is not None:
                        yield Measurement(name, value, timestamp)
            except TimeoutError:
                self._patterns = [each for each in self._patterns if each[1] is not pattern]


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) else None


class Metrics:
    """The metrics of one job, over all its hosts. Safe to share between threads."""

    def __init__(self, definitions: Iterable[Json]) -> None:
        self._definitions = MetricDefinitions(definitions)
        self._lock = threading.Lock()
        self._final: dict[str, Measurement] = {}

    def observe(self, lines: Iterable[tuple[int, str]]) -> list[Measurement]:
        """The measurements in these lines of (epoch milliseconds, text)."""
        found = [each for timestamp, text in lines for each in self._definitions.measurements(text, timestamp)]
        with self._lock:
            for each in found:
                last = self._final.get(each.name)
                if last is None or last.timestamp <= each.timestamp:
                    self._final[each.name] = each
        return found

    def final(self) -> list[Json]:
        """FinalMetricDataList as Describe answers it."""
        with self._lock:
            return [
                {"MetricName": each.name, "Value": each.value, "Timestamp": each.timestamp / 1000}
                for each in self._final.values()
            ]


def publish(cloudwatch: CloudWatchClient, job_name: str, measurements: list[Measurement]) -> None:
    """Put measurements where AWS puts algorithm metrics: by TrainingJobName in /aws/sagemaker/TrainingJobs."""
    data: list[MetricDatumTypeDef] = [
        {
            "MetricName": each.name,
            "Dimensions": [{"Name": "TrainingJobName", "Value": job_name}],
            "Timestamp": datetime.fromtimestamp(each.timestamp / 1000, UTC),
            "Value": each.value,
        }
        for each in measurements
    ]
    for first in range(0, len(data), 1000):
        cloudwatch.put_metric_data(Namespace=NAMESPACE, MetricData=data[first : first + 1000])
