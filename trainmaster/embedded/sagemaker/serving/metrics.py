"""What AWS publishes of an endpoint's invocations to CloudWatch, namespace AWS/SageMaker, by EndpointName and VariantName."""

from __future__ import annotations

import logging
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

if TYPE_CHECKING:
    from mypy_boto3_cloudwatch import CloudWatchClient
    from mypy_boto3_cloudwatch.literals import StandardUnitType
    from mypy_boto3_cloudwatch.type_defs import MetricDatumTypeDef, StatisticSetTypeDef

NAMESPACE = "AWS/SageMaker"
DATA_PER_REQUEST = 500  # PutMetricData takes 1,000

_UNITS: dict[str, StandardUnitType] = {"ModelLatency": "Microseconds", "OverheadLatency": "Microseconds"}
Key = tuple[str, str, str]
"""Endpoint, variant, metric."""


class InvocationMetrics:
    """Counts in memory; a statistic set of each metric is put every `interval` seconds, and the rest on close."""

    def __init__(self, cloudwatch: CloudWatchClient, *, interval: float = 5.0) -> None:
        self._cloudwatch, self._interval = cloudwatch, interval
        self._lock = threading.Lock()
        self._sums: dict[Key, StatisticSetTypeDef] = {}
        self._closed = threading.Event()
        self._publisher = threading.Thread(target=self._publish, name="endpoint metrics", daemon=True)
        self._publisher.start()

    def count(
        self, endpoint: str, variant: str, *, status: int, model_seconds: float, overhead_seconds: float, instances: int
    ) -> None:
        """One invocation; `status` is the model's, 0 when it gave none in time or at all."""
        values = {
            "Invocations": 1.0,
            "InvocationsPerInstance": 1.0 / max(instances, 1),
            "Invocation4XXErrors": float(400 <= status < 500),
            "Invocation5XXErrors": float(status >= 500),
            "InvocationModelErrors": float(not 200 <= status < 300),
            "ModelLatency": model_seconds * 1e6,
            "OverheadLatency": overhead_seconds * 1e6,
        }
        with self._lock:
            for metric, value in values.items():
                self._add((endpoint, variant, metric), value)

    def close(self, timeout: float = 10.0) -> None:
        """Put what is counted; gives up after `timeout` seconds."""
        self._closed.set()
        self._publisher.join(timeout)

    def _add(self, key: Key, value: float) -> None:
        known = self._sums.get(key)
        if known is None:
            self._sums[key] = {"SampleCount": 1, "Sum": value, "Minimum": value, "Maximum": value}
            return
        known["SampleCount"] += 1
        known["Sum"] += value
        known["Minimum"] = min(known["Minimum"], value)
        known["Maximum"] = max(known["Maximum"], value)

    def _publish(self) -> None:
        while not self._closed.wait(self._interval):
            self._put()
        self._put()

    def _put(self) -> None:
        with self._lock:
            sums, self._sums = self._sums, {}
        now = datetime.now(UTC)
        data: list[MetricDatumTypeDef] = [
            {
                "MetricName": metric,
                "Dimensions": [
                    {"Name": "EndpointName", "Value": endpoint},
                    {"Name": "VariantName", "Value": variant},
                ],
                "Timestamp": now,
                "StatisticValues": statistics,
                "Unit": _UNITS.get(metric, "None"),
            }
            for (endpoint, variant, metric), statistics in sums.items()
        ]
        for start in range(0, len(data), DATA_PER_REQUEST):
            batch = data[start : start + DATA_PER_REQUEST]
            try:
                self._cloudwatch.put_metric_data(Namespace=NAMESPACE, MetricData=batch)
            except (BotoCoreError, ClientError) as error:
                logging.getLogger(__name__).warning("%d metrics of endpoints are lost: %s", len(batch), error)
