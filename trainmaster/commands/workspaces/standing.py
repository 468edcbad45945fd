"""`trainmaster list|info`: the workspaces there are, of all services in one table, and everything about one."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from trainmaster.commands.terminal.bad_request import BadRequestError
from trainmaster.commands.terminal.desk import desk_in
from trainmaster.commands.terminal.reporting import DONE, add_command, note, say, say_json
from trainmaster.commands.workspaces.options import add_name, add_owner, owner
from trainmaster.commands.workspaces.showing import (
    facts,
    facts_of_costs,
    listed,
    of_workspace,
)
from trainmaster.settings import Settings
from trainmaster.training.desk import Desk
from trainmaster.workspaces.costs import costs_of
from trainmaster.workspaces.standing import WorkspaceStanding, paying_for, standings_of
from trainmaster.workspaces.workspace import Workspace

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]


def add_commands(commands: Subparsers) -> None:
    """Those that look and change nothing."""
    list_ = add_command(commands, "list", "your workspaces: Studio, Canvas, Studio Lab and EC2 in one table", _list)
    list_.add_argument("--all-users", action="store_true", help="everybody's")
    add_owner(list_)
    info = add_command(commands, "info", "everything about a workspace, with what it costs", _info)
    add_name(info)


def _list(args: argparse.Namespace, settings: Settings) -> int:
    if args.all_users and args.user:
        raise BadRequestError("--all-users is of everybody, --user of one; give one of them.")
    with desk_in(settings) as desk:
        known = desk.catalogue.workspaces
        found = shown(desk, known.all() if args.all_users else known.of(owner(args, settings)))
    if args.json:
        say_json({"workspaces": [facts(one) for one in found]})
    elif found:
        say(*listed(found))
    else:
        note(
            "There are none. `trainmaster templates` lists what one can be opened from, `trainmaster launch` opens it."
        )
    return DONE


def _info(args: argparse.Namespace, settings: Settings) -> int:
    with workspace_in(args, settings) as (desk, workspace):
        [one] = shown(desk, [workspace])
        costs, standings = costs_of(desk, workspace), list(paying_for(desk, [workspace]).values())
    if args.json:
        say_json({**facts(one), **facts_of_costs(costs, standings), "spec": workspace.spec})
    else:
        say(*of_workspace(one, costs, standings))
    return DONE


@contextmanager
def workspace_in(args: argparse.Namespace, settings: Settings) -> Iterator[tuple[Desk, Workspace]]:
    """The one that is meant, and a desk in the region it is in. Raises UnknownChoiceError, naming those there are."""
    with desk_in(settings) as desk:
        workspace = desk.catalogue.workspaces.get(owner(args, settings), args.name)
        if workspace.region == desk.settings.region:
            yield desk, workspace
            return
    with desk_in(settings, workspace.region) as desk:
        yield desk, workspace


def shown(desk: Desk, workspaces: Sequence[Workspace]) -> list[WorkspaceStanding]:
    """How each stands, in the same order, in whatever region it is."""
    return standings_of(desk, workspaces, partial(desk_in, desk.settings))
