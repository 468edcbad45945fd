"""What came of opening or closing a workspace, for people and for what runs next. No address that lets anybody in is part of it."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from trainmaster.budget.money import shown
from trainmaster.workspaces.closing import ClosedWorkspace
from trainmaster.workspaces.opening import OpenedWorkspace, PlannedWorkspace
from trainmaster.workspaces.studio.lab import NOT_DELETED, NOT_STOPPED
from trainmaster.workspaces.workspace import Workspace

NOBODY = "nobody"
"""The owner of a workspace that is no user's."""


class WorkspaceResult(BaseModel):
    """A workspace as it is, or of a dry run as it would be. Amounts are US dollars an hour."""

    model_config = ConfigDict(frozen=True)

    name: str
    template: str
    service_type: str
    status: str
    instance_type: str
    region: str
    owner: str
    hourly_cost: Decimal
    storage_hourly_cost: Decimal
    steps: list[str]
    action: Literal["open", "stop", "delete"] = "open"
    violations: list[str] = []
    over_budget: str = ""
    budgets: list[str] = []
    dry_run: bool = False

    def sentence(self) -> str:
        if self.action != "open":
            return self._closing()
        if not self.dry_run:
            return f"{self._subject} is {self.status}: {self._costs}."
        refusals = " ".join([*self.violations, self.over_budget]).strip()
        refused = f" It would be refused: {refusals}" if refusals else ""
        return f"{self._subject} would cost {self._costs}.{refused} Nothing was done."

    def planned(self) -> str:
        """What it takes and costs, of a run that goes on from here."""
        return f"{self._subject}: {self._costs}. Steps: {'; '.join(self.steps) or 'none'}."

    def _closing(self) -> str:
        is_lab, is_deletion = self.service_type == "sagemaker_lab", self.action == "delete"
        if self.dry_run:
            what = "deleted with all files in it" if is_deletion else "stopped, with its files kept"
            would = f"{what}: {'; '.join(self.steps) or 'there is nothing to do'}."
            if is_lab:
                would = f"deleted. {NOT_DELETED}" if is_deletion else f"stopped. {NOT_STOPPED}"
            return f"{self._subject} would be {would} Nothing was done; turn dry_run off to do it."
        if is_lab:
            return f"{self._subject} is {self.status}. {NOT_DELETED if is_deletion else NOT_STOPPED}"
        if is_deletion:
            return f"{self._subject} is deleted, with all files that were in it."
        return f"{self._subject} is {self.status}: its files are kept, at {shown(self.storage_hourly_cost)} an hour."

    @property
    def _subject(self) -> str:
        return f"Workspace {self.name} ({self.template}{f' on {self.instance_type}' if self.instance_type else ''})"

    @property
    def _costs(self) -> str:
        running, kept = shown(self.hourly_cost), shown(self.storage_hourly_cost)
        return f"{running} an hour while it runs, {kept} an hour for its files"

    def table(self) -> list[dict[str, Any]]:
        """A row for each thing there is to know."""
        return [{"what": what, "value": value} for what, value in self._facts() if value]

    def _facts(self) -> Iterator[tuple[str, str]]:
        yield "workspace", self.name
        yield "template", f"{self.template} ({self.service_type})"
        yield "status", self.status
        yield "instance type", self.instance_type
        yield "region", self.region
        yield "owner", self.owner
        yield "an hour while it runs", shown(self.hourly_cost)
        yield "an hour for its files", shown(self.storage_hourly_cost)
        yield "steps" if self.dry_run else "done", "; ".join(self.steps) or "nothing"
        for number, violation in enumerate(self.violations, 1):
            yield f"against the policy, {number}", violation
        yield "over budget", self.over_budget
        for budget in self.budgets:
            yield "budget", budget


def planned_result(plan: PlannedWorkspace) -> WorkspaceResult:
    """Of what would be opened."""
    return WorkspaceResult(
        **_about(plan.workspace),
        steps=[step.sentence() for step in plan.steps],
        violations=list(plan.violations),
        over_budget=plan.over_budget,
        budgets=[standing.sentence() for standing in plan.standings],
        dry_run=True,
    )


def opened_result(opened: OpenedWorkspace) -> WorkspaceResult:
    """Of what runs."""
    return WorkspaceResult(**_about(opened.workspace), steps=[step.sentence() for step in opened.steps])


def closed_result(closed: ClosedWorkspace, action: Literal["stop", "delete"]) -> WorkspaceResult:
    """Of what was closed, or would be."""
    steps = [step.sentence() for step in closed.steps]
    return WorkspaceResult(**_about(closed.workspace), steps=steps, action=action, dry_run=closed.dry_run)


def _about(workspace: Workspace) -> dict[str, Any]:
    return {
        "name": workspace.name,
        "template": workspace.template,
        "service_type": workspace.service_type,
        "status": workspace.status,
        "instance_type": workspace.instance_type,
        "region": workspace.region,
        "owner": str(workspace.user_id or NOBODY),
        "hourly_cost": workspace.hourly_cost,
        "storage_hourly_cost": workspace.storage_hourly_cost,
    }
