"""`trainmaster doctor`: what is missing or wrong where Trainmaster is to run, and how to put it right."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from trainmaster.commands.terminal.reporting import DONE, REFUSED, add_command, say, say_json

if TYPE_CHECKING:
    from trainmaster.doctor.findings import Finding
    from trainmaster.settings import Settings

    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

_WIDEST = 24


def add_parser(commands: Subparsers) -> None:
    """`trainmaster doctor`."""
    doctor = add_command(
        commands, "doctor", "check what Trainmaster needs, and say how to put right what is wrong", _doctor
    )
    doctor.description = (
        "Check what Trainmaster needs: settings, AWS credentials, role and permissions by simulation, bucket, quotas, database,"
        " Prefect, Supabase, policy, templates, prices, disk and versions. Changes nothing, but writes and deletes an empty object in"
        " the bucket. Exit code 1 when something will not work."
    )


def _doctor(args: argparse.Namespace, settings: Settings) -> int:
    from trainmaster.doctor.checks import checks  # noqa: PLC0415 - with boto3 and SQLAlchemy, a second
    from trainmaster.doctor.findings import Verdict, examine  # noqa: PLC0415

    found = examine(checks(settings))
    well = not any(finding.verdict is Verdict.FAILURE for finding in found)
    if args.json:
        listed = [
            {"subject": one.subject, "verdict": one.verdict.value, "says": one.says, "fix": one.fix} for one in found
        ]
        say_json({"ok": well, "findings": listed})
    else:
        say(*_shown(found))
    return DONE if well else REFUSED


def _shown(found: Sequence[Finding]) -> Iterator[str]:
    width = min(max(len(one.subject) for one in found), _WIDEST)
    for one in found:
        first, *rest = one.says.splitlines() or [""]
        yield f"{one.verdict.value:<4}  {one.subject:<{width}}  {first}"
        yield from (f"{'':<4}  {'':<{width}}  {line.strip()}" for line in rest)
        if one.fix:
            yield f"{'':<4}  {'':<{width}}  → {one.fix}"
    counts = Counter(one.verdict.value for one in found)
    yield ""
    yield f"{counts['ok']} ok, {counts['warn']} to look at, {counts['fail']} will not work."
