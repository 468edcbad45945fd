"""What must be right when a soak has ended: held against AWS's own word, and against what each job wrote on its disk."""

from __future__ import annotations

import csv
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import ROUND_HALF_UP, Decimal
from importlib.resources import files
from pathlib import Path
from typing import Any

from sqlalchemy import select

from benchmarks.soaking.errands import Errand
from trainmaster.catalog.tables import budget_entries, cloud_deployments
from trainmaster.training.desk import Desk

GROUP = "/aws/sagemaker/TrainingJobs"
SHOWN = 10
STATUSES = {"Completed": {"completed"}, "Failed": {"failed"}, "Stopped": {"stopped", "cancelled"}}
HOURS_PER_MONTH = 672
"""Of the shortest month: what AWS may divide the price of a gigabyte and month by at worst."""
STEP = re.compile(r"start=(\d+) .*step=(\d+)/(\d+) ")

Lines = Counter[tuple[str, str]]
"""Stream and text."""


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


@dataclass(frozen=True)
class Evidence:
    """All there is at the end. `errands` are by their names, `followed` the runs that saw their job's end."""

    desk: Desk
    state: Path
    logs: Path
    errands: Mapping[str, Errand]
    followed: set[str]


def audit(evidence: Evidence) -> Findings:
    """Everything at once; nothing is changed. No faults may be in force."""
    findings = Findings()
    described = _described(evidence.desk)
    _jobs(evidence, described, findings)
    bills = {name: bill_of(job) for name, job in described.items()}
    _books(evidence, bills, findings)
    _rows(evidence, described, bills, findings)
    _logs(evidence, described, findings)
    return findings


def bill_of(job: Mapping[str, Any]) -> Decimal:
    """By the prices' file and Describe alone, to the millionth of a dollar."""
    resources = job["ResourceConfig"]
    hourly = (
        _price(resources["InstanceType"]) + _price("storage-gb-month") * resources["VolumeSizeInGB"] / HOURS_PER_MONTH
    )
    exact = hourly * resources["InstanceCount"] * job.get("BillableTimeInSeconds", 0) / 3600
    return exact.quantize(Decimal("0.000001"), ROUND_HALF_UP)


def _price(item: str) -> Decimal:
    with files("trainmaster.budget").joinpath("prices.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if (row["region"], row["use"]) == ("us-east-1", "training")]
    return next(Decimal(row["usd"]) for row in rows if row["item"] == item)


def _described(desk: Desk) -> dict[str, Mapping[str, Any]]:
    sagemaker = desk.client("sagemaker")
    pages = sagemaker.get_paginator("list_training_jobs").paginate(MaxResults=100)
    names = [job["TrainingJobName"] for page in pages for job in page["TrainingJobSummaries"]]
    return {name: sagemaker.describe_training_job(TrainingJobName=name) for name in names}


def _jobs(evidence: Evidence, described: Mapping[str, Mapping[str, Any]], findings: Findings) -> None:
    """One for each request, none besides, each ended as it was meant to or as was done to it."""
    by_errand: dict[str, list[str]] = defaultdict(list)
    for name in described:
        by_errand[Errand.named_in(name)].append(name)
    duplicates = sum(len(names) - 1 for names in by_errand.values())
    for names in by_errand.values():
        if len(names) > 1:
            findings.offend("duplicates", " and ".join(names))
    for errand in evidence.errands.values():
        if not by_errand[errand.name] and any(run in evidence.followed for run in errand.runs()):
            findings.offend("jobs", f"{errand.name} was followed to its end, but AWS does not know it")
    for name, job in described.items():
        errand = evidence.errands[Errand.named_in(name)]
        if job["TrainingJobStatus"] not in STATUSES:
            findings.offend("jobs", f"{name} still is {job['TrainingJobStatus']}")
        elif surprise := _surprise(errand, job):
            findings.offend("endings", f"{name} {surprise}")
    ended = Counter(job["TrainingJobStatus"].lower() for job in described.values())
    findings.counts |= {
        "jobs": len(described),
        "duplicates": duplicates,
        **{status: ended[status] for status in ("completed", "failed", "stopped")},
    }


def _surprise(errand: Errand, job: Mapping[str, Any]) -> str:
    """How a job ended that should have ended otherwise."""
    status, reason = job["TrainingJobStatus"], job.get("FailureReason", "")
    if reason.startswith("CapacityError"):
        return "failed for capacity although it is on spot" if errand.spot else ""
    match errand.ending:
        case "completes":
            return "" if status == "Completed" else f"ended {status} ({reason or job['SecondaryStatus']})"
        case "fails":
            return "" if status == "Failed" and "ExitCode 7" in reason else f"ended {status} ({reason})"
        case _:  # a stop may come when it is just done
            return "" if status in ("Stopped", "Completed") else f"ended {status} ({reason})"


def _books(evidence: Evidence, bills: Mapping[str, Decimal], findings: Findings) -> None:
    ledger = evidence.desk.ledger
    unsettled = ledger.open_reservations()
    for one in unsettled:
        findings.offend("unsettled", f"{one.key}: {one.charge.amount} since {one.reserved_at:%H:%M:%S}")
    with evidence.desk.catalogue.database.reading() as connection:
        entries = connection.execute(select(budget_entries)).all()
    settled = sum((entry.settled for entry in entries), Decimal(0))
    reserved = sum((entry.reserved for entry in entries), Decimal(0))
    difference = settled - sum(bills.values(), Decimal(0))
    for name in bills.keys() | {entry.key for entry in entries}:
        booked = [entry.settled for entry in entries if entry.key == name and entry.kind == "settled"]
        if len(booked) > 1 or sum(booked, Decimal(0)) != bills.get(name, Decimal(0)):
            findings.offend("books", f"{name}: booked {booked}, billed {bills.get(name)}")
    for standing in ledger.standings():
        if standing.limit is not None and (
            standing.balance != standing.limit - standing.settled or standing.reserved or standing.settled < 0
        ):
            findings.offend("balances", f"{standing.budget}: {standing}")
    if ledger.standings()[0].settled != settled or reserved != 0:
        findings.offend("balances", f"the account's entries sum up to {settled} settled and {reserved} reserved")
    findings.counts |= {
        "unsettled": len(unsettled),
        "ledger_usd": str(settled),
        "ledger_minus_bill_usd": f"{difference:.2f}" if not difference else str(difference),
    }
    if difference:
        findings.offend("books", f"the ledger is {difference} above the bill")


def _rows(
    evidence: Evidence, described: Mapping[str, Mapping[str, Any]], bills: Mapping[str, Decimal], findings: Findings
) -> None:
    """One for each request that got so far, ended, and saying what AWS says."""
    with evidence.desk.catalogue.database.reading() as connection:
        rows = connection.execute(select(cloud_deployments)).all()
    for name, count in Counter(row.deployment_id for row in rows).items():
        if count > 1:
            findings.offend("rows", f"{name} has {count} rows")
    for name in described.keys() - {row.deployment_id for row in rows}:
        findings.offend("rows", f"{name} has none")
    for row in rows:
        said = f"{row.deployment_id} is {row.status}, ended {row.completed_at}, for {row.actual_cost}"
        job = described.get(row.deployment_id)
        if job is None:
            if row.completed_at is None or row.actual_cost:
                findings.offend("rows", f"{said}; it was never launched")
            continue
        ended = job.get("TrainingEndTime", job["LastModifiedTime"])
        true = row.status in STATUSES.get(job["TrainingJobStatus"], ())
        if not (true and row.completed_at == ended and row.actual_cost == bills[row.deployment_id]):
            findings.offend("rows", f"{said}; AWS: {job['TrainingJobStatus']}, {ended}, {bills[row.deployment_id]}")
        if row.started_at != job.get("TrainingStartTime"):
            findings.offend("rows", f"{row.deployment_id} began {row.started_at}; AWS: {job.get('TrainingStartTime')}")


def _logs(evidence: Evidence, described: Mapping[str, Mapping[str, Any]], findings: Findings) -> None:
    lost = doubled = written = 0
    for name, job in described.items():
        errand = evidence.errands[Errand.named_in(name)]
        truth = lines_on_disk(evidence.state / "training-jobs" / name / "logs")
        written += truth.total()
        _numbered(name, errand, job, truth, findings)
        told = {"CloudWatch": lines_in_cloudwatch(evidence.desk.client("logs"), name)}
        for run in errand.runs():
            told[run] = lines_of_run(evidence.logs / f"{run}.log")
        for whose, lines in told.items():
            missing, surplus = truth - lines, lines - truth
            if whose == "CloudWatch" or whose in evidence.followed:
                lost += missing.total()
                for line in missing:
                    findings.offend("lost log lines", f"{whose}: {line[0]}: {line[1][:80]}")
            doubled += surplus.total()
            for line in surplus:
                findings.offend("doubled log lines", f"{whose}: {line[0]}: {line[1][:80]}")
    findings.counts |= {"log_lines": written, "lost_log_lines": lost, "doubled_log_lines": doubled}


def _numbered(name: str, errand: Errand, job: Mapping[str, Any], lines: Lines, findings: Findings) -> None:
    """Between two starts no number is missing, and a job that completed has said its last."""
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
    if job["TrainingJobStatus"] == "Completed" and errand.ending == "completes" and last != errand.lines:
        findings.offend("lost log lines", f"{name} completed after line {last} of {errand.lines}")


def lines_on_disk(folder: Path) -> Lines:
    """What a job's hosts wrote, as the embedded AWS keeps it: lines of `<milliseconds> <text>`."""
    found: Lines = Counter()
    for path in folder.glob("*.log"):
        for line in path.read_text(encoding="utf-8").splitlines():
            found[path.stem, line.partition(" ")[2]] += 1
    return found


def lines_in_cloudwatch(logs: Any, job: str) -> Lines:
    found: Lines = Counter()
    pages = logs.get_paginator("describe_log_streams").paginate(logGroupName=GROUP, logStreamNamePrefix=f"{job}/")
    for stream in [stream["logStreamName"] for page in pages for stream in page["logStreams"]]:
        token = None
        while True:
            more = {"nextToken": token} if token else {}
            page = logs.get_log_events(logGroupName=GROUP, logStreamName=stream, startFromHead=True, **more)
            for event in page["events"]:
                found[stream.rpartition("/")[2], event["message"]] += 1
            if page["nextForwardToken"] == token:
                break
            token = page["nextForwardToken"]
    return found


def lines_of_run(path: Path) -> Lines:
    """What a follower has told: lines of `<time> <stream> <text>`."""
    found: Lines = Counter()
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            _, stream, text = line.split(" ", 2)
            found[stream, text] += 1
    return found
