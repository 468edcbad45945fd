"""What a week cost, by whom and for what; against the week before and the budgets; what failed, and what was saved."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Self

from pydantic import BaseModel, ConfigDict

from trainmaster.budget.budgets import Standing, month_of
from trainmaster.budget.entries import NOTHING
from trainmaster.budget.idle_stops import Stopped, saved_in_all, stopped_between
from trainmaster.budget.metering import Meters, tranche_title
from trainmaster.budget.money import shown
from trainmaster.budget.spending import KINDS, Bill, Kind, bills_between, total, totals_by
from trainmaster.reporting.failures import FailedJobs, FailedRuns, failed_jobs, jobs_that_were
from trainmaster.reporting.forecast import PACE_DAYS, Forecast, Running, forecast, month_end
from trainmaster.reporting.weeks import Week, WeeklyReportRequest
from trainmaster.training.desk import Desk

PAST = "No forecast, and no budgets: the books say how they stand today, and this week is past."
"""Of a week before the last one that is over."""
_BY_THE_JOB: tuple[Kind, ...] = ("training", "images", "other")


class Spender(BaseModel):
    """What one user, team or nobody in particular spent: US dollars by kind, and in all the week before."""

    model_config = ConfigDict(frozen=True)

    who: str
    by_kind: Mapping[Kind, Decimal]
    before: Decimal = NOTHING

    @property
    def spent(self) -> Decimal:
        return sum(self.by_kind.values(), NOTHING)


class BudgetState(BaseModel):
    """A budget with a limit as it stands in the month of the report, in US dollars."""

    model_config = ConfigDict(frozen=True)

    budget: str
    month: str
    limit: Decimal
    settled: Decimal
    reserved: Decimal

    @classmethod
    def of(cls, standing: Standing) -> Self:
        assert standing.limit is not None  # noqa: S101 - asked of those with a limit alone
        figures = {"limit": standing.limit, "settled": standing.settled, "reserved": standing.reserved}
        return cls(budget=str(standing.budget), month=standing.month, **figures)

    @property
    def committed(self) -> Decimal:
        return self.settled + self.reserved

    @property
    def percent(self) -> int | None:
        return int(self.committed * 100 / self.limit) if self.limit else None


class Cost(BaseModel):
    """What one job, endpoint, workspace or image cost in the week, in US dollars."""

    model_config = ConfigDict(frozen=True)

    what: str
    kind: Kind
    who: str
    dollars: Decimal


class Saving(BaseModel):
    """What was stopped because nobody wanted it, why, and what that saved in the week, in US dollars."""

    model_config = ConfigDict(frozen=True)

    what: str
    reason: str
    at: datetime
    hourly: Decimal
    saved: Decimal


class WeeklyReport(BaseModel):
    """Amounts are US dollars, exact as the books have them: each split of `spent` adds up to it."""

    model_config = ConfigDict(frozen=True)

    week: str
    title: str
    since: datetime
    until: datetime
    made_at: datetime
    spent: Decimal
    before: Decimal
    """In the week before."""
    by_kind: Mapping[Kind, Decimal]
    before_by_kind: Mapping[Kind, Decimal]
    by_user: Sequence[Spender]
    by_day: Mapping[date, Mapping[Kind, Decimal]]
    before_by_day: Mapping[date, Decimal]
    month_by_day: Mapping[date, Decimal]
    """Of the month of the forecast, each day so far; together what is billed in it. Empty without one."""
    top: Sequence[Cost]
    budgets: Sequence[BudgetState]
    forecast: Forecast | None
    """None of a past week, which has no `budgets` either: both are as of today."""
    saved: Decimal
    """By stopping what nobody wanted."""
    savings: Sequence[Saving]
    jobs_ended: int
    jobs_failed: Sequence[FailedJobs]
    runs_failed: Sequence[FailedRuns] = ()

    def sentence(self) -> str:
        change = self.spent - self.before
        than = f", {shown(abs(change))} {'more' if change > 0 else 'less'} than the week before" if change else ""
        expected = self.forecast
        to_come = f"; {shown(expected.total)} is to be expected for {expected.month}" if expected else ""
        return f"{shown(self.spent)} was billed in {self.title}{than}{to_come}."


def weekly_report(
    desk: Desk, request: WeeklyReportRequest, runs: Callable[[Week], Sequence[FailedRuns]] = lambda _week: ()
) -> WeeklyReport:
    """Of a week that is asked for, or of the last one that is over; `runs` knows which flow runs failed in it.

    Raises RefusedError for a week there is not.
    """
    now = desk.ledger.now()
    week = Week.asked(request, now)
    passed = min(week.until, now)  # of a week that goes on, nothing is saved yet in what is left of it
    stops = stopped_between(desk.ledger, week.since, passed)
    ended = jobs_that_were(desk.deployments.ended_between(week.since, week.until))
    bills, earlier = (bills_between(desk.ledger, one.since, one.until) for one in (week, week.before))
    past = week.is_past(now)
    month = [] if past else _bills_of_month(desk, now)
    return WeeklyReport(
        week=week.name,
        title=week.title(),
        since=week.since,
        until=week.until,
        made_at=now,
        spent=total(bills),
        before=total(earlier),
        by_kind=_ordered(bills),
        before_by_kind=_ordered(earlier),
        by_user=spenders(bills, earlier),
        by_day={day: _ordered(bill for bill in bills if bill.day == day) for day in week.days},
        before_by_day=_by_day(earlier, week.before.days),
        month_by_day={} if past else _by_day(month, _days_of_month(now)),
        top=dearest(bills, request.top),
        budgets=[] if past else [BudgetState.of(one) for one in desk.ledger.standings() if one.limit is not None],
        forecast=None if past else _forecast(desk, total(month), now),
        saved=saved_in_all(stops, week.since, passed),
        savings=[_saving(one, week.since, passed) for one in stops],
        jobs_ended=len(ended),
        jobs_failed=failed_jobs(ended),
        runs_failed=runs(week),
    )


def payer_of(bill: Bill) -> str:
    """Whom a bill counts against first: a user; or a team, where no user was named."""
    if bill.user_id:
        return f"user {bill.user_id}"
    return f"team {bill.team}" if bill.team else "nobody in particular"


def spenders(bills: Sequence[Bill], earlier: Sequence[Bill]) -> list[Spender]:
    """Everybody who spent in one of two weeks, who spent most first. Each bill is in one row alone."""
    now, before = totals_by(bills, lambda bill: (payer_of(bill), bill.kind)), totals_by(earlier, payer_of)
    found = [
        Spender(
            who=who,
            by_kind={kind: now[who, kind] for kind in KINDS if (who, kind) in now},
            before=before.get(who, NOTHING),
        )
        for who in sorted({*before, *(who for who, _ in now)})
    ]
    return sorted(found, key=lambda one: one.spent, reverse=True)


def dearest(bills: Iterable[Bill], most: int) -> list[Cost]:
    """The things that cost most, all their bills together."""
    sums = totals_by(bills, lambda bill: (title_of(bill), bill.kind, payer_of(bill)))
    dearest_first = sorted(sums.items(), key=lambda one: (-one[1], one[0]))
    return [Cost(what=what, kind=kind, who=who, dollars=dollars) for (what, kind, who), dollars in dearest_first[:most]]


def title_of(bill: Bill) -> str:
    """For people: *endpoint house-prices*, *training-job cats-1*, *storage of workspace notes-1b3c5d7e*."""
    named = tranche_title(bill.key).partition(", hours ")[0]
    return named if named != bill.key else titled(bill.resource)


def _saving(stop: Stopped, since: datetime, until: datetime) -> Saving:
    saved = stop.saved(since, until)
    return Saving(what=titled(stop.resource), reason=stop.reason, at=stop.at, hourly=stop.hourly, saved=saved)


def titled(resource: str) -> str:
    """For people, by an ARN: *endpoint house-prices*."""
    return resource.rsplit(":", 1)[-1].replace("/", " ", 1)


def _ordered(bills: Iterable[Bill]) -> dict[Kind, Decimal]:
    sums = totals_by(bills, lambda bill: bill.kind)
    return {kind: sums[kind] for kind in KINDS if kind in sums}


def _by_day(bills: Iterable[Bill], days: Iterable[date]) -> dict[date, Decimal]:
    sums = totals_by(bills, lambda bill: bill.day)
    return {day: sums.get(day, NOTHING) for day in days}


def _bills_of_month(desk: Desk, now: datetime) -> list[Bill]:
    """All that count in the month, whenever they were booked in it."""
    ends = month_end(now)
    found = bills_between(desk.ledger, _first_day(ends), ends)
    return [bill for bill in found if bill.month == month_of(now)]


def _days_of_month(now: datetime) -> list[date]:
    """So far, today included."""
    first = _first_day(month_end(now))
    return [(first + timedelta(days=number)).date() for number in range((now - first).days + 1)]


def _first_day(ends: datetime) -> datetime:
    return (ends - timedelta(days=1)).replace(day=1)


def _forecast(desk: Desk, billed: Decimal, now: datetime) -> Forecast:
    running = [found for meter in Meters(desk.ledger).running() if (found := Running.of(meter))]
    recent = bills_between(desk.ledger, now - timedelta(days=PACE_DAYS), now)
    return forecast(now, billed, running, total(bill for bill in recent if bill.kind in _BY_THE_JOB))
