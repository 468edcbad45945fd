"""After how long an app that nobody uses is ended is what the idle settings of domain, profile and space come to."""

from __future__ import annotations

from typing import Any

import pytest

from trainmaster.embedded.sagemaker.studio.idleness import (
    Absence,
    Activity,
    check_timeout,
    idle_seconds,
    timeout_minutes,
)
from trainmaster.embedded.sagemaker.wire import AwsError


def settings(**idle: Any) -> dict[str, Any]:
    return {"JupyterLabAppSettings": {"AppLifecycleManagement": {"IdleSettings": idle}}}


ENABLED = settings(LifecycleManagement="ENABLED", IdleTimeoutInMinutes=120)
DISABLED = settings(LifecycleManagement="DISABLED")


@pytest.mark.parametrize(
    ("domain", "profile", "space", "minutes"),
    [
        pytest.param({}, {}, {}, None, id="nothing-is-set"),
        pytest.param(ENABLED, {}, {}, 120, id="the-domains"),
        pytest.param(ENABLED, DISABLED, {}, None, id="the-profile-takes-its-place"),
        pytest.param(ENABLED, {}, settings(IdleTimeoutInMinutes=60), 60, id="the-spaces-own"),
        pytest.param({}, {}, settings(IdleTimeoutInMinutes=60), None, id="a-spaces-own-where-nothing-is-enabled"),
    ],
)
def test_the_timeout_is_the_spaces_own_where_domain_or_profile_enable_it(
    domain: dict[str, Any], profile: dict[str, Any], space: dict[str, Any], minutes: int | None
) -> None:
    assert timeout_minutes("JupyterLab", [domain, profile], space) == minutes


@pytest.mark.parametrize("minutes", [60, 300])
def test_a_space_may_not_ask_for_a_time_its_domain_does_not_allow(minutes: int) -> None:
    bounded = settings(
        LifecycleManagement="ENABLED", IdleTimeoutInMinutes=120, MinIdleTimeoutInMinutes=90, MaxIdleTimeoutInMinutes=240
    )
    with pytest.raises(AwsError, match=f"IdleTimeoutInMinutes {minutes} is not between 90 and 240"):
        check_timeout(settings(IdleTimeoutInMinutes=minutes), [bounded])
    check_timeout(settings(IdleTimeoutInMinutes=120), [bounded])


def test_an_app_is_idle_since_its_last_use_or_its_start() -> None:
    used = Activity(last=50.0, busy=False)
    assert idle_seconds(used, since=10.0, now=100.0, absence=Absence()) == 50
    assert idle_seconds(used, since=80.0, now=100.0, absence=Absence()) == 20


def test_an_app_whose_kernel_computes_is_in_use() -> None:
    assert idle_seconds(Activity(last=0.0, busy=True), since=0.0, now=9e9, absence=Absence(9e9, 9e9)) == 0


def test_an_absence_is_over_when_somebody_comes_back() -> None:
    away = Absence(at=60.0, seconds=3600.0)
    assert idle_seconds(Activity(50.0, busy=False), since=0.0, now=100.0, absence=away) == 3650
    assert idle_seconds(Activity(70.0, busy=False), since=0.0, now=100.0, absence=away) == 30
