"""Rows of workspaces for tests, and desks that have books and a catalogue but no AWS."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from books import Clock

from trainmaster.budget.ledger import Ledger
from trainmaster.budget.prices import shipped_prices
from trainmaster.settings import Settings
from trainmaster.training.desk import Desk, open_desk
from trainmaster.workspaces.rates import rates_of
from trainmaster.workspaces.spec import Spec
from trainmaster.workspaces.templates.template import ServiceConfig, Template
from trainmaster.workspaces.workspace import Workspace, workspace_id_of

ACCOUNT_ID, REGION = "123456789012", "us-east-1"


def unreachable(service: str) -> Any:
    raise AssertionError(f"{service} was asked")


@contextmanager
def desk_without_aws(folder: Path, clock: Clock) -> Iterator[Desk]:
    given: dict[str, Any] = {
        "state_dir": folder,
        "DATABASE_URL": None,
        "execution_role_arn": f"arn:aws:iam::{ACCOUNT_ID}:role/any",
        "TRAINMASTER_REGION": REGION,
    }
    with open_desk(Settings(**given), unreachable) as desk:
        yield replace(desk, ledger=Ledger(desk.catalogue.database, clock))


def workspace(name: str = "", user_id: UUID | None = None, **changed: Any) -> Workspace:
    """A Studio workspace, on ml.t3.medium with 20 GB at what they cost; `changed` replaces anything else."""
    name, user_id = name or f"w{uuid4().hex[:8]}", user_id or uuid4()
    row = Workspace(
        **{
            "id": workspace_id_of(user_id, name),
            "user_id": user_id,
            "name": name,
            "template": "sagemaker-studio",
            "service_type": "sagemaker_studio",
            "connection_type": "web",
            "account": ACCOUNT_ID,
            "region": REGION,
            "team": "",
            "instance_type": "ml.t3.medium",
            "volume_gb": 20,
            "hourly_cost": 0,
            "storage_hourly_cost": 0,
            "fingerprint": "of a test",
            "status": "pending",
            "created_at": datetime.now(UTC),
            **changed,
        }
    )
    rates = rates_of(shipped_prices(), row, REGION)
    of = Template(
        name=row.template,
        description="of a test",
        service_type=row.service_type,
        connection_type=row.connection_type,
        service_config=ServiceConfig(
            default_instance_type=row.instance_type,
            project_url="https://github.com/aws/studio-lab-examples" if row.service_type == "sagemaker_lab" else "",
        ),
    )
    row = replace(row, spec=Spec(template=of).model_dump(mode="json"))
    return replace(row, hourly_cost=rates.running, storage_hourly_cost=rates.storage)
