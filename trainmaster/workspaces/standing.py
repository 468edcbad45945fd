"""How workspaces stand: what AWS says of them now, what that costs, and what is left of the budgets that pay."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from uuid import UUID

from trainmaster.budget.budgets import Budget, Payer, Standing
from trainmaster.training.desk import Desk
from trainmaster.workspaces.kinds import Seen
from trainmaster.workspaces.seeing import see_workspaces
from trainmaster.workspaces.workspace import BILLABLE, Workspace

DeskIn = Callable[[str], AbstractContextManager[Desk]]
"""From the name of another region to a desk there, until the block ends."""


@dataclass(frozen=True)
class WorkspaceStanding:
    """A workspace, how it stands at `now`, and what is left of the budgets that pay for it (None: no limit)."""

    workspace: Workspace
    seen: Seen
    now: datetime
    left: Decimal | None

    @property
    def hourly(self) -> Decimal:
        """What it costs an hour as it stands: its machine while there is one, and its storage where that is there."""
        machine = self.workspace.hourly_cost if self.seen.status in BILLABLE else Decimal(0)
        return machine + (self.workspace.storage_hourly_cost if self.seen.has_files else Decimal(0))

    @property
    def idle_for(self) -> timedelta | None:
        """Since when nobody has used it, while it runs; None where that is not known."""
        if self.seen.status != "running" or self.used_at is None:
            return None
        return max(self.now - self.used_at, timedelta(0))

    @property
    def used_at(self) -> datetime | None:
        """When it was last in use, as its service tells or as we have seen; None where nobody can say."""
        return max(filter(None, (self.seen.last_used_at, self.workspace.used_at)), default=None)


def standings_of(desk: Desk, workspaces: Sequence[Workspace], elsewhere: DeskIn) -> list[WorkspaceStanding]:
    """How each stands, in the same order, asked of AWS in every region they are in; those of another account are not known."""
    by_region: dict[str, list[Workspace]] = defaultdict(list)
    seen: dict[UUID, Seen] = {}
    for one in workspaces:
        if one.account == desk.account:
            by_region[one.region].append(one)
        else:
            seen[one.id] = Seen("unknown", f"it is in the AWS account {one.account}, and this is {desk.account}")
    for region, there in by_region.items():
        if region == desk.settings.region:
            seen |= see_workspaces(desk, there)
            continue
        with elsewhere(region) as other:
            seen |= see_workspaces(other, there)
    paying, now = paying_for(desk, workspaces), desk.ledger.now()
    return [WorkspaceStanding(one, seen[one.id], now, least_left(one.payer, paying)) for one in workspaces]


def paying_for(desk: Desk, workspaces: Sequence[Workspace]) -> Mapping[Budget, Standing]:
    """This month's standing of every budget that pays for one of them."""
    paying = {budget for one in workspaces for budget in one.payer.budgets()}
    with desk.ledger.reading() as entries:
        return {one.budget: one for one in entries.standings(sorted(paying), entries.month)}


def least_left(payer: Payer, standings: Mapping[Budget, Standing]) -> Decimal | None:
    """What can still be reserved of all the budgets of a payer; None where none of them has a limit."""
    known = [standings[budget].left for budget in payer.budgets() if budget in standings]
    return min((left for left in known if left is not None), default=None)
