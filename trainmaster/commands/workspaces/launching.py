"""`trainmaster launch|start`: a workspace opened, whatever service it is of, and started again."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pydantic_core import to_jsonable_python

from trainmaster.budget.money import shown
from trainmaster.commands.terminal.desk import desk_in
from trainmaster.commands.terminal.reporting import DONE, REFUSED, add_command, note, say, say_json
from trainmaster.commands.terminal.tables import labelled
from trainmaster.commands.workspaces.options import add_name, add_request_options, read_opening
from trainmaster.commands.workspaces.showing import SERVICES, exact, facts_of_row, limits, steps_of
from trainmaster.commands.workspaces.standing import workspace_in
from trainmaster.errors import PolicyRefusedError
from trainmaster.settings import Settings
from trainmaster.workspaces.opening import (
    OpenedWorkspace,
    PlannedWorkspace,
    open_workspace,
    planned,
    start_workspace,
)
from trainmaster.workspaces.policy.rules import Violation
from trainmaster.workspaces.studio.lab import NOT_OPENED
from trainmaster.workspaces.workspace import Workspace

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]


def add_commands(commands: Subparsers) -> None:
    """The two that cost money from then on."""
    launch = add_command(commands, "launch", "open a workspace of a template; again finds it", _launch)
    add_request_options(launch)
    start = add_command(commands, "start", "start a workspace that was stopped, with its files", _start)
    add_name(start)
    start.add_argument(
        "--instance-type", default="", metavar="TYPE", help="go on with another, which its template allows"
    )


def _launch(args: argparse.Namespace, settings: Settings) -> int:
    request = read_opening(args)
    with desk_in(settings) as desk:
        found = planned(desk, request)
        if request.dry_run:
            return _show(found, args)
        if found.steps and not found.refusals:
            note(f"Opening {request.name}, which may take AWS some minutes: {steps_of(found.steps)} …")
        return _tell(open_workspace(desk, request), args)


def _start(args: argparse.Namespace, settings: Settings) -> int:
    with workspace_in(args, settings) as (desk, workspace):
        try:
            started = start_workspace(desk, workspace.user_id, workspace.name, instance_type=args.instance_type)
        except PolicyRefusedError as error:
            given = {"--instance-type": args.instance_type, "--user": str(args.user or "")}
            told = by_launching(workspace, error.violations, given)
            raise PolicyRefusedError(error.subject, told) from error
        return _tell(started, args)


def by_launching(workspace: Workspace, violations: Sequence[Violation], given: Mapping[str, str]) -> list[Violation]:
    """The same, and with the last of them the `launch` that starts it as `given` and with all that `start` has no options for."""
    options = [word for one in violations for word in _option_against(one)]
    if not options:
        return list(violations)
    chosen = [word for option, value in given.items() if value for word in (option, value)]
    launch = shlex.join(["trainmaster", "launch", workspace.template, workspace.name, *chosen, *options])
    *others, last = violations
    return [*others, replace(last, remedy=f"{last.remedy} Start it by what has options for that: {launch}")]


def _option_against(violation: Violation) -> list[str]:
    match violation.rule:
        case "required_tags":
            return ["--tag", f"{violation.nearest}=VALUE"]
        case "auto_stop":
            return ["--auto-stop-minutes", violation.nearest]
        case "max_keep" if violation.nearest != "0":
            return ["--keep-until", f"{violation.nearest}h"]
        case "data_classifications" if violation.nearest:
            return ["--data-classification", violation.nearest]
    return []


def _show(found: PlannedWorkspace, args: argparse.Namespace) -> int:
    """What would be done: 1 when the policy or a budget is against it, as it would be then."""
    if args.json:
        steps = [{"step": one.sentence(), "request": to_jsonable_python(one.request)} for one in found.steps]
        left = [{"budget": one.budget.code, "left": exact(one.left)} for one in found.standings]
        say_json(
            {
                **facts_of_row(found.workspace),
                "steps": steps,
                "violations": found.violations,
                "over_budget": found.over_budget,
                "budgets": left,
            }
        )
    else:
        say(*_planned(found))
    note("Nothing was done.")
    return REFUSED if found.refusals else DONE


def _planned(found: PlannedWorkspace) -> Iterator[str]:
    row = found.workspace
    todo = "to be done, in this order:" if found.steps else "nothing to do, it runs."
    yield f"Workspace {row.name} of {row.template}: {todo}"
    yield from (f"  {number}. {step.sentence()}" for number, step in enumerate(found.steps, 1))
    yield from labelled({**_costs(row), "budget": limits(found.standings)})
    if found.violations:
        yield "The policy refuses it:"
        yield from (f"  {number}. {violation}" for number, violation in enumerate(found.violations, 1))
    if found.over_budget:
        yield f"It would be refused: {found.over_budget}"


def _tell(opened: OpenedWorkspace, args: argparse.Namespace) -> int:
    row = opened.workspace
    if args.json:
        say_json({**facts_of_row(row), "steps": [one.sentence() for one in opened.steps]})
        return DONE
    say(f"Workspace {row.name} is {row.status}{'' if opened.steps else ', as it was'}.")
    if row.service_type == "sagemaker_lab":
        note(f"{NOT_OPENED} Open it: trainmaster connect {row.name}")
    say(
        *labelled(
            {
                **_costs(row),
                "idle": f"stopped after {row.auto_stop_minutes:,} minutes without use" if row.auto_stop_minutes else "",
                "get in": f"trainmaster connect {row.name}",
                "stop it": f"trainmaster stop {row.name}",
            }
        )
    )
    return DONE


def _costs(row: Workspace) -> dict[str, Any]:
    machine = f" on {row.instance_type}" if row.instance_type else ""
    return {
        "service": f"{SERVICES[row.service_type]}{machine}",
        "costs": f"{shown(row.hourly_cost + row.storage_hourly_cost)} an hour while it runs,"
        f" {shown(row.storage_hourly_cost)} while it is stopped",
    }
