"""Studio: a space of the user's in a domain, with JupyterLab or Code Editor running in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from uuid import UUID

from trainmaster.training.desk import Desk
from trainmaster.workspaces.kinds import Access, Seen, Step
from trainmaster.workspaces.workspace import Workspace


class Studio:
    """Spaces and their apps; the domain and the user profile are shared with others."""

    def look(self, desk: Desk, workspaces: Sequence[Workspace]) -> Mapping[UUID, Seen]:
        raise NotImplementedError

    def plan_open(self, desk: Desk, workspace: Workspace) -> list[Step]:
        raise NotImplementedError

    def open(self, desk: Desk, workspace: Workspace) -> Workspace:
        raise NotImplementedError

    def stop(self, desk: Desk, workspace: Workspace) -> None:
        raise NotImplementedError

    def delete(self, desk: Desk, workspace: Workspace) -> None:
        raise NotImplementedError

    def access(self, desk: Desk, workspace: Workspace) -> Access:
        raise NotImplementedError
