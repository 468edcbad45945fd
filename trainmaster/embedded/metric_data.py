"""GetMetricData and GetMetricStatistics of endpoints' metrics, percentiles too, which moto has none of."""

from __future__ import annotations

import json
from typing import Any

from werkzeug.wrappers import Response

from trainmaster.embedded.calls import Call, Protocol
from trainmaster.embedded.sagemaker.listing import seconds
from trainmaster.embedded.sagemaker.serving.metrics import MINUTE, NAMESPACE, UNITS, InvocationMetrics, Series
from trainmaster.embedded.sagemaker.wire import AwsError, Json

_DIMENSIONS = {"EndpointName", "VariantName"}


def answered(metrics: InvocationMetrics, call: Call) -> Response | None:
    """The answer; None for a call about other metrics, or in a protocol older than boto3's. Raises AwsError."""
    if call.protocol is not Protocol.JSON or call.operation not in ("GetMetricData", "GetMetricStatistics"):
        return None
    request = json.loads(call.request.get_data() or b"{}")
    answer = _data(metrics, request) if call.operation == "GetMetricData" else _statistics(metrics, request)
    return None if answer is None else Response(json.dumps(answer), content_type="application/x-amz-json-1.0")


def _data(metrics: InvocationMetrics, request: Json) -> Json | None:
    queries = request.get("MetricDataQueries") or []
    asked = [_series((query.get("MetricStat") or {}).get("Metric") or {}) for query in queries]
    if not queries or None in asked:
        return None
    start, end = _span(request)
    newest_first = request.get("ScanBy", "TimestampDescending") == "TimestampDescending"
    results = []
    for query, series in zip(queries, asked, strict=True):
        if series is None or not query.get("ReturnData", True):
            continue
        wanted = query["MetricStat"]
        found = metrics.periods(series, start, end, _period(wanted))
        times = sorted(found, reverse=newest_first)
        results.append(
            {
                "Id": query["Id"],
                "Label": query.get("Label") or series.metric,
                "Timestamps": times,
                "Values": [_statistic(found[at], wanted["Stat"]) for at in times],
                "StatusCode": "Complete",
            }
        )
    return {"MetricDataResults": results, "Messages": []}


def _statistics(metrics: InvocationMetrics, request: Json) -> Json | None:
    series = _series(request)
    plain, extended = request.get("Statistics") or [], request.get("ExtendedStatistics") or []
    if series is None or not (plain or extended):
        return None
    found = metrics.periods(series, *_span(request), _period(request))
    unit = UNITS.get(series.metric, "None")
    points = [
        {
            "Timestamp": at,
            "Unit": unit,
            **{name: _statistic(values, name) for name in plain},
            **({"ExtendedStatistics": {name: _statistic(values, name) for name in extended}} if extended else {}),
        }
        for at, values in sorted(found.items())
        if request.get("Unit", unit) == unit
    ]
    return {"Label": series.metric, "Datapoints": points}


def _series(metric: Json) -> Series | None:
    """The metric of a variant it names; None when it is another's."""
    named = {one.get("Name"): one.get("Value") for one in metric.get("Dimensions") or []}
    if metric.get("Namespace") != NAMESPACE or named.keys() != _DIMENSIONS:
        return None
    return Series(str(named["EndpointName"]), str(named["VariantName"]), str(metric.get("MetricName")))


def _span(request: Json) -> tuple[float, float]:
    start, end = seconds(request["StartTime"]), seconds(request["EndTime"])
    if start >= end:
        raise AwsError("ValidationError", "The parameter EndTime must be greater than StartTime.")
    return start, end


def _period(wanted: Json) -> int:
    period = int(wanted.get("Period", MINUTE))
    if period < 1 or (period % MINUTE and period not in (1, 5, 10, 20, 30)):
        raise AwsError("ValidationError", f"Period is {period}; it must be 1, 5, 10, 20, 30 or a multiple of 60.")
    return max(period, MINUTE)  # AWS publishes these by the minute


def _statistic(values: Any, name: str) -> float:
    try:
        return float(values.statistic(name))
    except KeyError:
        raise AwsError("ValidationError", f"The value {name} for parameter Stat is not supported.") from None
