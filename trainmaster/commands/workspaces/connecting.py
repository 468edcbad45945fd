"""`trainmaster connect`: into a workspace, by the browser or by a command."""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import sys
import webbrowser
from typing import TYPE_CHECKING

from trainmaster.commands.terminal.bad_request import BadRequestError
from trainmaster.commands.terminal.reporting import DONE, add_command, note, say, say_json
from trainmaster.commands.workspaces.options import add_name
from trainmaster.commands.workspaces.standing import workspace_in
from trainmaster.settings import Settings
from trainmaster.workspaces.kinds import Access
from trainmaster.workspaces.seeing import require_here, require_there, see_workspace
from trainmaster.workspaces.services import kind_of

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]


def add_commands(commands: Subparsers) -> None:
    """The way in."""
    connect = add_command(
        commands, "connect", "get into a workspace: open it in the browser, or show its command", _run
    )
    add_name(connect)
    how = connect.add_mutually_exclusive_group()
    how.add_argument(
        "--print-url", action="store_true", help="print its address, and nothing else, instead of opening a browser"
    )
    how.add_argument("--run", dest="carry_out", action="store_true", help="run its command instead of showing it")


def _run(args: argparse.Namespace, settings: Settings) -> int:
    opens = not (args.print_url or args.carry_out)
    with workspace_in(args, settings) as (desk, workspace):
        require_here(desk, workspace)
        if opens and workspace.connection_type == "web":
            _require_browser(args.name)
        require_there(workspace, see_workspace(desk, workspace))
        access = kind_of(workspace.service_type).access(desk, workspace)
    if access.note:
        note(access.note)
    if args.print_url:
        return _print_url(access, args)
    if args.carry_out:
        return _carry_out(access, args)
    if access.url and not access.command:
        return _open(access, args)
    if args.json:
        say_json({"name": args.name, "command": list(access.command), "url": access.url})
        return DONE
    say(shlex.join(access.command))
    if access.url:
        note(f"Then open {access.url}")
    note(f"Run it: trainmaster connect {args.name} --run")
    return DONE


def _print_url(access: Access, args: argparse.Namespace) -> int:
    if not access.url:
        raise BadRequestError(f"{args.name} has no address; `trainmaster connect {args.name}` shows the command to it.")
    if args.json:
        say_json({"name": args.name, "url": access.url, "secret": access.secret})
    else:
        say(access.url)
    return DONE


def _open(access: Access, args: argparse.Namespace) -> int:
    """In the browser; a secret address is told to nobody else."""
    if not webbrowser.open(access.url):
        raise _no_browser(args.name)
    if args.json:
        say_json({"name": args.name, "opened": True, **({} if access.secret else {"url": access.url})})
    else:
        say(f"Opened {args.name if access.secret else access.url} in the browser.")
    return DONE


def _carry_out(access: Access, args: argparse.Namespace) -> int:
    """In the place of this process, so that keys and signals reach it."""
    if not access.command:
        raise BadRequestError(f"{args.name} is reached by an address; leave --run out.")
    program = access.command[0]
    if shutil.which(program) is None:
        raise BadRequestError(
            f"{program} is not installed here, or not on the PATH. {shlex.join(access.command)} needs it."
        )
    if access.url:
        note(f"Open {access.url} while this runs.")
    sys.stdout.flush()
    os.execvp(program, access.command)


def _require_browser(name: str) -> None:
    try:
        webbrowser.get()
    except webbrowser.Error as error:
        raise _no_browser(name) from error


def _no_browser(name: str) -> BadRequestError:
    return BadRequestError(
        f"There is no browser here that could be opened. `trainmaster connect {name} --print-url` prints the address, which lets"
        " anybody in for as long as it holds."
    )
