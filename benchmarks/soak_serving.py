"""Many clients ask an endpoint while it is updated twice and once with a model that answers nonsense: no request may fail or get a price that
no proven version gives, and the books must come to what was in service. A table for people, and as the last line one JSON object; the
exit code says whether all of it held. Deployments are made by `trainmaster endpoints deploy`, on the embedded AWS.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from benchmarks.predicting.models import Question, houses, packed, trained
from benchmarks.predicting.servers import client, signed_invocation
from trainmaster.budget.ledger import open_ledger
from trainmaster.budget.metering import Meters
from trainmaster.budget.prices import known_prices
from trainmaster.embedded import processes
from trainmaster.embedded.launch import running

ENDPOINT, REGION, INSTANCE = "soak-serving", "us-east-1", "ml.m5.large"
DEPLOYED_WITHIN = 300.0
_ROOT = Path(__file__).parent.parent
_NONSENSE = """

_predict = predict_fn


def predict_fn(houses, model):
    priced = _predict(houses, model)
    return type(priced)([price * 100 for price in priced.dollars], priced.model_version, priced.batch)
"""
"""Appended to inference.py: it starts, answers the ping, and asks a hundred times the price."""


@dataclass
class Findings:
    """What was seen, and what ought not to be."""

    figures: dict[str, Any] = field(default_factory=dict)
    deployments: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--clients", type=int, default=50)
    options.add_argument(
        "--seconds", type=float, default=60.0, help="of load at least; it goes on until the last update is done"
    )
    options.add_argument("--pace", type=float, default=4.0, help="requests a second of each client")
    asked = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="soak-serving-", ignore_cleanup_errors=True) as folder:
        findings = soak(asked, Path(folder))
    figures = findings.figures
    print(f"\n{asked.clients} clients, {asked.pace:g} requests a second each, {os.cpu_count()} cores")
    for sentence in findings.deployments:
        print(f"  {sentence}")
    print(f"  {figures['requests']:,} requests, {figures['failed']} failed; answered by {figures['versions']}")
    print(
        f"  p50 {figures['p50_ms']} ms, p95 {figures['p95_ms']} ms, p99 {figures['p99_ms']} ms, longest {figures['longest_ms']} ms"
    )
    print(f"  booked ${figures['billed']}, in service for at least ${figures['least']} and at most ${figures['most']}")
    for sentence in findings.wrong:
        print(f"  WRONG: {sentence}")
    told = {name: figures[name] for name in ("requests", "failed", "p50_ms", "p95_ms", "p99_ms", "versions", "billed")}
    print(
        json.dumps(
            {
                "clients": asked.clients,
                "pace": asked.pace,
                "cores": os.cpu_count(),
                **told,
                "wrong": len(findings.wrong),
            }
        )
    )
    return 1 if findings.wrong else 0


def soak(asked: argparse.Namespace, folder: Path) -> Findings:
    """From an empty folder to the removed endpoint and its books."""
    versions = {name: trained(folder / name, version=name, seed=seed) for name, seed in (("v1", 7), ("v2", 8))}
    questions = houses(versions)
    findings = Findings()
    with running(folder / "state", stop_grace=1) as environment:
        aws = Site(environment, folder)
        artifacts = {name: aws.upload(name, packed(model)) for name, model in versions.items()}
        artifacts["nonsense"] = aws.upload("nonsense", packed(versions["v1"], version="nonsense", appended=_NONSENSE))
        began = datetime.now(UTC)
        aws.deploy(artifacts["v1"], findings, works=True)
        serving = datetime.now(UTC)
        with aws.asked(questions, asked) as load:
            for name in ("v2", "nonsense", "v1"):
                aws.deploy(artifacts[name], findings, works=name != "nonsense")
        findings.figures = figures = load.figures
        gone = aws.remove()
        findings.figures |= aws.books(began, serving, gone, findings.wrong)
    if figures["failed"]:
        findings.wrong.append(f"{figures['failed']} requests failed: {figures['answers']}, {figures['examples']}")
    if strange := figures["versions"].keys() - {"v1", "v2"}:
        findings.wrong.append(f"answers came from {sorted(strange)}")
    if figures["versions"].keys() < {"v1", "v2"}:
        findings.wrong.append(f"only {sorted(figures['versions'])} answered: the load ended too early")
    return findings


@dataclass
class Load:
    figures: dict[str, Any] = field(default_factory=dict)


class Site:
    """The embedded AWS as a platform engineer uses it."""

    def __init__(self, environment: Mapping[str, str], folder: Path) -> None:
        self._environment, self._folder = {**os.environ, **environment}, folder
        self._aws, self._bucket = environment, environment["TRAINMASTER_BUCKET"]

    def upload(self, name: str, artifact: bytes) -> str:
        s3 = client(self._aws, "s3")
        s3.put_object(Bucket=self._bucket, Key=f"soak/{name}/model.tar.gz", Body=artifact)
        return f"s3://{self._bucket}/soak/{name}/model.tar.gz"

    def deploy(self, model: str, findings: Findings, *, works: bool) -> None:
        """Told in a sentence; it is wrong when what should work does not, or the other way round."""
        began, name = time.monotonic(), model.split("/")[-2]
        done = self._command("deploy", "--endpoint-name", ENDPOINT, "--model-uri", model, "--instance-type", INSTANCE)
        took = f"{name}: {'deployed' if done.returncode == 0 else 'refused or taken back'} in {time.monotonic() - began:.1f} s"
        findings.deployments.append(took)
        if (done.returncode == 0) is not works:
            findings.wrong.append(f"deploying {name} ended with exit code {done.returncode}: {done.stderr[-1500:]}")

    @contextmanager
    def asked(self, questions: Sequence[Question], asked: argparse.Namespace) -> Iterator[Load]:
        """Clients are at it while the block runs, and for as many seconds as they were given at least."""
        job, said, until, load = (
            self._folder / "job.json",
            self._folder / "figures.json",
            self._folder / "enough",
            Load(),
        )
        port, request = signed_invocation(self._aws, ENDPOINT)
        given = [(request(one.house), one.prices) for one in questions]
        job.write_text(
            json.dumps(
                {
                    "port": port,
                    "clients": asked.clients,
                    "pace": asked.pace,
                    "seconds": DEPLOYED_WITHIN,
                    "asked": given,
                    "until": str(until),
                }
            )
        )
        enough = threading.Timer(asked.seconds, lambda: None)
        enough.start()
        with said.open("wb") as output:
            child = processes.start(
                [sys.executable, "-m", "benchmarks.predicting.load", str(job)], cwd=_ROOT, stdout=output
            )
        try:
            yield load
            enough.join()
            until.touch()
            if child.wait(60):
                sys.exit("The clients failed; they say why above.")
            load.figures = json.loads(said.read_text())
        finally:
            child.kill()

    def remove(self) -> datetime:
        """When it was gone."""
        done = self._command("remove", ENDPOINT, "--yes")
        if done.returncode:
            sys.exit(f"The endpoint could not be removed: {done.stderr}")
        return datetime.now(UTC)

    def books(self, began: datetime, serving: datetime, gone: datetime, wrong: list[str]) -> dict[str, str]:
        """What was billed, against what was in service: one instance all the time at least, two at most."""
        with open_ledger(None, Path(self._environment["TRAINMASTER_STATE_DIR"])) as ledger:
            left = Meters(ledger).running()
            standing = ledger.standings()
        if left:
            wrong.append(f"hours are still reserved for {[one.name for one in left]}")
        billed = max((one.settled for one in standing), default=Decimal(0))
        hourly = known_prices(Path("none")).instance(INSTANCE, "hosting", REGION).usd
        least, most = hourly * _hours(gone - serving), 2 * hourly * _hours(gone - began)
        if not least <= billed <= most:
            wrong.append(f"${billed} were billed, between ${least:.6f} and ${most:.6f} would be right")
        return {"billed": f"{billed:f}", "least": f"{least:.6f}", "most": f"{most:.6f}"}

    def _command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "trainmaster.cli", "endpoints", *arguments],
            env=self._environment, capture_output=True, text=True, timeout=DEPLOYED_WITHIN, check=False,
        )  # fmt: skip


def _hours(passed: timedelta) -> Decimal:
    return Decimal(passed // timedelta(microseconds=1)) / (3600 * 10**6)


if __name__ == "__main__":
    sys.exit(main())
