"""Canvas: an app of the user profile, without code; billed by the session until it is logged out of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from uuid import UUID

from trainmaster.training.desk import Desk
from trainmaster.workspaces.kinds import Access, Seen, Step
from trainmaster.workspaces.workspace import Workspace


class Canvas:
    """The Canvas app of a user profile."""

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
