"""The report of a week as Markdown. Nothing a user wrote is markup in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal

from trainmaster.budget.budgets import month_name
from trainmaster.budget.entries import NOTHING
from trainmaster.budget.idle_stops import METHOD as SAVED
from trainmaster.budget.money import shown
from trainmaster.budget.spending import KINDS, Kind
from trainmaster.datasets.showing.markdown import plain
from trainmaster.plain_words import counted
from trainmaster.reporting.forecast import METHOD
from trainmaster.reporting.page import bar, table
from trainmaster.reporting.weekly import PAST, WeeklyReport


def weekly_markdown(report: WeeklyReport, pictures: Mapping[str, str]) -> str:
    """`pictures` are their addresses by name: where the file lies beside them, or the pictures themselves as data."""
    return "\n\n".join([f"# Week {report.title}", *_sections(report, pictures)]) + "\n"


def _sections(report: WeeklyReport, pictures: Mapping[str, str]) -> Iterator[str]:
    yield f"**{plain(report.sentence())}**"
    if "spend" in pictures:
        yield f"![What each day cost]({pictures['spend']})"
    yield "## By kind\n\n" + table(("", "this week", "the week before", "change"), _kinds(report))
    if report.by_user:
        kinds = [kind for kind in KINDS if kind in report.by_kind]
        yield "## By user\n\n" + table(("", *kinds, "all", "the week before"), _users(report, kinds))
    if report.top:
        rows = [(one.what, one.kind, one.who, shown(one.dollars)) for one in report.top]
        yield "## What cost most\n\n" + table(("what", "kind", "whose", "billed"), rows)
    yield "## The month\n\n" + _month(report)
    if "month" in pictures:
        yield f"![The month so far and to come]({pictures['month']})"
    if report.savings:
        yield f"## Saved by stopping what nobody wanted: {plain(shown(report.saved))}\n\n" + _savings(report)
    yield "## What failed\n\n" + _failures(report)


def _savings(report: WeeklyReport) -> str:
    rows = [
        (one.what, one.reason, f"{one.at:%a %d %B, %H:%M} UTC", f"{shown(one.hourly)} an hour", shown(one.saved))
        for one in sorted(report.savings, key=lambda one: one.saved, reverse=True)
    ]
    return table(("what", "why", "stopped", "cost", "saved"), rows) + f"\n\n{SAVED}"


def _failures(report: WeeklyReport) -> str:
    failed = sum(one.count for one in report.jobs_failed)
    parts = [f"{failed} of {counted(report.jobs_ended, 'training job')} that ended."]
    if report.jobs_failed:
        rows = [(one.kind, str(one.count), shown(one.billed), one.newest, one.advice) for one in report.jobs_failed]
        parts.append(table(("likely cause", "jobs", "billed", "the newest", "what helps"), rows))
    if report.runs_failed:
        runs = [(one.flow, str(one.failed), str(one.crashed)) for one in report.runs_failed]
        parts.append(table(("flow", "runs that failed", "runs that crashed"), runs))
    return "\n\n".join(parts)


def _kinds(report: WeeklyReport) -> Iterator[tuple[str, ...]]:
    for kind in KINDS:
        now, before = report.by_kind.get(kind, NOTHING), report.before_by_kind.get(kind, NOTHING)
        if now or before:
            yield kind, shown(now), shown(before), _change(now, before)
    yield "all", shown(report.spent), shown(report.before), _change(report.spent, report.before)


def _users(report: WeeklyReport, kinds: Sequence[Kind]) -> Iterator[tuple[str, ...]]:
    for one in report.by_user:
        amounts = [shown(one.by_kind[kind]) if kind in one.by_kind else "" for kind in kinds]
        yield one.who, *amounts, shown(one.spent), shown(one.before)


def _month(report: WeeklyReport) -> str:
    expected = report.forecast
    if expected is None:
        return PAST
    facts = [
        ("billed so far", shown(expected.billed)),
        ("of what runs now, to its end", shown(expected.by_the_hour)),
        ("of jobs to come", f"{shown(expected.by_the_job)}, at {shown(expected.a_day)} a day"),
        ("to be expected", shown(expected.total)),
    ]
    rows = [
        (one.budget, bar(one.committed, one.limit), shown(one.settled), shown(one.reserved), shown(one.limit))
        for one in report.budgets
    ]
    parts = [table((month_name(expected.month), ""), facts), METHOD]
    if rows:
        parts.append(table(("budget", "committed", "billed", "reserved", "limit"), rows))
    return "\n\n".join(parts)


def _change(now: Decimal, before: Decimal) -> str:
    if now == before:
        return "the same"
    percent = f" ({(now - before) * 100 / before:+,.0f} %)" if before else ""
    return f"{'+' if now > before else ''}{shown(now - before)}{percent}"
