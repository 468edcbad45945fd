"""What a check says of one thing, and carrying many checks out at once, none for longer than it may take."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from trainmaster.errors import TrainmasterError

SECONDS = 30.0
"""For each check: what answers later than that is as good as away."""


class Verdict(StrEnum):
    """What a finding comes to."""

    OK = "ok"
    WARNING = "warn"
    FAILURE = "fail"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at; `fix` is what to do where it is not well."""

    subject: str
    verdict: Verdict
    says: str
    fix: str = ""


def ok(subject: str, says: str) -> Finding:
    """All is well."""
    return Finding(subject, Verdict.OK, says)


def warning(subject: str, says: str, fix: str) -> Finding:
    """It works, and may cost somebody dearly, or it could not be told."""
    return Finding(subject, Verdict.WARNING, says, fix)


def failure(subject: str, says: str, fix: str) -> Finding:
    """Something will not work."""
    return Finding(subject, Verdict.FAILURE, says, fix)


@dataclass(frozen=True)
class Check:
    """What to look at. `look` may raise: that is a finding too."""

    subject: str
    look: Callable[[], Iterable[Finding]]
    fix_when_it_fails: str


def examine(checks: Sequence[Check], *, seconds: float = SECONDS) -> list[Finding]:
    """The findings of all, in the order of the checks. They are made at once; one that does not end in time is a failure."""
    answers: queue.SimpleQueue[tuple[int, list[Finding]]] = queue.SimpleQueue()
    for number, check in enumerate(checks):
        # Daemons, so that one that hangs in a library keeps no command from ending.
        threading.Thread(target=lambda n=number, c=check: answers.put((n, _made(c))), daemon=True).start()
    found: dict[int, list[Finding]] = {}
    deadline = time.monotonic() + seconds
    while len(found) < len(checks):
        try:
            number, findings = answers.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            break
        found[number] = findings
    late = f"said nothing for {seconds:.0f} s"
    return [
        finding
        for number, check in enumerate(checks)
        for finding in found.get(number, [failure(check.subject, late, check.fix_when_it_fails)])
    ]


def _made(check: Check) -> list[Finding]:
    try:
        return list(check.look())
    except TrainmasterError as error:  # which says itself what to do
        return [failure(check.subject, str(error), "")]
    except Exception as error:  # noqa: BLE001 - whatever one check runs into must not hide what the others find
        return [failure(check.subject, _said(error), check.fix_when_it_fails)]


def _said(error: Exception) -> str:
    """In a line: the first of the message, with what kind of error it is."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__
