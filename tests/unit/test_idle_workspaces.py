"""When a workspace is over: warned of first, stopped later, and never where nobody can say that it is not in use."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainmaster.endpoints.watch.idle import REMIND, Warned
from trainmaster.workspaces.watch.idle import Watched, decide
from trainmaster.workspaces.workspace import STATUSES, Status

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
NOTICE = timedelta(minutes=30)
IDLE = Watched("running", since=NOW - 9 * HOUR, used_at=NOW - 2 * HOUR, idle_after=HOUR)
BROKE = Watched("running", since=NOW - HOUR, exhausted="nothing is left of user 1's $5.00")
WARNED_IDLE = Warned("idle", NOW - NOTICE)


def act(workspace: Watched, now: datetime = NOW) -> str:
    return decide(workspace, now, NOTICE).act


def test_one_nobody_uses_is_warned_of_and_stopped_when_the_notice_is_over() -> None:
    assert decide(IDLE, NOW, NOTICE).why == "nobody has used it for 60 minutes"
    assert act(IDLE) == "warn"
    assert act(replace(IDLE, warned=Warned("idle", NOW - NOTICE + timedelta(seconds=1)))) == "leave"
    assert act(replace(IDLE, warned=WARNED_IDLE)) == "stop"


def test_one_that_is_used_again_after_its_warning_is_left_and_the_warning_forgotten() -> None:
    assert act(replace(IDLE, used_at=NOW - timedelta(minutes=59), warned=WARNED_IDLE)) == "forget"
    assert act(replace(IDLE, used_at=NOW - timedelta(minutes=59))) == "leave"


@pytest.mark.parametrize("unknown", ["used_at", "since", "idle_after"])
def test_what_nobody_knows_counts_as_use(unknown: str) -> None:
    assert act(replace(IDLE, warned=None, **{unknown: None})) == "leave"  # type: ignore[arg-type]


def test_one_that_was_started_just_now_has_its_whole_time_however_long_ago_it_was_used() -> None:
    assert act(replace(IDLE, since=NOW - timedelta(minutes=59))) == "leave"
    assert act(replace(IDLE, since=NOW - HOUR)) == "warn"


def test_keep_until_is_honoured_as_far_as_the_policy_lets_it() -> None:
    kept = replace(IDLE, keep_until=NOW + 9 * HOUR, warned=WARNED_IDLE)
    assert act(kept) == "forget"
    assert act(replace(kept, longest_keep=9 * HOUR + timedelta(seconds=1))) == "forget"
    assert act(replace(kept, longest_keep=9 * HOUR)) == "stop"
    assert act(replace(kept, keep_until=NOW)) == "stop"


def test_money_that_is_gone_stops_it_whatever_its_owner_wanted_kept_and_however_much_it_is_used() -> None:
    kept = replace(BROKE, keep_until=NOW + 9 * HOUR, used_at=NOW, idle_after=HOUR)
    assert decide(kept, NOW, NOTICE).reason == "exhausted"
    assert act(replace(kept, warned=Warned("exhausted", NOW - NOTICE))) == "stop"


def test_a_warning_of_one_reason_is_none_of_the_other() -> None:
    found = decide(replace(BROKE, warned=WARNED_IDLE), NOW, NOTICE)
    assert (found.act, found.reason) == ("warn", "exhausted")


@pytest.mark.parametrize("status", [one for one in STATUSES if one != "running"])
def test_of_what_does_not_run_people_are_told_once_a_day_and_nothing_is_done(status: Status) -> None:
    stopped = replace(BROKE, status=status)
    assert act(stopped) == "warn"
    assert act(replace(stopped, warned=Warned("exhausted", NOW - REMIND + timedelta(seconds=1)))) == "leave"
    assert act(replace(stopped, warned=Warned("exhausted", NOW - REMIND))) == "warn"
    assert act(replace(IDLE, status=status)) == "leave"


_TIMES = st.timedeltas(timedelta(days=-9), timedelta(days=9)).map(lambda span: NOW + span)
MOMENTS = st.one_of(st.none(), _TIMES)
SPANS = st.one_of(st.none(), st.timedeltas(timedelta(0), timedelta(days=9)))
WATCHED = st.builds(
    Watched,
    status=st.sampled_from(STATUSES),
    since=MOMENTS,
    used_at=MOMENTS,
    idle_after=SPANS,
    keep_until=MOMENTS,
    longest_keep=SPANS,
    exhausted=st.sampled_from(["", "nothing is left"]),
    warned=st.one_of(
        st.none(),
        st.builds(Warned, st.sampled_from(["exhausted", "idle"]), _TIMES),
    ),
)


@given(WATCHED, SPANS.filter(lambda span: span is not None))
def test_nothing_is_stopped_that_is_not_over_and_was_not_warned_of_for_the_same_reason(
    workspace: Watched, notice: timedelta
) -> None:
    found = decide(workspace, NOW, notice)
    if found.act == "stop":
        assert workspace.status == "running"
        assert workspace.warned is not None
        assert workspace.warned.reason == found.reason
        assert workspace.warned.at + notice <= NOW
        assert workspace.exhausted or workspace.used_at is not None


@given(WATCHED)
def test_what_was_used_later_is_never_stopped_sooner(workspace: Watched) -> None:
    if workspace.used_at is not None and act(workspace) in {"leave", "forget"} and not workspace.exhausted:
        assert act(replace(workspace, used_at=workspace.used_at + HOUR)) in {"leave", "forget"}
