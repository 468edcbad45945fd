"""What every kind of workspace can do: the one set of actions behind which Studio, Canvas, Studio Lab and EC2 differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from trainmaster.training.desk import Desk
from trainmaster.workspaces.workspace import Status, Workspace


@dataclass(frozen=True)
class Seen:
    """A workspace as AWS describes it. `drift` says in words what differs from its row; `since` is when its status began."""

    status: Status
    detail: str = ""
    resources: Mapping[str, str] = field(default_factory=dict)
    instance_type: str = ""
    volume_gb: int | None = None
    since: datetime | None = None
    last_used_at: datetime | None = None
    """As the service itself tells, where it does."""
    drift: tuple[str, ...] = ()
    described: Mapping[str, Any] = field(default_factory=dict)
    """AWS's own answers, for whoever needs more of them."""
    made: bool = True
    """Whether anything of it is there; False where AWS has nothing, and its row says why."""

    @property
    def has_files(self) -> bool:
        """Whether its storage is paid for."""
        return self.made and self.status not in {"pending", "deleted", "missing"}


@dataclass(frozen=True)
class Step:
    """One thing to do, as `plan` tells of it: *create* *space* *ml-training-1b3c5d7e*, and what AWS is asked with."""

    verb: str
    noun: str
    name: str
    request: Mapping[str, Any] = field(default_factory=dict)

    def sentence(self) -> str:
        return f"{self.verb} {self.noun} {self.name}"


@dataclass(frozen=True)
class Access:
    """How to get in: an address to open or a command to run. `secret` says that the address lets anybody in for as long as it
    holds: it is shown to who asked, and never logged, stored or put into an artifact."""

    url: str = field(default="", repr=False)
    command: tuple[str, ...] = ()
    secret: bool = False
    note: str = ""


class Kind(Protocol):
    """One service. Every action is safe to repeat and to race; waits are bounded by the settings; botocore's errors pass through."""

    def look(self, desk: Desk, workspaces: Sequence[Workspace]) -> Mapping[UUID, Seen]:
        """As AWS describes each of them now, in a number of calls that grows with pages, not with workspaces. By its id."""
        ...

    def plan_open(self, desk: Desk, workspace: Workspace) -> list[Step]:
        """What is lacking until it runs, in order. Changes nothing; empty when it runs as it should."""
        ...

    def open(self, desk: Desk, workspace: Workspace) -> Workspace:
        """Make what is lacking and wait until it runs; with what AWS calls its parts, each written down before the next is made."""
        ...

    def stop(self, desk: Desk, workspace: Workspace) -> None:
        """Take its machine away, keep its files; back once AWS has confirmed that they are kept and the machine is gone."""
        ...

    def delete(self, desk: Desk, workspace: Workspace) -> None:
        """Take everything of it away; what is gone already is fine."""
        ...

    def access(self, desk: Desk, workspace: Workspace) -> Access:
        """How to get in. Raises RefusedError when it does not run."""
        ...
