"""What CloudWatch says of endpoints: by the minute, with percentiles, and the alarms on it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError
from hosting import Hosting


@pytest.fixture
def hosting(embedded: Any) -> Iterator[Hosting]:
    hosting = Hosting(embedded)
    yield hosting
    hosting.remove()


def metric(name: str, metric: str) -> dict[str, Any]:
    dimensions = [{"Name": "EndpointName", "Value": name}, {"Name": "VariantName", "Value": "AllTraffic"}]
    return {"Namespace": "AWS/SageMaker", "MetricName": metric, "Dimensions": dimensions}


def span() -> dict[str, datetime]:
    now = datetime.now(UTC)
    return {"StartTime": now - timedelta(hours=1), "EndTime": now + timedelta(minutes=1)}


def test_many_series_are_read_at_once_with_percentiles(hosting: Hosting) -> None:
    name = hosting.serve()
    for pause in [0.0] * 8 + [0.3] * 2:
        hosting.invoke(name, seconds=pause)
    cloudwatch = hosting.embedded.client("cloudwatch")

    def query(number: int, which: str, statistic: str) -> dict[str, Any]:
        return {"Id": f"m{number}", "MetricStat": {"Metric": metric(name, which), "Period": 3600, "Stat": statistic}}

    asked = [("Invocations", "Sum"), ("ModelLatency", "p50"), ("ModelLatency", "p95"), ("ModelLatency", "Maximum")]
    answer = cloudwatch.get_metric_data(
        MetricDataQueries=[query(number, *one) for number, one in enumerate(asked)], **span()
    )
    # an hour may have ended meanwhile
    invocations, median, p95, most = (each["Values"] for each in answer["MetricDataResults"])

    assert sum(invocations) == 10
    assert min(median) < 290_000 < max(p95)  # percentiles are of a sketch, a little off
    assert max(p95) <= max(most)
    assert all(at.minute == at.second == 0 for each in answer["MetricDataResults"] for at in each["Timestamps"])


def test_each_minute_is_a_datapoint_and_one_without_invocations_is_none(hosting: Hosting) -> None:
    name = hosting.serve()
    cloudwatch = hosting.embedded.client("cloudwatch")
    how = {"Period": 60, "Statistics": ["Sum", "SampleCount"], "ExtendedStatistics": ["p99"], **span()}
    assert cloudwatch.get_metric_statistics(**metric(name, "Invocations"), **how)["Datapoints"] == []

    hosting.invoke(name)
    [point] = cloudwatch.get_metric_statistics(**metric(name, "Invocations"), **how)["Datapoints"]

    assert (point["Sum"], point["SampleCount"], point["ExtendedStatistics"]) == (1.0, 1.0, {"p99": 1.0})
    assert point["Timestamp"].second == 0
    listed = cloudwatch.list_metrics(Namespace="AWS/SageMaker", Dimensions=metric(name, "any")["Dimensions"])
    assert "ModelLatency" in {each["MetricName"] for each in listed["Metrics"]}


def test_a_statistic_nobody_knows_and_a_span_backwards_are_refused(hosting: Hosting) -> None:
    name = hosting.serve()
    hosting.invoke(name)
    cloudwatch = hosting.embedded.client("cloudwatch")
    backwards = dict(zip(("EndTime", "StartTime"), span().values(), strict=True))

    def asked(statistic: str, **when: datetime) -> None:
        stat = {"Metric": metric(name, "Invocations"), "Period": 60, "Stat": statistic}
        cloudwatch.get_metric_data(MetricDataQueries=[{"Id": "m", "MetricStat": stat}], **when)

    with pytest.raises(ClientError, match="Median"):
        asked("Median", **span())
    with pytest.raises(ClientError, match="EndTime must be greater"):
        asked("Sum", **backwards)


def test_metrics_of_others_are_still_kept(hosting: Hosting) -> None:
    cloudwatch = hosting.embedded.client("cloudwatch")
    cloudwatch.put_metric_data(Namespace="Lab", MetricData=[{"MetricName": "Cats", "Value": 3.0}])

    stat = {"Metric": {"Namespace": "Lab", "MetricName": "Cats"}, "Period": 60, "Stat": "Sum"}
    [found] = cloudwatch.get_metric_data(MetricDataQueries=[{"Id": "m", "MetricStat": stat}], **span())[
        "MetricDataResults"
    ]

    assert found["Values"] == [3.0]


def test_a_state_that_was_set_holds_for_a_while(hosting: Hosting) -> None:
    name = hosting.serve()
    cloudwatch = hosting.embedded.client("cloudwatch")
    alarm = f"{name}-set"
    cloudwatch.put_metric_alarm(
        AlarmName=alarm, Statistic="Sum", Threshold=100, ComparisonOperator="GreaterThanThreshold", Period=60,
        EvaluationPeriods=1, **metric(name, "Invocations"),
    )  # fmt: skip

    def state() -> str:
        return str(cloudwatch.describe_alarms(AlarmNames=[alarm])["MetricAlarms"][0]["StateValue"])

    assert state() == "INSUFFICIENT_DATA"
    hosting.invoke(name)
    assert state() == "OK"
    cloudwatch.set_alarm_state(AlarmName=alarm, StateValue="ALARM", StateReason="to rehearse it")
    assert state() == "ALARM"
    cloudwatch.delete_alarms(AlarmNames=[alarm])
