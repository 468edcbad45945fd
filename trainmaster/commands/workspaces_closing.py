"""`trainmaster stop|delete`: an end to what a workspace costs, with its files kept or without."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any, Literal

from trainmaster.budget.money import shown
from trainmaster.commands.train_reporting import DONE, add_command, note, say, say_json
from trainmaster.commands.workspaces_options import add_name, read_closing
from trainmaster.commands.workspaces_showing import facts_of_row, steps_of
from trainmaster.commands.workspaces_standing import workspace_in
from trainmaster.datasets.showing.wording import printable
from trainmaster.settings import Settings
from trainmaster.workspaces.closing import ClosedWorkspace, close_workspace
from trainmaster.workspaces.studio.lab import NO_API

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
        say(f"Would stop {name}. Its files would be kept, at {kept} an hour.")
        note(f"Nothing was done. Do it: trainmaster stop {name}")
        return DONE
    if closed.workspace.status != "stopped":
        detail = f": {printable(closed.workspace.detail)}" if closed.workspace.detail else ""
        say(f"Workspace {name} is {closed.workspace.status}{detail}. No machine of it runs.")
        return DONE
    say(f"Workspace {name} is stopped. Its files are kept, at {kept} an hour.")
    note(f"Start it again: trainmaster start {name}")
    return DONE


def _delete(args: argparse.Namespace, settings: Settings) -> int:
    closed = _close(args, settings, "delete", dry_run=not args.yes)
    if args.json:
        say_json(_facts(closed))
        return DONE
    name = closed.workspace.name
    if closed.dry_run:
        say(f"Would delete {name} with all files in it: {steps_of(closed.steps) or 'nothing was made of it'}.")
        note(f"Nothing was deleted. Do it: trainmaster delete {name} --yes")
        return DONE
    say(f"Workspace {name} is deleted, with all files that were in it.")
    return DONE


def _close(
    args: argparse.Namespace, settings: Settings, action: Literal["stop", "delete"], *, dry_run: bool
) -> ClosedWorkspace:
    request = read_closing(args, action, dry_run=dry_run)
    with workspace_in(args, settings) as (desk, workspace):
        closed = close_workspace(desk, request)
    if workspace.service_type == "sagemaker_lab":
        note(NO_API)
    return closed


def _facts(closed: ClosedWorkspace) -> dict[str, Any]:
    return {
        **facts_of_row(closed.workspace),
        "steps": [one.sentence() for one in closed.steps],
        "dry_run": closed.dry_run,
    }
