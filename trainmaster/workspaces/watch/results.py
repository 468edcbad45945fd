"""What came of looking after workspaces."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from trainmaster.endpoints.watch.results import SweptEndpoint
from trainmaster.workspaces.watch.idle import Act, Reason


class SweptWorkspace(BaseModel):
    """One workspace as it was found and left. `done` says what was done about it, `failure` why it could not be looked after."""

    model_config = ConfigDict(frozen=True)

    workspace: str
    region: str
    user_id: UUID | None = None
    act: Act = "leave"
    reason: Reason | None = None
    why: str = ""
    done: str = ""
    failure: str = ""
    at: datetime = Field(default_factory=lambda: datetime.now(UTC))

    @property
    def is_eventful(self) -> bool:
        return bool(self.reason or self.done or self.failure)

    def sentence(self) -> str:
        where = f"{self.workspace} in {self.region}"
        if self.failure:
            return f"Workspace {where} could not be looked after: {self.failure}"
        said = "; ".join(part for part in (self.why, self.done) if part) or "it is wanted"
        return f"Workspace {where}: {said}."

    def row(self) -> dict[str, str]:
        found = {"workspace": self.workspace, "owner": str(self.user_id or ""), "region": self.region}
        return {**found, "reason": self.reason or "", "why": self.why, "done": self.done or self.failure}


class WorkspacesSweep(BaseModel):
    """Every workspace there is."""

    workspaces: list[SweptWorkspace] = []

    @property
    def eventful(self) -> list[SweptWorkspace]:
        return [one for one in self.workspaces if one.is_eventful]

    @property
    def failures(self) -> list[str]:
        return [one.sentence() for one in self.workspaces if one.failure]

    def sentence(self) -> str:
        counts = {
            "looked at": len(self.workspaces),
            "over": sum(1 for one in self.workspaces if one.reason),
            "warned of": self._did("warn"),
            "stopped": self._did("stop"),
            "failed": len(self.failures),
        }
        return "Workspaces: " + ", ".join(f"{count} {what}" for what, count in counts.items()) + "."

    def table(self) -> list[dict[str, str]]:
        """Those of which there is something to say."""
        return [one.row() for one in self.eventful]

    def _did(self, act: Act) -> int:
        return sum(1 for one in self.workspaces if one.act == act and one.done)


class StopIdleReport(BaseModel):
    """What came of looking after all that costs money by the hour."""

    endpoints: list[SweptEndpoint] = []
    workspaces: list[SweptWorkspace] = []
