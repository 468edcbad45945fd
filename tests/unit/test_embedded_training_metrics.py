"""Metrics are read from log lines as MetricDefinitions say."""

import pytest
import regex

from trainmaster.embedded.sagemaker.training.metrics import MetricDefinitions, Metrics

LOSS = {"Name": "loss", "Regex": r"loss=(\S+?);"}


def test_the_first_group_is_the_value_and_a_line_may_hold_several() -> None:
    found = MetricDefinitions([LOSS]).measurements("step 1 loss=0.5; step 2 loss=2.5e-1;", 7)
    assert [(each.name, each.value, each.timestamp) for each in found] == [("loss", 0.5, 7), ("loss", 0.25, 7)]


def test_a_regex_without_a_group_takes_all_it_matches() -> None:
    found = MetricDefinitions([{"Name": "n", "Regex": r"-?\d+\.\d+"}]).measurements("at -1.5 now", 0)
    assert [each.value for each in found] == [-1.5]


@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "high", "1,5"])
def test_what_is_no_finite_number_is_no_measurement(text: str) -> None:
    assert list(MetricDefinitions([LOSS]).measurements(f"loss={text};", 0)) == []


def test_describe_gets_the_last_value_of_each_metric_by_time_over_all_hosts() -> None:
    metrics = Metrics([LOSS, {"Name": "r2", "Regex": "r2=(.*)"}])
    metrics.observe([(1000, "loss=3;"), (3000, "loss=1;"), (3000, "r2=0.9")])
    metrics.observe([(2000, "loss=2;")])
    assert metrics.final() == [
        {"MetricName": "loss", "Value": 1.0, "Timestamp": 3.0},
        {"MetricName": "r2", "Value": 0.9, "Timestamp": 3.0},
    ]


def test_a_regex_that_runs_away_is_dropped_and_the_others_go_on() -> None:
    definitions = MetricDefinitions([{"Name": "bad", "Regex": "(a|aa)+$"}, LOSS])
    assert [each.name for each in definitions.measurements("a" * 200 + "! loss=1;", 0)] == ["loss"]
    assert [each.name for each in definitions.measurements("aaa loss=1; aaa", 0)] == ["loss"]


def test_what_is_no_regex_is_refused() -> None:
    with pytest.raises(regex.error):
        MetricDefinitions([{"Name": "bad", "Regex": "("}])
