"""Workspaces in words and in JSON, as `trainmaster list` and its companions print them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from pydantic_core import to_jsonable_python

from trainmaster.budget.budgets import Standing, month_name
from trainmaster.budget.money import shown, shown_left
from trainmaster.commands.terminal.tables import labelled, table
from trainmaster.endpoints.watch.idle import Warned
from trainmaster.plain_words import counted, printable
from trainmaster.workspaces.costs import Costs
from trainmaster.workspaces.kinds import Seen, Step
from trainmaster.workspaces.seeing import way_on
from trainmaster.workspaces.standing import WorkspaceStanding
from trainmaster.workspaces.workspace import BILLABLE, ServiceType, Workspace

SERVICES: Mapping[ServiceType, str] = {
    "ec2": "EC2",
    "sagemaker_studio": "Studio",
    "sagemaker_lab": "Studio Lab",
    "sagemaker_canvas": "Canvas",
}
"""As AWS calls them."""
_SHORT = 8  # of a user's id


def listed(workspaces: Iterable[WorkspaceStanding]) -> Iterator[str]:
    """One table for all kinds, and a line for each that is not as it should be."""
    told = list(workspaces)
    head = ("NAME", "TYPE", "STATUS", "ACCESS", "AN HOUR", "OWNER", "IDLE FOR", "BUDGET LEFT")
    yield from table([head, *map(_row, told)], frozenset({4, 6, 7}))
    for one in told:
        if said := troubles(one.seen):
            yield f"{printable(one.workspace.name)}: {said}"


def of_workspace(one: WorkspaceStanding, costs: Costs, standings: Sequence[Standing]) -> Iterator[str]:
    """Everything worth knowing of a workspace; what nobody knows is left out."""
    row, seen, hourly = one.workspace, one.seen, costs.hourly
    warned = Warned.of(row.warned)
    yield f"Workspace {row.name}: {seen.status}."
    stops = f"stopped after {row.auto_stop_minutes:,} minutes without use" if row.auto_stop_minutes else ""
    yield from labelled(
        {
            "why": seen.detail,
            "differs": "; ".join(seen.drift),
            "template": row.template,
            "service": f"{SERVICES[row.service_type]}, reached by {row.connection_type}",
            "runs on": f"{row.instance_type}, {row.volume_gb:,} GB" if row.instance_type else "",
            "owner": row.user_id or "nobody",
            "team": row.team,
            "opened": at(row.created_at),
            "since": at(seen.since),
            "used": f"{at(one.used_at)}{f', {span(one.idle_for)} ago' if one.idle_for is not None else ''}",
            "when idle": stops,
            "keep until": at(row.keep_until),
            "warned": f"{at(warned.at)}, that it is {warned.reason}" if warned else "",
        }
    )
    yield "Cost an hour"
    yield from labelled(
        {
            "compute": shown(hourly.machine),
            "service": shown(hourly.service),
            "storage": f"{shown(hourly.storage)}, stopped or not",
            "total": f"{shown(hourly.total)} while it runs; {shown(one.hourly)} as it stands",
            "spent": f"{shown(costs.spent_this_month)} in {month_name(standings[0].month)}",
            "reserved": f"{shown(costs.reserved)} for hours to come" if costs.reserved else "",
            "budget": limits(standings),
        }
    )
    yield f"On AWS, in {row.region}"
    yield from (f"  {line}" for line in table([(name, printable(value)) for name, value in row.resources.items()]))
    is_open = seen.status in BILLABLE
    yield f"Get in: trainmaster connect {row.name}" if is_open else way_on(row, seen)


def troubles(seen: Seen) -> str:
    """In words, what is not as it should be; "" when all is."""
    why = seen.detail if seen.status in ("failed", "missing", "deleting", "unknown") else ""
    return printable("; ".join(filter(None, (why, *seen.drift))))


def span(length: timedelta | None) -> str:
    """For people: `12 min`, `3 h 20 min`, `4 days`."""
    if length is None:
        return ""
    minutes = int(length.total_seconds()) // 60
    if minutes >= 60 * 48:
        return counted(minutes // (60 * 24), "day")
    hours, rest = divmod(minutes, 60)
    return f"{hours} h {rest} min" if hours and rest else f"{hours} h" if hours else f"{rest} min"


def at(moment: datetime | None) -> str:
    """For people."""
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC" if moment else ""


def limits(standings: Iterable[Standing]) -> str:
    """For people, what is left of each budget that has a limit."""
    return "; ".join(one.sentence() for one in standings if one.limit is not None) or "no limit is set"


def steps_of(steps: Iterable[Step]) -> str:
    """For people, in a sentence."""
    return ", ".join(printable(step.sentence()) for step in steps)


def facts(one: WorkspaceStanding) -> dict[str, Any]:
    """Of a workspace as it stands, for machines. Money is text, with every digit; nothing in it lets anybody in."""
    idle = one.idle_for
    told = {
        "status": one.seen.status,
        "since": one.seen.since,
        "detail": one.seen.detail,
        "drift": one.seen.drift,
        "hourly_cost_now": exact(one.hourly),
        "idle_seconds": None if idle is None else int(idle.total_seconds()),
        "used_at": one.used_at,
        "budget_left": exact(one.left),
    }
    found: dict[str, Any] = to_jsonable_python(told)
    return {**facts_of_row(one.workspace), **found}


def facts_of_costs(costs: Costs, standings: Iterable[Standing]) -> dict[str, Any]:
    """For machines: the breakdown of an hour, what this month came to, and every budget that pays."""
    hourly = costs.hourly
    return {
        "cost": {
            "compute": exact(hourly.machine),
            "service": exact(hourly.service),
            "storage": exact(hourly.storage),
            "total": exact(hourly.total),
            "spent_this_month": exact(costs.spent_this_month),
            "reserved": exact(costs.reserved),
        },
        "budgets": [
            {"budget": one.budget.code, "limit": exact(one.limit), "left": exact(one.left)} for one in standings
        ],
    }


def facts_of_row(row: Workspace) -> dict[str, Any]:
    """Of a workspace as it is written down, for machines."""
    told = {
        "name": row.name,
        "id": row.id,
        "user_id": row.user_id,
        "team": row.team,
        "template": row.template,
        "service_type": row.service_type,
        "connection_type": row.connection_type,
        "account": row.account,
        "region": row.region,
        "status": row.status,
        "detail": row.detail,
        "instance_type": row.instance_type,
        "volume_gb": row.volume_gb,
        "hourly_cost_running": exact(row.hourly_cost + row.storage_hourly_cost),
        "storage_hourly_cost": exact(row.storage_hourly_cost),
        "auto_stop_minutes": row.auto_stop_minutes,
        "keep_until": row.keep_until,
        "created_at": row.created_at,
        "resources": dict(row.resources),
    }
    found: dict[str, Any] = to_jsonable_python(told)
    return found


def exact(amount: Decimal | None) -> str | None:
    """For machines: every digit, never an exponent."""
    return None if amount is None else f"{amount:f}"


def _row(one: WorkspaceStanding) -> tuple[str, ...]:
    row = one.workspace
    return (
        printable(row.name),
        SERVICES[row.service_type],
        f"{one.seen.status}{'*' if one.seen.drift else ''}",
        row.connection_type,
        shown(one.hourly),
        f"{str(row.user_id)[:_SHORT]}…" if row.user_id else "nobody",
        span(one.idle_for),
        "no limit" if one.left is None else shown_left(one.left),
    )
