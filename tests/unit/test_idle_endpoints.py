"""An endpoint is over when nobody calls it, its time has passed or its money is spent; unknown counts as active."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainmaster.endpoints.watch.idle import GRACE, REMIND, Calls, Policy, Reason, Warned, Watched, decide

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
NOTICE = timedelta(minutes=30)
HOUR = timedelta(hours=1)
DAYS_AGO = NOW - timedelta(days=2)


def watched(**changed: Any) -> Watched:
    given_: dict[str, Any] = {"idle_after": HOUR, "policy": "remove", "shrinkable": True, **changed}
    return Watched("houses", given_.pop("status", "InService"), given_.pop("since", DAYS_AGO), **given_)


def act(endpoint: Watched, now: datetime = NOW) -> tuple[str, str | None]:
    decision = decide(endpoint, now, NOTICE)
    return decision.act, decision.reason


def calls(*counts: float, ending: datetime = NOW) -> list[Calls]:
    return [Calls(ending - timedelta(minutes=5 * age), count) for age, count in enumerate(reversed(counts), 1)]


class TestIdle:
    def test_one_that_is_called_is_left_alone(self) -> None:
        assert act(watched(calls=calls(0, 0, 1, 0))) == ("leave", None)

    def test_calls_before_its_idle_time_are_of_no_account(self) -> None:
        assert act(watched(calls=[Calls(NOW - 2 * HOUR, 900)])) == ("warn", "idle")

    def test_no_datapoints_count_as_active_until_it_has_served_for_its_idle_time_and_a_grace(self) -> None:
        young = watched(since=NOW - HOUR - GRACE + timedelta(seconds=1))
        assert act(young) == ("leave", None)
        assert act(replace(young, since=NOW - HOUR - GRACE)) == ("warn", "idle")

    def test_datapoints_that_say_none_need_no_grace(self) -> None:
        silent = watched(since=NOW - HOUR, calls=calls(0, 0, 0))
        assert act(silent) == ("warn", "idle")
        assert act(replace(silent, since=NOW - HOUR + timedelta(seconds=1))) == ("leave", None)

    def test_where_cloudwatch_could_not_be_asked_it_is_active(self) -> None:
        assert act(watched(calls=None)) == ("leave", None)

    def test_one_without_an_idle_time_is_never_idle(self) -> None:
        assert act(watched(idle_after=None)) == ("leave", None)


class TestActing:
    def test_nothing_is_done_before_people_were_warned_and_had_their_notice(self) -> None:
        assert act(watched()) == ("warn", "idle")
        assert act(watched(warned=Warned("idle", NOW - NOTICE + timedelta(seconds=1)))) == ("leave", "idle")
        assert act(watched(warned=Warned("idle", NOW - NOTICE))) == ("remove", "idle")

    @pytest.mark.parametrize("policy", ["scale-down", "remove"])
    def test_then_its_policy_is_carried_out(self, policy: Policy) -> None:
        assert act(watched(policy=policy, warned=Warned("idle", NOW - NOTICE))) == (policy, "idle")

    def test_one_that_is_only_warned_of_is_warned_of_once_a_day(self) -> None:
        warned = watched(policy="warn", warned=Warned("idle", NOW - REMIND + timedelta(seconds=1)))
        assert act(warned) == ("leave", "idle")
        assert act(replace(warned, warned=Warned("idle", NOW - REMIND))) == ("warn", "idle")

    def test_one_at_its_least_cannot_be_scaled_down_and_is_only_warned_of(self) -> None:
        least = watched(policy="scale-down", shrinkable=False, warned=Warned("idle", NOW - NOTICE))
        assert act(least) == ("leave", "idle")

    def test_one_that_is_called_again_has_its_warning_forgotten(self) -> None:
        assert act(watched(calls=calls(3), warned=Warned("idle", NOW - NOTICE))) == ("forget", None)

    def test_a_warning_of_one_thing_is_no_warning_of_another(self) -> None:
        other = watched(idle_after=None, exhausted="no money", warned=Warned("idle", NOW - HOUR))
        assert act(other) == ("warn", "exhausted")

    def test_what_was_warned_of_first_counts_while_it_holds(self) -> None:
        both = watched(exhausted="no money", warned=Warned("idle", NOW - NOTICE))
        assert act(both) == ("remove", "idle")

    @pytest.mark.parametrize("status", ["Creating", "Updating", "SystemUpdating", "RollingBack", "Deleting", "Failed"])
    def test_one_that_changes_or_failed_is_left_alone(self, status: str) -> None:
        over = watched(status=status, exhausted="no money", warned=Warned("exhausted", DAYS_AGO))
        assert act(over) == ("leave", None)

    @pytest.mark.parametrize("status", ["OutOfService", "UpdateRollbackFailed"])
    def test_one_whose_instances_stand_though_nobody_can_update_it_is_over_like_any_other(self, status: str) -> None:
        over = watched(status=status, exhausted="no money", warned=Warned("exhausted", DAYS_AGO))
        assert act(over) == ("remove", "exhausted")


class TestExpired:
    def test_people_are_warned_before_its_time_is_over_and_it_goes_when_it_is(self) -> None:
        soon = watched(idle_after=None, expires=NOW + NOTICE)
        assert act(soon, NOW - timedelta(seconds=1)) == ("leave", None)
        assert act(soon) == ("warn", "expired")
        told = replace(soon, warned=Warned("expired", NOW))
        assert act(told, NOW + NOTICE - timedelta(seconds=1)) == ("leave", "expired")
        assert act(told, NOW + NOTICE) == ("remove", "expired")

    def test_one_nobody_looked_at_in_time_still_has_its_notice(self) -> None:
        late = watched(idle_after=None, expires=NOW - HOUR, calls=calls(900))
        assert act(late) == ("warn", "expired")
        assert act(replace(late, warned=Warned("expired", NOW))) == ("leave", "expired")


def test_out_of_budget_is_a_reason_even_while_it_is_called() -> None:
    assert act(watched(calls=calls(900), exhausted="$0.31 of November's $1.00 is left")) == ("warn", "exhausted")


@given(st.sampled_from(["exhausted", "expired", "idle"]), st.datetimes(timezones=st.just(UTC)))
def test_a_warning_is_read_as_it_was_written(reason: Reason, at: datetime) -> None:
    warned = Warned(reason, at.replace(microsecond=0))
    assert Warned.of(warned.tag()) == warned


@pytest.mark.parametrize("tag", ["", "idle", "idle soon", "bored 2026-11-21T12:00:00+00:00"])
def test_what_is_no_warning_is_none(tag: str) -> None:
    assert Warned.of(tag) is None


@given(
    st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 3)), max_size=20),
    st.integers(0, 10_000),
    st.none() | st.tuples(st.sampled_from(["exhausted", "expired", "idle"]), st.integers(0, 10_000)),
    st.sampled_from(["warn", "scale-down", "remove"]),
)
def test_whatever_is_known_nothing_is_taken_away_without_a_warning_nor_while_it_is_called(
    datapoints: list[tuple[int, int]], age: int, warned: tuple[Reason, int] | None, policy: Policy
) -> None:
    def ago(minutes: int) -> datetime:
        return NOW - timedelta(minutes=minutes)

    endpoint = watched(
        since=ago(age),
        policy=policy,
        calls=[Calls(ago(minutes), count) for minutes, count in datapoints],
        warned=Warned(warned[0], ago(warned[1])) if warned else None,
    )
    decision = decide(endpoint, NOW, NOTICE)
    if decision.act in {"remove", "scale-down"}:
        assert warned
        assert (warned[0], warned[1] >= 30) == ("idle", True)
        assert not any(count for minutes, count in datapoints if minutes < 60)
