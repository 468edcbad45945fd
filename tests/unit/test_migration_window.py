"""When a run may begin more work: by the clocks of a place, over midnight, and where clocks are put forward and back."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from trainmaster.migration.request import MigrateDatasetsRequest
from trainmaster.migration.window import Window

CLOCKS = st.builds(time, st.integers(0, 23), st.integers(0, 59))
ZONES = st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe"])
MOMENTS = st.datetimes(datetime(2024, 1, 1), datetime(2027, 1, 1)).map(lambda moment: moment.replace(tzinfo=UTC))  # noqa: DTZ001


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("hours", "zone", "moment", "is_open"),
    [
        ("09:00-17:00", "UTC", "2026-03-01T09:00", True),
        ("09:00-17:00", "UTC", "2026-03-01T17:00", False),
        ("22:00-06:00", "UTC", "2026-03-01T23:59", True),
        ("22:00-06:00", "UTC", "2026-03-01T05:59", True),
        ("22:00-06:00", "UTC", "2026-03-01T06:00", False),
        ("22:00-06:00", "Europe/Berlin", "2026-01-15T21:30", True),  # 22:30 there
        ("22:00-06:00", "Europe/Berlin", "2026-07-15T19:59", False),  # 21:59 there
        ("22:00-06:00", "Europe/Berlin", "2026-07-15T20:00", True),  # 22:00 there
        ("", "UTC", "2026-07-15T20:00", True),
    ],
)
def test_it_is_open_by_the_clocks_of_its_place(hours: str, zone: str, moment: str, is_open: bool) -> None:
    assert Window.parse(hours, zone).is_open(at(moment)) is is_open


def test_it_says_when_it_closes_and_when_it_opens_next() -> None:
    window = Window.parse("22:00-06:00", "Europe/Berlin")
    assert window.closes(at("2026-01-15T22:30")) == at("2026-01-16T05:00")
    assert window.opens(at("2026-01-15T12:00")) == at("2026-01-15T21:00")
    # The night in which clocks are put forward, and the hour that they show twice.
    assert window.closes(at("2026-03-28T22:30")) == at("2026-03-29T04:00")
    assert Window.parse("01:00-02:30", "Europe/Berlin").closes(at("2026-10-25T01:10")) == at("2026-10-25T01:30")
    assert (Window.parse("", "UTC").closes(at("2026-01-15T22:30")), Window.parse("", "UTC").opens(at("2026-01-15T22:30"))) == (None, None)  # fmt: skip
    assert str(window) == "22:00-06:00 Europe/Berlin"


@given(CLOCKS, CLOCKS, ZONES, MOMENTS)
def test_it_is_always_either_open_or_opens_within_a_day_or_so(
    opens: time, closes: time, zone: str, moment: datetime
) -> None:
    if opens == closes:
        return
    window = Window.parse(f"{opens:%H:%M}-{closes:%H:%M}", zone)
    inverse = Window.parse(f"{closes:%H:%M}-{opens:%H:%M}", zone)
    assert window.is_open(moment) is not inverse.is_open(moment)
    for change in (window.opens(moment), window.closes(moment)):
        assert change
        assert moment < change <= moment + timedelta(hours=26)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"timezone": "Europe/Berln"}, "no time zone 'Europe/Berln'"),
        ({"timezone": "../../etc/passwd"}, "no time zone"),
        ({"timezone": ""}, "no time zone ''"),
        ({"window": "22:00-22:00"}, "opens when it closes"),
        ({"window": "22-6"}, "pattern"),
        ({"window": "24:00-06:00"}, "pattern"),
    ],
)
def test_a_window_that_cannot_be_is_refused_with_one_clear_error(asked: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError) as refusal:
        MigrateDatasetsRequest.model_validate(asked)
    assert refusal.value.error_count() == 1
    assert said in str(refusal.value)


def test_a_moment_without_a_time_zone_is_one_of_utc() -> None:
    assert MigrateDatasetsRequest.model_validate({"older_than": "2026-03-01T00:00:00"}).older_than == at("2026-03-01")
    asked = MigrateDatasetsRequest.model_validate({"older_than": "2026-03-01T00:00:00+02:00"})
    assert asked.older_than == at("2026-02-28T22:00")
