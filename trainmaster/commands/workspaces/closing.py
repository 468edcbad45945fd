"""`trainmaster stop|delete`: an end to what a workspace costs, with its files kept or without."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any, Literal

from trainmaster.budget.money import shown
from trainmaster.commands.terminal.reporting import DONE, add_command, note, say, say_json
from trainmaster.commands.workspaces.options import add_name, read_closing
from trainmaster.commands.workspaces.showing import facts_of_row, steps_of
from trainmaster.commands.workspaces.standing import workspace_in
from trainmaster.plain_words import printable
from trainmaster.settings import Settings
from trainmaster.workspaces.closing import ClosedWorkspace, close_workspace
from trainmaster.workspaces.studio.lab import NOT_DELETED, NOT_STOPPED
from trainmaster.workspaces.workspace import Workspace

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]


def add_commands(commands: Subparsers) -> None:
    """The one that keeps files, and the one that does not and only says so without `--yes`."""
    stop = add_command(commands, "stop", "stop a workspace, and keep its files", _stop)
    stop.add_argument("--dry-run", action="store_true", help="only say what would be done")
    delete = add_command(commands, "delete", "delete a workspace with all that is in it", _delete)
    delete.add_argument("--yes", action="store_true", help="really do it; without it, only say what would be deleted")
    for parser in (stop, delete):
        add_name(parser)


def _stop(args: argparse.Namespace, settings: Settings) -> int:
    closed = _close(args, settings, "stop", dry_run=args.dry_run)
    if args.json:
        say_json(_facts(closed))
        return DONE
    name, kept = closed.workspace.name, shown(closed.workspace.storage_hourly_cost)
    if closed.dry_run:
        if not closed.steps:
            say(f"Workspace {name} is {closed.workspace.status}: there is nothing to stop.")
            return DONE
        say(
            f"Would stop {name}. {NOT_STOPPED if _is_lab(closed.workspace) else f'Its files would be kept, at {kept} an hour.'}"
        )
        note(f"Nothing was done. Do it: trainmaster stop {name}")
        return DONE
    say(stopped(closed))
    if closed.workspace.status == "stopped":
        note(f"Start it again: trainmaster start {name}")
    return DONE


def stopped(closed: ClosedWorkspace) -> str:
    """What came of stopping it."""
    row = closed.workspace
    if row.status != "stopped":
        detail = f": {printable(row.detail)}" if row.detail else ""
        return f"Workspace {row.name} is {row.status}{detail}. No machine of it runs."
    if _is_lab(row):
        return f"Workspace {row.name} is stopped. {NOT_STOPPED}"
    return f"Workspace {row.name} is stopped. Its files are kept, at {shown(row.storage_hourly_cost)} an hour."


def _delete(args: argparse.Namespace, settings: Settings) -> int:
    closed = _close(args, settings, "delete", dry_run=not args.yes)
    if args.json:
        say_json(_facts(closed))
        return DONE
    name = closed.workspace.name
    if closed.dry_run:
        gone = f"with all files in it: {steps_of(closed.steps) or 'nothing was made of it'}."
        say(f"Would delete {name}{f'. {NOT_DELETED}' if _is_lab(closed.workspace) else f' {gone}'}")
        note(f"Nothing was deleted. Do it: trainmaster delete {name} --yes")
        return DONE
    say(deleted(closed))
    return DONE


def deleted(closed: ClosedWorkspace) -> str:
    """What came of deleting it."""
    row = closed.workspace
    if _is_lab(row):
        return f"Workspace {row.name} is deleted. {NOT_DELETED}"
    return f"Workspace {row.name} is deleted, with all files that were in it."


def _is_lab(row: Workspace) -> bool:
    return row.service_type == "sagemaker_lab"


def _close(
    args: argparse.Namespace, settings: Settings, action: Literal["stop", "delete"], *, dry_run: bool
) -> ClosedWorkspace:
    request = read_closing(args, action, dry_run=dry_run)
    with workspace_in(args, settings) as (desk, _):
        return close_workspace(desk, request)


def _facts(closed: ClosedWorkspace) -> dict[str, Any]:
    return {
        **facts_of_row(closed.workspace),
        "steps": [one.sentence() for one in closed.steps],
        "dry_run": closed.dry_run,
    }
