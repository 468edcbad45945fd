"""What must be right when a soak has ended. Pure."""

from __future__ import annotations

import csv
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import ROUND_HALF_UP, Decimal
from functools import cache
from importlib.resources import files
from typing import Any

from benchmarks.soaking.errands import Errand
from benchmarks.soaking.evidence import Evidence, Lines

SHOWN = 10
ROWS = {"Completed": {"completed", "cancelled"}, "Failed": {"failed", "cancelled"}, "Stopped": {"stopped", "cancelled"}}
"""What the row of a job may say that ended so; the application finds it cancelled where it has cancelled it."""
HOURS_PER_MONTH = 672
"""Of the shortest month: what AWS may divide the price of a gigabyte and month by at worst."""
STEP = re.compile(r"start=(\d+) .*step=(\d+)/(\d+) ")
NOTHING = Decimal(0)


@dataclass
class Findings:
    """What was counted, and what offends: by invariant, each with whom it concerns."""

    counts: dict[str, Any] = field(default_factory=dict)
    offenders: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def offend(self, invariant: str, whom: str) -> None:
        self.offenders[invariant].append(whom)

    def sentences(self) -> Iterator[str]:
        """The first offenders of each invariant."""
        for invariant, whom in self.offenders.items():
            more = f"\n    … and {len(whom) - SHOWN} more" if len(whom) > SHOWN else ""
            yield f"  {invariant}:\n    " + "\n    ".join(whom[:SHOWN]) + more


def audit(evidence: Evidence) -> Findings:
    """Everything at once."""
    findings = Findings()
    bills = {name: bill_of(job) for name, job in evidence.jobs.items()}
    _jobs(evidence, findings)
    _books(evidence, bills, findings)
    _rows(evidence, bills, findings)
    _logs(evidence, findings)
    return findings


def bill_of(job: Mapping[str, Any]) -> Decimal:
    """By the prices' file and Describe alone, to the millionth of a dollar."""
    resources = job["ResourceConfig"]
    storage = price_of("storage-gb-month") * resources["VolumeSizeInGB"] / HOURS_PER_MONTH
    hourly = (price_of(resources["InstanceType"]) + storage) * resources["InstanceCount"]
    return (hourly * job.get("BillableTimeInSeconds", 0) / 3600).quantize(Decimal("0.000001"), ROUND_HALF_UP)


@cache
def price_of(item: str) -> Decimal:
    with files("trainmaster.budget").joinpath("prices.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if (row["region"], row["use"], row["item"]) == ("us-east-1", "training", item):
                return Decimal(row["usd"])
    raise KeyError(item)


def _jobs(evidence: Evidence, findings: Findings) -> None:
    """One for each request, none besides, each ended as it was meant to or as was done to it."""
    by_errand: dict[str, list[str]] = defaultdict(list)
    for name in evidence.jobs:
        by_errand[Errand.named_in(name)].append(name)
    for names in by_errand.values():
        if len(names) > 1:
            findings.offend("duplicates", " and ".join(names))
    for errand in evidence.errands.values():
        if not by_errand[errand.name] and evidence.followed.intersection(errand.runs()):
            findings.offend("jobs", f"{errand.name} was followed to its end, but AWS does not know it")
    for name, job in evidence.jobs.items():
        if job["TrainingJobStatus"] not in ROWS:
            findings.offend("jobs", f"{name} still is {job['TrainingJobStatus']}")
        elif surprise := _surprise(evidence.errands[Errand.named_in(name)], job):
            findings.offend("endings", f"{name} {surprise}")
    ended = Counter(job["TrainingJobStatus"].lower() for job in evidence.jobs.values())
    findings.counts |= {
        "jobs": len(evidence.jobs),
        "duplicates": sum(max(len(names) - 1, 0) for names in by_errand.values()),
        **{status: ended[status] for status in ("completed", "failed", "stopped")},
    }


def _surprise(errand: Errand, job: Mapping[str, Any]) -> str:
    """How a job ended that should have ended otherwise."""
    status, reason = job["TrainingJobStatus"], job.get("FailureReason", "")
    said = f"ended {status} ({reason or job['SecondaryStatus']})"
    if reason.startswith("CapacityError"):
        return "failed for capacity although it is on spot" if errand.spot else ""
    match errand.ending:
        case "completes":
            return "" if status == "Completed" else said
        case "fails":
            return "" if status == "Failed" and "ExitCode 7" in reason else said
        case _:  # a stop may come when it is just done
            return "" if status in ("Stopped", "Completed") else said


def _books(evidence: Evidence, bills: Mapping[str, Decimal], findings: Findings) -> None:
    by_key = defaultdict(list)
    for entry in evidence.entries:
        by_key[entry.key].append(entry)
    open_ = [key for key, entries in by_key.items() if sum((one.reserved for one in entries), NOTHING)]
    for key in open_:
        findings.offend("unsettled", f"{key}: {', '.join(entry.kind for entry in by_key[key])}")
    for key in bills.keys() | by_key.keys():
        booked = [entry.settled for entry in by_key[key] if entry.kind == "settled"]
        if len(booked) > 1 or sum(booked, NOTHING) != bills.get(key, NOTHING):
            findings.offend("books", f"{key}: booked {', '.join(map(str, booked))}; the bill is {bills.get(key)}")
    settled = sum((entry.settled for entry in evidence.entries), NOTHING)
    difference = settled - sum(bills.values(), NOTHING)
    for standing in evidence.standings:
        if standing.reserved or standing.limit is None or standing.balance != standing.limit - standing.settled:
            findings.offend("balances", f"{standing.sentence()}, {standing.reserved} of it reserved")
    if evidence.standings and evidence.standings[0].settled != settled:
        findings.offend("balances", f"the account's entries sum up to {settled}, not {evidence.standings[0].settled}")
    findings.counts |= {
        "unsettled": len(open_),
        "bill_usd": str(sum(bills.values(), NOTHING)),
        "ledger_minus_bill_usd": str(difference) if difference else "0.00",
    }


def _rows(evidence: Evidence, bills: Mapping[str, Decimal], findings: Findings) -> None:
    """One for each request that got so far, ended, and saying what AWS says."""
    for name, count in Counter(Errand.named_in(row.job) for row in evidence.rows).items():
        if count > 1:
            findings.offend("rows", f"{name} has {count} rows")
    for name in evidence.jobs.keys() - {row.job for row in evidence.rows}:
        findings.offend("rows", f"{name} has none")
    for row in evidence.rows:
        said = f"{row.job} is {row.status}, from {row.started_at} to {row.completed_at}, for {row.actual_cost}"
        job = evidence.jobs.get(row.job)
        if job is None:
            if row.completed_at is None or row.actual_cost:
                findings.offend("rows", f"{said}; it was never launched")
            continue
        began, ended = job.get("TrainingStartTime"), job.get("TrainingEndTime", job["LastModifiedTime"])
        true = row.status in ROWS.get(job["TrainingJobStatus"], ())
        if not true or (row.started_at, row.completed_at, row.actual_cost) != (began, ended, bills[row.job]):
            findings.offend("rows", f"{said}; AWS: {job['TrainingJobStatus']}, {began} to {ended}, {bills[row.job]}")


def _logs(evidence: Evidence, findings: Findings) -> None:
    lost = doubled = 0
    for name, job in evidence.jobs.items():
        errand, written = evidence.errands[Errand.named_in(name)], evidence.written[name]
        _numbered(name, errand, job, written, findings)
        for whose, lines in {
            "CloudWatch": evidence.kept[name],
            **{run: evidence.told[run] for run in errand.runs()},
        }.items():
            missing, surplus = written - lines, lines - written
            if whose == "CloudWatch" or whose in evidence.followed:
                lost += missing.total()
                for stream, text in missing:
                    findings.offend("lost log lines", f"{whose}: {stream}: {text[:80]}")
            doubled += surplus.total()
            for stream, text in surplus:
                findings.offend("doubled log lines", f"{whose}: {stream}: {text[:80]}")
    written_lines = sum(lines.total() for lines in evidence.written.values())
    findings.counts |= {"log_lines": written_lines, "lost_log_lines": lost, "doubled_log_lines": doubled}


def _numbered(name: str, errand: Errand, job: Mapping[str, Any], lines: Lines, findings: Findings) -> None:
    """Of one start no number is missing, and a job that completed has said its last."""
    if errand.hosts > 1:  # they share their checkpoint
        return
    steps: dict[str, list[int]] = defaultdict(list)
    for _, text in lines:
        if found := STEP.match(text):
            steps[found[1]].append(int(found[2]))
    for start, numbers in steps.items():
        if sorted(numbers) != list(range(min(numbers), max(numbers) + 1)):
            findings.offend("lost log lines", f"{name}, start {start}: {sorted(numbers)}")
    last = max((number for numbers in steps.values() for number in numbers), default=0)
    if job["TrainingJobStatus"] == "Completed" and last != errand.lines:
        findings.offend("lost log lines", f"{name} completed after line {last} of {errand.lines}")
