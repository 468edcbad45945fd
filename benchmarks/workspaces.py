"""How long `trainmaster list` takes for 500 workspaces of all kinds, and what it asks AWS: calls by operation, beside those for 50.

Everything it touches is real: rows and books in SQLite, spaces and apps in the embedded SageMaker, instances in moto's EC2, boto3. Apps
are Code Editor's, which runs in name only there: five hundred JupyterLabs would measure the machine.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import boto3

from trainmaster.aws.clients import client_config
from trainmaster.budget.budgets import ACCOUNT, Budget
from trainmaster.commands.workspaces.standing import shown
from trainmaster.embedded import launch
from trainmaster.settings import Settings
from trainmaster.training.desk import Desk, open_desk
from trainmaster.workspaces.machines.plan import client_token, names_of
from trainmaster.workspaces.spec import Spec
from trainmaster.workspaces.tags import tag_list
from trainmaster.workspaces.templates.loading import find_template
from trainmaster.workspaces.workspace import ServiceType, Workspace, workspace_id_of

SIZES = (50, 500)
TURNS = 5
USER = UUID(int=7)
SHARES: Mapping[ServiceType, int] = {"sagemaker_studio": 60, "ec2": 34, "sagemaker_lab": 6}
"""Of a hundred workspaces; every second one of Studio runs."""
TEMPLATES: Mapping[ServiceType, str] = {
    "sagemaker_studio": "sagemaker-studio",
    "ec2": "python-ml",
    "sagemaker_lab": "sagemaker-studio-lab",
}
WITHIN = 120.0


@dataclass(frozen=True)
class Measured:
    """One list, in this process, of so many workspaces: by the median of all turns but the first. `busy` are seconds of its own
    processor time, which other work on the machine does not lengthen."""

    workspaces: int
    seconds: float
    busy: float
    calls: Mapping[str, int]

    @property
    def total(self) -> int:
        return sum(self.calls.values())


def main() -> int:
    measured, command = [], 0.0
    with (
        tempfile.TemporaryDirectory(prefix="bench-workspaces-", ignore_cleanup_errors=True) as folder,
        launch.running(Path(folder) / "aws") as environment,
    ):
        for size in SIZES:
            state = str(Path(folder) / str(size))
            os.environ |= {**environment, "TRAINMASTER_STATE_DIR": state, "TRAINMASTER_USER_ID": str(USER)}
            print(f"{size} workspaces: rows, spaces, apps, instances …", file=sys.stderr, flush=True)
            measured.append(measure(size))
        command = statistics.median(_command() for _ in range(TURNS))
    print_table(measured, command)
    return 0


def measure(size: int) -> Measured:
    """With an AWS and books that have so many more workspaces afterwards."""
    calls = Counter[str]()

    def counted(service: str) -> Any:
        client = boto3.Session().client(service, config=client_config())  # type: ignore[call-overload]
        client.meta.events.register(
            "before-send.*", lambda event_name, **_: calls.update([event_name.rsplit(".", 1)[1]])
        )
        return client

    with open_desk(Settings(), counted) as desk:
        for budget in (ACCOUNT, Budget("user", str(USER))):
            desk.ledger.set_limit(budget, Decimal(100_000), set_by="the benchmark")
        furnish(desk, f"bench{size}", {service: size * share // 100 for service, share in SHARES.items()})
        seconds, busy = [], []
        for _ in range(TURNS):
            calls.clear()
            began, at_work = time.monotonic(), time.process_time()
            found = shown(desk, desk.catalogue.workspaces.of(USER))
            seconds.append(time.monotonic() - began)
            busy.append(time.process_time() - at_work)
        if len(found) != size or any(one.seen.status not in ("running", "stopped") for one in found):
            sys.exit(f"{len(found)} of {size} are listed: {Counter(one.seen.status for one in found)}")
    took, worked = (round(statistics.median(each[1:]), 3) for each in (seconds, busy))
    return Measured(size, took, worked, dict(calls))


def furnish(desk: Desk, prefix: str, sizes: Mapping[ServiceType, int], user_id: UUID = USER) -> list[Workspace]:
    """So many workspaces of each service, their names beginning alike: rows, and what AWS has of them."""
    rows = [
        _row(desk, service, f"{prefix}-{number}", user_id)
        for service, count in sizes.items()
        for number in range(count)
    ]
    made = [
        *_spaces(desk, prefix, [one for one in rows if one.service_type == "sagemaker_studio"]),
        *_instances(desk, [one for one in rows if one.service_type == "ec2"]),
        *(
            (one, {"project_url": "https://studiolab.sagemaker.aws"})
            for one in rows
            if one.service_type == "sagemaker_lab"
        ),
    ]
    return [desk.catalogue.workspaces.note_resources(desk.catalogue.workspaces.begin(one), **of) for one, of in made]


def _row(desk: Desk, service: ServiceType, name: str, user_id: UUID) -> Workspace:
    name = f"{name}-{service.rpartition('_')[2]}"
    template = find_template(desk.settings, TEMPLATES[service])
    return Workspace(
        id=workspace_id_of(user_id, name), user_id=user_id, name=name, template=template.name, service_type=service,
        connection_type="ssh" if service == "ec2" else "web", account=desk.account, region=desk.settings.region, team="",
        instance_type="t3.medium" if service == "ec2" else "ml.t3.medium", volume_gb=5, hourly_cost=Decimal("0.05"),
        storage_hourly_cost=Decimal("0.001"), fingerprint="bench", status="running", created_at=datetime.now(UTC),
        spec=Spec(template=template).model_dump(mode="json"),
    )  # fmt: skip


def _spaces(desk: Desk, prefix: str, rows: Sequence[Workspace]) -> Iterator[tuple[Workspace, dict[str, str]]]:
    """In a domain of their own, with an app in every second."""
    if not rows:
        return
    sagemaker, role = desk.client("sagemaker"), desk.settings.required("execution_role_arn")
    domain = sagemaker.create_domain(
        DomainName=prefix, AuthMode="IAM", DefaultUserSettings={"ExecutionRole": role}, SubnetIds=_subnets(desk), VpcId=_vpc(desk)
    )["DomainId"]  # fmt: skip
    _until(lambda: sagemaker.describe_domain(DomainId=domain)["Status"] == "InService")
    sagemaker.create_user_profile(DomainId=domain, UserProfileName="bench")
    _until(lambda: sagemaker.describe_user_profile(DomainId=domain, UserProfileName="bench")["Status"] == "InService")
    for one in rows:
        sagemaker.create_space(
            DomainId=domain, SpaceName=one.slug, OwnershipSettings={"OwnerUserProfileName": "bench"},
            SpaceSharingSettings={"SharingType": "Private"}, SpaceSettings={"AppType": "CodeEditor"},
        )  # fmt: skip
    names = {one.slug for one in rows}
    _until(lambda: names <= _in_service(sagemaker, "list_spaces", "Spaces", domain))
    for one in rows[::2]:
        sagemaker.create_app(DomainId=domain, SpaceName=one.slug, AppType="CodeEditor", AppName="default")
    names = {one.slug for one in rows[::2]}
    _until(lambda: names <= _in_service(sagemaker, "list_apps", "Apps", domain))
    yield from ((one, {"domain_id": domain, "space": one.slug}) for one in rows)


def _instances(desk: Desk, rows: Sequence[Workspace]) -> Iterator[tuple[Workspace, dict[str, str]]]:
    ec2 = desk.client("ec2")
    image = ec2.describe_images(Owners=["amazon"])["Images"][0]["ImageId"]
    for one in rows:
        [made] = ec2.run_instances(
            ImageId=image, InstanceType=one.instance_type, MinCount=1, MaxCount=1, ClientToken=client_token(one),
            TagSpecifications=[{"ResourceType": "instance", "Tags": tag_list(names_of(one))}],
        )["Instances"]  # fmt: skip
        yield one, {"instance_id": made["InstanceId"]}


def _in_service(sagemaker: Any, operation: str, member: str, domain: str) -> set[str]:
    pages = sagemaker.get_paginator(operation).paginate(DomainIdEquals=domain)
    return {one["SpaceName"] for page in pages for one in page[member] if one["Status"] == "InService"}


def _vpc(desk: Desk) -> str:
    found: str = desk.client("ec2").describe_vpcs()["Vpcs"][0]["VpcId"]
    return found


def _subnets(desk: Desk) -> list[str]:
    found = desk.client("ec2").describe_subnets(Filters=[{"Name": "vpc-id", "Values": [_vpc(desk)]}])["Subnets"]
    return [one["SubnetId"] for one in found[:2]]


def _until(condition: Any) -> None:
    deadline = time.monotonic() + WITHIN
    while not condition():
        if time.monotonic() > deadline:
            sys.exit("The embedded AWS did not come so far in time.")
        time.sleep(0.2)


def _command() -> float:
    """Seconds of the whole command, Python's start and imports included."""
    began = time.monotonic()
    subprocess.run([sys.executable, "-m", "trainmaster.cli", "list"], check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - began


def print_table(measured: Sequence[Measured], command: float) -> None:
    print(f"\n{'workspaces':>10} {'calls':>6} {'seconds':>8} {'busy':>6}  calls by operation")
    for one in measured:
        by = ", ".join(f"{name} {count}" for name, count in sorted(one.calls.items()))
        print(f"{one.workspaces:>10} {one.total:>6} {one.seconds:>8.3f} {one.busy:>6.3f}  {by}")
    few, many = measured[0], measured[-1]
    print(f"The whole command with {many.workspaces} workspaces, Python's start included: {command:.2f} s")
    print(
        json.dumps(
            {
                "cores": os.cpu_count(),
                "workspaces": many.workspaces,
                "seconds": many.seconds,
                "busy_seconds": many.busy,
                "command_seconds": round(command, 2),
                "api_calls": many.total,
                f"api_calls_of_{few.workspaces}": few.total,
                "calls": dict(many.calls),
            }
        )
    )


if __name__ == "__main__":
    sys.exit(main())
