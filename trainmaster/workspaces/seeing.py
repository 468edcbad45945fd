"""How workspaces stand now: asked of AWS in a bounded number of calls, and written down."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from uuid import UUID

from botocore.exceptions import BotoCoreError, ClientError

from trainmaster.training.desk import Desk
from trainmaster.workspaces.kinds import Seen
from trainmaster.workspaces.services import kind_of
from trainmaster.workspaces.workspace import ServiceType, Workspace

_log = logging.getLogger(__name__)


def see_workspaces(desk: Desk, workspaces: Sequence[Workspace]) -> Mapping[UUID, Seen]:
    """Each of them, of the desk's region, by its id. Those of a service that does not answer are unknown, and say why."""
    by_service: dict[ServiceType, list[Workspace]] = defaultdict(list)
    for one in workspaces:
        by_service[one.service_type].append(one)
    seen: dict[UUID, Seen] = {}
    for service, those in by_service.items():
        try:
            seen |= kind_of(service).look(desk, those)
        except (ClientError, BotoCoreError) as error:
            _log.warning("workspaces of %s could not be looked at: %s", service, error)
            seen |= {one.id: Seen("unknown", str(error)) for one in those}
    known = {id_: (one.status, _detail(one)) for id_, one in seen.items() if one.status != "unknown"}
    desk.catalogue.workspaces.note_seen(known)
    return seen


def see_workspace(desk: Desk, workspace: Workspace) -> Seen:
    """One of them."""
    return see_workspaces(desk, [workspace])[workspace.id]


def _detail(seen: Seen) -> str:
    return "; ".join(filter(None, (seen.detail, *seen.drift)))
