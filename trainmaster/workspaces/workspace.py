"""A workspace: whose it is, what it was opened from, what AWS calls its parts, and how it stands. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal, get_args
from uuid import UUID, uuid5

from trainmaster.budget.budgets import Payer

ServiceType = Literal["ec2", "sagemaker_studio", "sagemaker_lab", "sagemaker_canvas"]
SERVICE_TYPES: tuple[ServiceType, ...] = get_args(ServiceType)
ConnectionType = Literal["ssh", "dcv", "web", "api"]
Status = Literal[
    "pending", "starting", "running", "stopping", "stopped", "deleting", "deleted", "failed", "missing", "unknown"
]
"""One vocabulary for all services. Pending: its row is there, and nothing was made for certain. Missing: AWS does not know what the
row says was made. Unknown: AWS could not be asked."""
STATUSES: tuple[Status, ...] = get_args(Status)
BILLABLE: frozenset[Status] = frozenset({"starting", "running", "stopping"})
"""Statuses in which its machine is, or may be, paid for."""

_NAMESPACE = UUID("3d0c4a58-0f0b-4c39-9f0e-6c7f3f7b8a21")


def workspace_id_of(user_id: UUID | None, name: str) -> UUID:
    """The row's id: the same for the same name of the same user, whoever makes it."""
    return uuid5(_NAMESPACE, f"{user_id or ''} {name}")


@dataclass(frozen=True)
class Workspace:
    """A row. Amounts are US dollars an hour.

    `template` is its name and `spec` what the template and the request came to, in JSON, from which it is started again;
    `fingerprint` is of what cannot be changed once it is there. `resources` is what AWS calls its parts (`domain_id`,
    `user_profile`, `space`, `instance_id` …), written down as they are made. `incarnation` counts how often the name was opened
    anew after it was deleted. `status` is as last seen, at `seen_at`.
    """

    id: UUID
    user_id: UUID | None
    name: str
    template: str
    service_type: ServiceType
    connection_type: ConnectionType
    account: str
    region: str
    team: str
    instance_type: str
    volume_gb: int
    hourly_cost: Decimal
    """While it runs: its machine and what the service adds."""
    storage_hourly_cost: Decimal
    """For as long as it is there."""
    fingerprint: str
    status: Status
    created_at: datetime
    spec: Mapping[str, Any] = field(default_factory=dict)
    resources: Mapping[str, str] = field(default_factory=dict)
    incarnation: int = 1
    auto_stop_minutes: int | None = None
    keep_until: datetime | None = None
    seen_at: datetime | None = None
    detail: str = ""
    """Why it failed or differs, in words."""
    used_at: datetime | None = None
    """When it was last seen in use; None where nobody can say."""
    warned: str = ""
    """What people were told last before it is stopped, and when."""

    @property
    def payer(self) -> Payer:
        return Payer(self.user_id, self.team)

    @property
    def slug(self) -> str:
        """Its name, and for whom: what AWS's names of its parts are made of, at most 50 characters."""
        return f"{self.name}-{self.id.hex[:8]}"

    @property
    def resource(self) -> str:
        """What the books call it: made as ARNs are, though AWS has no such service."""
        return f"arn:aws:trainmaster:{self.region}:{self.account}:workspace/{self.slug}"
