"""CloudWatch over moto's: the metrics of endpoints as they are counted, and alarms on them that go off."""

from __future__ import annotations

import operator
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar
from weakref import WeakSet

from moto.cloudwatch.models import Alarm, MetricAggregatedDatum, cloudwatch_backends
from moto.core.common_models import CloudWatchMetricProvider

from trainmaster.embedded.sagemaker.serving.metrics import MINUTE, NAMESPACE, UNITS, InvocationMetrics, Series

if TYPE_CHECKING:
    from trainmaster.embedded.sagemaker.account import Account

HELD_SECONDS = 10.0
"""How long a state that SetAlarmState was told holds before the alarm is evaluated again."""
_BREACHES: dict[str, Callable[[float, float], bool]] = {
    "GreaterThanThreshold": operator.gt,
    "GreaterThanOrEqualToThreshold": operator.ge,
    "LessThanThreshold": operator.lt,
    "LessThanOrEqualToThreshold": operator.le,
}
_OURS = "Threshold Crossed"


class EndpointMetrics(CloudWatchMetricProvider):
    """What moto asks, among others, for metrics AWS itself publishes."""

    counted: ClassVar[WeakSet[InvocationMetrics]] = WeakSet()

    @staticmethod
    def get_cloudwatch_metrics(account_id: str, region: str) -> Any:  # noqa: ARG004 — there is one account, in one region
        return [
            MetricAggregatedDatum(
                NAMESPACE, series.metric,
                min_stat=values.least, max_stat=values.most, sample_count=values.count, sum_stat=values.total,
                dimensions=[
                    {"Name": "EndpointName", "Value": series.endpoint}, {"Name": "VariantName", "Value": series.variant}
                ],
                timestamp=datetime.fromtimestamp(began, UTC).replace(tzinfo=None),
                unit=UNITS.get(series.metric, "None"),
            )
            for metrics in list(EndpointMetrics.counted)
            for series, began, values in metrics.all()
        ]  # fmt: skip


class Alarms:
    """The alarms PutMetricAlarm left with moto. Those on metrics of endpoints are evaluated whenever somebody looks at them."""

    def __init__(self, account: Account, metrics: InvocationMetrics, clock: Callable[[], float] = time.time) -> None:
        self._account, self.metrics, self._clock = account, metrics, clock
        self._lock = threading.Lock()
        EndpointMetrics.counted.add(metrics)

    def missing(self, names: Iterable[str]) -> list[str]:
        """Which of these there are not."""
        known = self._known()
        return [name for name in names if name not in known]

    def triggered(self, names: Iterable[str]) -> list[str]:
        """Which of these are in ALARM now."""
        self.evaluate()
        known = self._known()
        return [name for name in names if name in known and known[name].state_value == "ALARM"]

    def evaluate(self) -> None:
        """Bring the state of every alarm up to date."""
        with self._lock:
            for alarm in list(self._known().values()):
                self._evaluate(alarm)

    def _known(self) -> dict[str, Alarm]:
        alarms: dict[str, Alarm] = cloudwatch_backends[self._account.account_id][self._account.region].alarms
        return alarms

    def _evaluate(self, alarm: Alarm) -> None:
        series = _series(alarm)
        updated = alarm.state_updated_timestamp.replace(tzinfo=UTC).timestamp()
        told = bool(alarm.history) and not str(alarm.state_reason).startswith(_OURS)
        if series is None or (told and self._clock() - updated < HELD_SECONDS):
            return
        statistic = str(alarm.extended_statistic or alarm.statistic)
        values = self._newest(series, statistic, int(alarm.period), int(alarm.evaluation_periods))
        state = judged(
            values,
            breaches=lambda value: _BREACHES[alarm.comparison_operator](value, float(alarm.threshold)),
            needed=int(alarm.datapoints_to_alarm or alarm.evaluation_periods),
            missing=alarm.treat_missing_data or "missing",
        )
        if state is not None and state != alarm.state_value:
            shown = ", ".join("none" if value is None else f"{value:g}" for value in values)
            alarm.update_state(
                f"{_OURS}: {statistic} of {alarm.metric_name} was {shown}; the threshold is {alarm.threshold:g}.",
                "{}", state,
            )  # fmt: skip

    def _newest(self, series: Series, statistic: str, period: int, count: int) -> list[float | None]:
        """The last periods, newest first; the one that still runs is among them once it has data."""
        length = max(period, MINUTE)
        begun = int(self._clock() // length) * length
        values: list[float | None] = []
        for start in (begun - length * back for back in range(count + 1)):
            found = self.metrics.during(series, start, start + length)
            values.append(found.statistic(statistic) if found else None)
        return values[:count] if values[0] is not None else values[1:]


def judged(
    values: Sequence[float | None], *, breaches: Callable[[float], bool], needed: int, missing: str
) -> str | None:
    """OK, ALARM, INSUFFICIENT_DATA, or None for as before. `missing` says how periods without data are taken."""
    known = [value for value in values if value is not None]
    breaching = sum(breaches(value) for value in known)
    lacking = len(values) - len(known)
    if breaching + (lacking if missing == "breaching" else 0) >= needed:
        return "ALARM"
    if known or missing in ("breaching", "notBreaching"):
        return "OK"
    return None if missing == "ignore" else "INSUFFICIENT_DATA"


def _series(alarm: Alarm) -> Series | None:
    """The metric of an endpoint it watches; None when it watches something else."""
    named = {dimension.name: dimension.value for dimension in alarm.dimensions}
    if alarm.namespace != NAMESPACE or named.keys() != {"EndpointName", "VariantName"}:
        return None
    if alarm.comparison_operator not in _BREACHES:
        return None
    return Series(str(named["EndpointName"]), str(named["VariantName"]), str(alarm.metric_name))
