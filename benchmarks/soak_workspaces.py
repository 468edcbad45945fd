"""Workspaces are opened, left idle, stopped, started and deleted, each by two callers at once and some by hand behind our back, while others
reconcile and stop what is idle; then nothing may be left that costs money, and the bill of each must be what it ran and was kept, to
the cent. Machines are the embedded AWS's; time is the soak's own and passes in leaps. A table for people, and as the last line one
JSON object; the exit code says whether all of it held.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID

import boto3

from trainmaster.aws.clients import client_config
from trainmaster.budget.ledger import Ledger
from trainmaster.budget.metering import Meters
from trainmaster.budget.stays import stays_of
from trainmaster.embedded.launch import running
from trainmaster.endpoints.watch.watching import StopIdleRequest
from trainmaster.settings import Settings
from trainmaster.training.desk import Desk, open_desk
from trainmaster.workspaces.closing import close_workspace
from trainmaster.workspaces.metering import meter_workspaces
from trainmaster.workspaces.opening import open_workspace
from trainmaster.workspaces.request import CloseWorkspaceRequest, OpenWorkspaceRequest
from trainmaster.workspaces.services import kind_of
from trainmaster.workspaces.watch.watching import watch_workspaces
from trainmaster.workspaces.workspace import Workspace

CENT = Decimal("0.01")
TEMPLATES = {
    "editor": """
description: Code Editor
service_type: sagemaker_studio
connection_type: web
service_config: {domain: soak, app: CodeEditor, default_instance_type: ml.g5.xlarge, volume_gb: 50, auto_stop_minutes: 60}
policy: {data_classification: internal}
""",
    "pictures": """
description: Canvas
service_type: sagemaker_canvas
connection_type: web
service_config: {domain: soak, auto_stop_minutes: 60}
policy: {data_classification: internal}
""",
    "box": """
description: A machine
service_type: ec2
connection_type: ssh
service_config:
  ami_parameter: /aws/service/canonical/ubuntu/server/24.04/stable/current/amd64/hvm/ebs-gp3/ami-id
  default_instance_type: t3.large
  volume_gb: 30
  auto_stop_minutes: 60
policy: {data_classification: internal}
""",
}


@dataclass
class Clock:
    """Stands still while somebody acts, and passes when the soak says so. A day ahead, so that it is never behind AWS's."""

    moment: datetime = field(default_factory=lambda: datetime.now(UTC) + timedelta(days=1))

    def __call__(self) -> datetime:
        return self.moment


@dataclass
class Expected:
    """What one workspace must come to: kept by the soak, from what it asked for and was told, not from the books."""

    template: str
    owner: UUID
    row: Workspace | None = None
    runs: bool = False
    kept: bool = False
    cost: Decimal = Decimal(0)

    def passes(self, length: timedelta) -> None:
        if self.row is None:
            return
        hours = Decimal(length // timedelta(seconds=1)) / 3600
        self.cost += hours * (self.row.hourly_cost * self.runs + self.row.storage_hourly_cost * self.kept)


class Soak:
    """Callers of one embedded AWS, each with a desk of its own on the same books."""

    def __init__(self, environment: Mapping[str, str], folder: Path, seed: int) -> None:
        self._environment, self._folder = environment, folder
        self._random = Random(seed)  # noqa: S311 - nothing of it is secret
        self.clock, self.did, self.wrong = Clock(), Counter[str](), list[str]()
        self.workspaces = [Expected(template, UUID(int=owner)) for template in TEMPLATES for owner in (1, 2)]
        templates = folder / "templates"
        templates.mkdir()
        for name, text in TEMPLATES.items():
            (templates / f"{name}.yaml").write_text(text)
        self._settings = Settings().model_copy(
            update={
                "state_dir": folder / "books",
                "workspace_templates": templates,
                "poll_seconds": 0.05,
                "execution_role_arn": environment["TRAINMASTER_EXECUTION_ROLE_ARN"],
                "region": environment["AWS_REGION"],
                "bucket": environment["TRAINMASTER_BUCKET"],
            }
        )

    @contextmanager
    def desk(self) -> Iterator[Desk]:
        def client(service: str) -> Any:
            keys = {"aws_access_key_id": "AWS_ACCESS_KEY_ID", "aws_secret_access_key": "AWS_SECRET_ACCESS_KEY"}
            given = {name: self._environment[variable] for name, variable in keys.items()}
            where = {"endpoint_url": self._environment["AWS_ENDPOINT_URL"], "region_name": self._settings.region}
            return boto3.client(service, config=client_config(), **where, **given)  # type: ignore[call-overload]

        with open_desk(self._settings, client) as desk:
            yield replace(desk, ledger=Ledger(desk.catalogue.database, self.clock))

    def run(self, steps: int) -> None:
        for number in range(steps):
            one = self._random.choice(self.workspaces)
            acts: list[Callable[[Expected], None]] = [self._open]
            if one.runs:
                acts = [self._stop, self._stop_by_hand, self._delete, self._idle, self._open]
            elif one.kept:
                acts = [self._open, self._open, self._delete]
            self._random.choice(acts)(one)
            if self._random.random() < 0.4:
                self._reconcile()
            self._pass(minutes=self._random.randint(1, 600))
            if number % 25 == 24:
                print(f"  {number + 1} steps, {self.clock.moment:%Y-%m-%d %H:%M}", file=sys.stderr, flush=True)
        for one in self.workspaces:
            if one.row and (one.runs or one.kept):
                self._delete(one)

    def audit(self) -> Iterator[tuple[str, Decimal, Decimal]]:
        """What each was expected to come to, and what it did."""
        with self.desk() as desk:
            for one in self.workspaces:
                if one.row is None:
                    continue
                billed = sum((stay.cost for stay in stays_of(desk.ledger, one.row.resource)), Decimal(0))
                if abs(billed - one.cost) >= CENT / 2:
                    self.wrong.append(f"{one.row.name} of {one.owner}: billed ${billed}, and ran for ${one.cost}")
                yield f"{one.row.name} of user {one.owner.int}", one.cost, billed
            if left := Meters(desk.ledger).running():
                self.wrong.append(f"hours are still reserved for {[meter.name for meter in left]}")
            self._require_nothing_left(desk)

    def _require_nothing_left(self, desk: Desk) -> None:
        pages = desk.client("ec2").get_paginator("describe_instances").paginate()
        machines = [one for page in pages for found in page["Reservations"] for one in found["Instances"]]
        alive = [one["InstanceId"] for one in machines if one["State"]["Name"] != "terminated"]
        apps = desk.client("sagemaker").list_apps()["Apps"]
        alive += [one["AppName"] for one in apps if one["Status"] not in {"Deleted", "Failed"}]
        alive += [one["SpaceName"] for one in desk.client("sagemaker").list_spaces()["Spaces"]]
        if alive:
            self.wrong.append(f"AWS still has {alive}")

    def _twice(self, what: str, act: Callable[[Desk], Any]) -> list[Any]:
        """By two callers at once: a double click, or two workers."""
        self.did[what] += 1

        def called(_: int) -> Any:
            with self.desk() as desk:
                return act(desk)

        with ThreadPoolExecutor(2) as pool:
            return list(pool.map(called, range(2)))

    def _open(self, one: Expected) -> None:
        request = OpenWorkspaceRequest(template=one.template, name=one.template, user_id=str(one.owner))
        rows = self._twice("opened", lambda desk: open_workspace(desk, request).workspace)
        one.row, one.runs, one.kept = rows[0], True, True

    def _stop(self, one: Expected) -> None:
        self._twice("stopped", lambda desk: close_workspace(desk, self._closing(one, "stop")))
        one.runs = False

    def _delete(self, one: Expected) -> None:
        self._twice("deleted", lambda desk: close_workspace(desk, self._closing(one, "delete")))
        one.runs = one.kept = False

    def _stop_by_hand(self, one: Expected) -> None:
        """As in AWS's console: nobody tells the books, and the next who looks finds it stopped."""
        self.did["stopped by hand"] += 1
        with self.desk() as desk:
            row = desk.catalogue.workspaces.get(one.owner, one.template)
            kind_of(row.service_type).stop(desk, row)
        self._pass(minutes=self._random.randint(1, 60))
        self._reconcile()
        one.runs = False

    def _idle(self, one: Expected) -> None:
        """Nobody uses it, and its metrics say so: two sweeps at once warn of it, and two stop it."""
        self._pass(minutes=75)
        with self.desk() as desk:
            self._say_unused(desk, desk.catalogue.workspaces.get(one.owner, one.template))
        at_once = StopIdleRequest(notice_minutes=0)
        for _ in range(2):
            for swept in self._twice("swept", lambda desk: list(watch_workspaces(desk, at_once))):
                self.wrong += [found.sentence() for found in swept if found.failure]
                for found in swept:
                    if found.act == "stop" and found.done:
                        self._stopped_as_idle(found.workspace, found.user_id)

    def _stopped_as_idle(self, name: str, owner: UUID | None) -> None:
        for one in self.workspaces:
            if (one.template, one.owner) == (name, owner):
                self.did["stopped as idle"] += one.runs
                one.runs = False

    def _say_unused(self, desk: Desk, row: Workspace) -> None:
        """What AWS publishes of an instance or a Canvas that nobody uses. A Code Editor says nothing."""
        if row.service_type == "ec2":
            name, of = "CPUUtilization", {"InstanceId": row.resources["instance_id"]}
            told = [(age * 5, 0.3) for age in range(1, 13)]
        elif row.service_type == "sagemaker_canvas":
            name, told = "TimeSinceLastActive", [(6, 4200.0)]
            of = {"DomainId": row.resources["domain_id"], "UserProfileName": row.resources["user_profile"]}
        else:
            return
        namespace = "AWS/EC2" if row.service_type == "ec2" else "/aws/sagemaker/Canvas/AppActivity"
        dimensions = [{"Name": key, "Value": value} for key, value in of.items()]
        data: Any = [
            {
                "MetricName": name,
                "Dimensions": dimensions,
                "Value": value,
                "Timestamp": self.clock.moment - timedelta(minutes=age),
            }
            for age, value in told
        ]
        desk.client("cloudwatch").put_metric_data(Namespace=namespace, MetricData=data)

    def _reconcile(self) -> None:
        for found in self._twice("reconciled", lambda desk: list(meter_workspaces(desk))):
            self.wrong += [f"{one.workspace} {one.part}: {one.why}" for one in found if one.finding == "failed"]

    def _pass(self, *, minutes: int) -> None:
        length = timedelta(minutes=minutes)
        self.clock.moment += length
        for one in self.workspaces:
            one.passes(length)

    @staticmethod
    def _closing(one: Expected, action: Any) -> CloseWorkspaceRequest:
        return CloseWorkspaceRequest(name=one.template, user_id=str(one.owner), action=action, dry_run=False)


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--steps", type=int, default=100)
    options.add_argument("--seed", type=int, default=1)
    asked = options.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="soak-workspaces-", ignore_cleanup_errors=True) as folder,
        running(Path(folder) / "state", stop_grace=1) as environment,
    ):
        soak = Soak(environment, Path(folder), asked.seed)
        began = soak.clock.moment
        soak.run(asked.steps)
        books = list(soak.audit())
    days = (soak.clock.moment - began) / timedelta(days=1)
    print(f"\n{asked.steps} steps in {days:.1f} days of the soak's own, {os.cpu_count()} cores, seed {asked.seed}")
    print("  " + ", ".join(f"{what} {count}" for what, count in sorted(soak.did.items())))
    print(f"  {'':<24}{'RAN FOR':>14}{'BILLED':>14}")
    for name, expected, billed in books:
        print(f"  {name:<24}{expected:>14.6f}{billed:>14.6f}")
    for sentence in soak.wrong:
        print(f"  WRONG: {sentence}")
    total = sum((billed for _, _, billed in books), Decimal(0))
    owed = sum((expected for _, expected, _ in books), Decimal(0))
    facts = {"steps": asked.steps, "days": round(days, 1), "cores": os.cpu_count(), "did": dict(soak.did)}
    told = {**facts, "expected": f"{owed:.6f}", "billed": f"{total:.6f}", "wrong": len(soak.wrong)}
    print(json.dumps(told))
    return 1 if soak.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
