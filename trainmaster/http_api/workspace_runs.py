"""Runs that open and close workspaces: of the same request one at a time, however often it is sent."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Literal
from uuid import UUID

from trainmaster.errors import WorkspaceBusyError
from trainmaster.http_api.office import FlowRuns, StartedRun
from trainmaster.workspaces.request import CloseWorkspaceRequest, OpenWorkspaceRequest

Deployment = Literal["open-workspace", "close-workspace"]
OPEN: Deployment = "open-workspace"
CLOSE: Deployment = "close-workspace"


@dataclass(frozen=True)
class WorkspaceRuns:
    """Those about one workspace of a user's."""

    runs: FlowRuns
    user_id: UUID
    name: str

    def latest(self) -> StartedRun | None:
        """The one that was started last, as it stands now."""
        return self.runs.latest(self._about)

    def opening(self) -> StartedRun | None:
        """The latest, if it is to open the workspace."""
        found = self.latest()
        return found if found and found.once.startswith(self._once(OPEN)) else None

    def open(self, request: OpenWorkspaceRequest) -> StartedRun:
        """A run that opens it. Raises WorkspaceBusyError while another request's run is under way."""
        return self._start(OPEN, request.model_dump(mode="json", exclude_defaults=True))

    def close(self, request: CloseWorkspaceRequest) -> StartedRun:
        """A run that closes it, also while another opens it: who stops paying need not wait."""
        return self._start(CLOSE, request.model_dump(mode="json", exclude_defaults=True))

    def _start(self, deployment: Deployment, request: Mapping[str, Any]) -> StartedRun:
        """The one that is under way for the same request, else a new one: of several who ask at once all get the same, as its key
        is made of the run before it."""
        last = self.latest()
        asked = f"{self._once(deployment)}{sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()[:16]} "
        if last and not last.ended:
            if last.once.startswith(asked):
                return last
            if deployment == OPEN:
                raise WorkspaceBusyError(
                    f"Workspace {self.name} is being changed by run {last.name} ({last.state}). Ask again when that has ended:"
                    f" GET /api/runs/{last.id}"
                )
        after = f"after {last.id}" if last else "first"
        return self.runs.start(deployment, request, once=f"{asked}{after}", about=self._about)

    def _once(self, deployment: Deployment) -> str:
        return f"{self.user_id} {deployment} {self.name} "

    @property
    def _about(self) -> str:
        return f"workspace {self.name} of {self.user_id}"
