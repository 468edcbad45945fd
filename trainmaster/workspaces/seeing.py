"""How workspaces stand now: asked of AWS in a bounded number of calls, and written down."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

from botocore.exceptions import BotoCoreError, ClientError
from pydantic import ValidationError

from trainmaster.errors import RefusedError
from trainmaster.training.desk import Desk
from trainmaster.workspaces.kinds import Seen
from trainmaster.workspaces.services import kind_of
from trainmaster.workspaces.spec import spec_of
from trainmaster.workspaces.workspace import ServiceType, Workspace

_log = logging.getLogger(__name__)


def see_workspaces(desk: Desk, workspaces: Sequence[Workspace]) -> Mapping[UUID, Seen]:
    """Each of them, of the desk's region, by its id, all services asked at once. Those of a service that does not answer are unknown,
    and say why, as is one whose row is not as we keep it: neither hides the others."""
    seen = {one.id: Seen("unknown", why) for one in workspaces if (why := _unreadable(one))}
    by_service: dict[ServiceType, list[Workspace]] = defaultdict(list)
    for one in workspaces:
        if one.id not in seen:
            by_service[one.service_type].append(one)
    with ThreadPoolExecutor(max(len(by_service), 1)) as at_once:
        for found in at_once.map(lambda service: _looked(desk, service, by_service[service]), by_service):
            seen |= found
    known = {id_: (one.status, _detail(one)) for id_, one in seen.items() if one.status != "unknown"}
    desk.catalogue.workspaces.note_seen(known)
    return seen


def see_workspace(desk: Desk, workspace: Workspace) -> Seen:
    """One of them."""
    return see_workspaces(desk, [workspace])[workspace.id]


def require_here(desk: Desk, workspace: Workspace) -> None:
    """It is in the desk's account and region: elsewhere nothing of it would be found, and it would pass for gone. Raises RefusedError."""
    if (workspace.account, workspace.region) != (desk.account, desk.settings.region):
        raise RefusedError(
            f"Workspace {workspace.name} is in AWS account {workspace.account}, {workspace.region}; this is {desk.account},"
            f" {desk.settings.region}. Nothing was done: ask again with that account's AWS_PROFILE and TRAINMASTER_EXECUTION_ROLE_ARN."
        )


def _looked(desk: Desk, service: ServiceType, workspaces: Sequence[Workspace]) -> Mapping[UUID, Seen]:
    try:
        return kind_of(service).look(desk, workspaces)
    except (ClientError, BotoCoreError) as error:
        _log.warning("workspaces of %s could not be looked at: %s", service, error)
        return {one.id: Seen("unknown", str(error)) for one in workspaces}


def _unreadable(workspace: Workspace) -> str:
    """What is wrong with its row, as one written by another version of ours may be; "" for nothing."""
    try:
        spec_of(workspace)
    except ValidationError as error:
        wrong = error.errors()[0]
        return f"its row cannot be read: {'.'.join(map(str, wrong['loc']))}: {wrong['msg']}"
    return ""


def _detail(seen: Seen) -> str:
    return "; ".join(filter(None, (seen.detail, *seen.drift)))
