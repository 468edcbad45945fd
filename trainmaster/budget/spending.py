"""What was billed from one moment to another, entry by entry as the books have it; all sums of a report are folds over these."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Literal, TypeVar, get_args
from uuid import UUID

from sqlalchemy import select

from trainmaster.budget.entries import NOTHING
from trainmaster.budget.ledger import Ledger
from trainmaster.catalog.tables import budget_entries

Kind = Literal["training", "endpoints", "workspaces", "storage", "images", "other"]
KINDS: tuple[Kind, ...] = get_args(Kind)
_SERVICES: Mapping[tuple[str, str], Kind] = {
    ("sagemaker", "training-job"): "training",
    ("sagemaker", "endpoint"): "endpoints",
    ("trainmaster", "workspace"): "workspaces",
    ("elasticfilesystem", "file-system"): "storage",
    ("codebuild", "project"): "images",
    ("ec2", "image"): "images",
}
"""By service and type of an ARN."""
_STORAGE = re.compile(r"@storage#\d+\.\d+")
"""At the end of a meter's key, of the files that a workspace keeps."""
K = TypeVar("K")


@dataclass(frozen=True)
class Bill:
    """A bill that was booked at a moment: US dollars, exactly, for which resource, counted against whom."""

    at: datetime
    key: str
    resource: str
    user_id: UUID | None
    team: str
    dollars: Decimal
    month: str
    """Which it counts in: that of its reservation."""

    @property
    def kind(self) -> Kind:
        return kind_of(self.resource, self.key)

    @property
    def day(self) -> date:
        """In UTC."""
        return self.at.astimezone(UTC).date()


def kind_of(resource: str, key: str = "") -> Kind:
    """What sort of thing a resource of the books is; its files are storage, whatever they belong to."""
    if _STORAGE.search(key):
        return "storage"
    parts = resource.split(":", 5)
    return _SERVICES.get((parts[2], parts[5].partition("/")[0]), "other") if len(parts) == 6 else "other"


def bills_between(ledger: Ledger, since: datetime, until: datetime) -> list[Bill]:
    """Every bill that was booked from `since` on and before `until`, oldest first. Nothing is ever added to what is past."""
    column = budget_entries.c
    query = (
        select(column.at, column.key, column.resource, column.user_id, column.team, column.settled, column.month)
        .where(column.kind == "settled", column.at >= since, column.at < until)
        .order_by(column.position)
    )
    with ledger.reading() as entries:
        return [
            Bill(row.at, row.key, row.resource, row.user_id, row.team or "", row.settled, row.month)
            for row in entries.connection.execute(query)
        ]


def total(bills: Iterable[Bill]) -> Decimal:
    """US dollars, exactly."""
    return sum((bill.dollars for bill in bills), NOTHING)


def totals_by(bills: Iterable[Bill], what: Callable[[Bill], K]) -> dict[K, Decimal]:
    """The same, split by what is asked of each bill; the parts add up to the total, exactly."""
    sums: defaultdict[K, Decimal] = defaultdict(Decimal)
    for bill in bills:
        sums[what(bill)] += bill.dollars
    return dict(sums)
