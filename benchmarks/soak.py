"""Many jobs at once on an AWS that fails, by followers that are killed: afterwards one job for each request, every log line once, and books
equal to the bill. A table for people, and as the last line one JSON object; the exit code says whether all of it held."""

from __future__ import annotations

import argparse
import json
import os
import secrets
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from benchmarks.soaking.audit import Findings, audit
from benchmarks.soaking.crew import Crew
from benchmarks.soaking.errands import Errand, errands
from benchmarks.soaking.evidence import Evidence
from benchmarks.soaking.furnishing import furnish
from benchmarks.soaking.watch import Watch
from benchmarks.soaking.weather import Control, Weather
from trainmaster.aws.clients import default_clients
from trainmaster.embedded.launch import running
from trainmaster.settings import Settings
from trainmaster.training.desk import Desk, open_desk

MARK = "TRAINMASTER_SOAK"
"""In the environment of every process of a soak, by which those that outlive it are found."""
RELEASE_AFTER = timedelta(seconds=25)
STEP_SECONDS = 0.05
SETTLED_WITHIN = 180.0
TOLD_EVERY = 15.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--followers", type=int, default=6, help="how many work at a time")
    parser.add_argument(
        "--minutes", type=float, default=0.0, help="given up after so many (default: by the number of jobs)"
    )
    parser.add_argument("--keep", type=Path, help="folder to keep everything in, new or empty")
    asked = parser.parse_args()
    longest = 60 * (asked.minutes or 5 + asked.jobs / 6)
    with folder(asked.keep) as kept:
        findings = soak(asked.jobs, asked.seed, asked.followers, longest, kept)
    report(findings)
    return 1 if findings.offenders else 0


@contextmanager
def folder(keep: Path | None) -> Iterator[Path]:
    if keep:
        keep.mkdir(parents=True, exist_ok=True)
        yield keep.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="soak-", ignore_cleanup_errors=True) as temporary:
        yield Path(temporary)


def soak(count: int, seed: int, followers: int, longest: float, kept: Path) -> Findings:
    """Everything from an empty folder to the audit; it takes no longer than about `longest` seconds."""
    os.environ[MARK] = mark = secrets.token_hex(8)
    began = time.monotonic()
    logs = kept / "followers"
    logs.mkdir()
    before = dict(os.environ)
    try:
        with running(kept / "state", stop_grace=1) as environment:
            os.environ.update(environment)
            settings = Settings()
            with open_desk(settings, default_clients(settings.region)) as desk:
                findings = _soak(desk, environment, errands(seed, count), logs, Shift(seed, followers, began + longest))
    finally:
        os.environ.clear()
        os.environ.update(before)
    for process in left(mark, kept):
        findings.offend("processes left", process)
    findings.counts["seconds"] = round(time.monotonic() - began)
    return findings


@dataclass(frozen=True)
class Shift:
    """How many work at a time, by which dice, until when at most."""

    seed: int
    followers: int
    until: float


def _soak(desk: Desk, environment: Mapping[str, str], asked: list[Errand], logs: Path, shift: Shift) -> Findings:
    by_name = {errand.name: errand for errand in asked}
    furnish(desk, asked, logs, shift.followers)
    control = Control(environment)
    weather = Weather(control, desk, by_name)
    crew = Crew(asked, logs, shift.followers, shift.seed, RELEASE_AFTER)
    watch = Watch(desk.ledger)
    weather.begin()
    told = time.monotonic()
    try:
        while not crew.is_done and time.monotonic() < shift.until:
            crew.step(weather.stopped)
            weather.step()
            watch.step()
            if time.monotonic() - told > TOLD_EVERY:
                told = time.monotonic()
                print(f"{crew.sentence()} of {sum(errand.followers for errand in asked)}", file=sys.stderr, flush=True)
            time.sleep(STEP_SECONDS)
        worked = crew.is_done
        tally = control.tally()
        control.clear_faults()
        until = time.monotonic() + SETTLED_WITHIN
        while worked and time.monotonic() < until and _is_open(desk):
            crew.reconcile()
            time.sleep(1)
    finally:
        crew.dismiss()
    findings = audit(Evidence.gathered(desk, by_name, crew.followed, logs))
    if not worked:
        findings.offend("time", f"not done: {crew.sentence()}")
    for what in crew.broken:
        findings.offend("followers", what)
    reconciled = crew.reconciled()
    # What runs although it was given up is counted whether it fits or not.
    for what in watch.wrong + ([] if reconciled["adopted"] else watch.oversold()):
        findings.offend("balances", what)
    findings.counts |= {
        "requests": len(asked),
        "sent_twice": sum(errand.followers == 2 for errand in asked),
        "kills": crew.counts["followers killed"] + crew.counts["reconciles killed"],
        "interruptions": weather.interruptions,
        "stops": len(weather.stopped),
        "faults": sum(tally["faults"].values()),
        "faults_by_kind": dict(sorted(tally["faults"].items())),
        "api_calls": sum(tally["calls"].values()),
        "api_calls_by_operation": dict(sorted(tally["calls"].items(), key=lambda one: -one[1])),
        "processes": dict(sorted(crew.counts.items())),
        "reconciled": dict(sorted(reconciled.items())),
        "least_left_usd": str(min(watch.lowest.values(), default="")),
    }
    return findings


def _is_open(desk: Desk) -> bool:
    return bool(desk.ledger.open_reservations()) or any(True for _ in desk.deployments.open_jobs())


def left(mark: str, kept: Path) -> list[str]:
    """The command lines of processes of this soak that live still: ours by their environment, jobs by the folder they run in."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            environment = (process / "environ").read_bytes().split(b"\0")
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:  # ended meanwhile, or not ours
            continue
        # Those that start followers for us are our children, and end with us; a follower is a child of theirs.
        starts_others = parent == os.getpid() and "multiprocessing" in command
        of_soak = f"{MARK}={mark}".encode() in environment or f"{kept}/" in command
        if of_soak and not starts_others and int(process.name) != os.getpid():
            found.append(f"{process.name}: {command[:160]}")
    return found


def report(findings: Findings) -> None:
    counts: dict[str, Any] = findings.counts
    for name, value in counts.items():
        shown = ", ".join(f"{key} {number}" for key, number in value.items()) if isinstance(value, dict) else value
        print(f"{name.replace('_', ' '):<24} {shown}")
    print("\nNot one invariant is broken." if not findings.offenders else "\nBroken:")
    for sentence in findings.sentences():
        print(sentence)
    order = ["jobs", "duplicates", "lost_log_lines", "unsettled", "ledger_minus_bill_usd", "api_calls"]
    print(json.dumps({name: counts[name] for name in [*order, *sorted(counts.keys() - set(order))]}))


if __name__ == "__main__":
    sys.exit(main())
