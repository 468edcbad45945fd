"""`trainmaster endpoints approve`: which versions of a model may be deployed, and on whose word."""

from __future__ import annotations

import argparse
import getpass
import socket
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from trainmaster.commands.terminal.bad_request import BadRequestError
from trainmaster.commands.terminal.desk import desk_in
from trainmaster.commands.terminal.reporting import DONE, add_command, note, say, say_json
from trainmaster.commands.terminal.tables import table
from trainmaster.endpoints.models.approving import ApprovalRequest, decide_on_version
from trainmaster.endpoints.models.lineage import Lineage, lineages
from trainmaster.endpoints.models.registry import versions
from trainmaster.endpoints.seen import seen_endpoints
from trainmaster.plain_words import printable
from trainmaster.settings import Settings

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]


def add_commands(subcommands: Subparsers) -> None:
    """The subcommand on versions of models."""
    approve = add_command(subcommands, "approve", "let a version of a model be deployed, or see which there are", _run)
    approve.add_argument("group", metavar="GROUP", help="the model's group, which bears its name")
    approve.add_argument(
        "version", nargs="?", type=_version, metavar="VERSION", help="its number; without it, all are listed"
    )
    approve.add_argument("--reject", action="store_true", help="do not let it be deployed; what serves goes on serving")
    approve.add_argument("--why", default="", metavar="TEXT", help="kept with the decision, for whoever wonders")


def _run(args: argparse.Namespace, settings: Settings) -> int:
    if args.version is None and (args.reject or args.why):
        raise BadRequestError("Say which VERSION is decided on; without one, all are listed.")
    if args.reject and not args.why.strip():
        raise BadRequestError("--reject needs --why: whoever wonders finds it with the version.")
    with desk_in(settings) as desk:
        sagemaker = desk.client("sagemaker")
        if args.version is None:
            return _listed(args, list(lineages(versions(sagemaker, args.group), seen_endpoints(desk))))
        request = ApprovalRequest(
            model_group=args.group,
            model_version=args.version,
            decision="reject" if args.reject else "approve",
            reason=": ".join(filter(None, [f"{getpass.getuser()}@{socket.gethostname()}", args.why])),
        )
        decided = decide_on_version(sagemaker, desk.client("s3"), request)
    if args.json:
        say_json(decided.model_dump(mode="json"))
        return DONE
    say(decided.sentence())
    if not args.reject:
        note(f"Deploy it: trainmaster endpoints deploy --model-group {args.group} --model-version {args.version}")
    return DONE


def _listed(args: argparse.Namespace, found: Sequence[Lineage]) -> int:
    if args.json:
        say_json({"versions": [asdict(one.version) | {"endpoints": one.endpoints} for one in found]})
        return DONE
    rows = [
        (
            str(one.version.version), one.version.status, one.version.sha256[:12], one.version.dataset_sha256[:12],
            printable(one.version.job_name), ", ".join(one.endpoints), printable(one.version.why),
        )
        for one in found
    ]  # fmt: skip
    say(*table([("VERSION", "STATUS", "SHA-256", "DATA", "JOB", "SERVED BY", "WHY"), *rows], frozenset({0})))
    return DONE


def _version(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and int(text)):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of a version")
    return int(text)
