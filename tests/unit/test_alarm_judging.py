"""What state an alarm is in, by what its last periods were like."""

from __future__ import annotations

import pytest

from trainmaster.embedded.cloudwatch import judged
from trainmaster.embedded.sagemaker.serving.metrics import Distribution


@pytest.mark.parametrize(
    ("values", "needed", "missing", "state"),
    [
        ([0.2], 1, "missing", "ALARM"),
        ([0.1], 1, "missing", "OK"),
        ([0.2, 0.0, 0.3], 2, "missing", "ALARM"),
        ([0.2, 0.0, 0.0], 2, "missing", "OK"),
        ([None], 1, "missing", "INSUFFICIENT_DATA"),
        ([None], 1, "notBreaching", "OK"),
        ([None], 1, "breaching", "ALARM"),
        ([None], 1, "ignore", None),
        ([0.2, None], 2, "breaching", "ALARM"),
        ([0.2, None], 2, "notBreaching", "OK"),
    ],
)
def test_an_alarm_goes_off_when_enough_periods_breach(
    values: list[float | None], needed: int, missing: str, state: str | None
) -> None:
    assert judged(values, breaches=lambda value: value > 0.1, needed=needed, missing=missing) == state


def test_percentiles_are_within_a_hundredth_and_the_ends_are_exact() -> None:
    values = Distribution()
    for number in range(1, 1001):
        values.add(float(number))

    assert values.statistic("p50") == pytest.approx(500, rel=0.01)
    assert values.statistic("p99") == pytest.approx(990, rel=0.01)
    assert values.statistic("p100") == 1000
    assert (values.statistic("Sum"), values.statistic("Average"), values.statistic("Minimum")) == (500_500, 500.5, 1)


def test_nothing_but_noughts_has_percentiles_of_nought() -> None:
    values = Distribution()
    values.add(0.0)

    assert (values.statistic("p95"), values.statistic("Maximum")) == (0.0, 0.0)
