"""How workspaces stand now: asked of AWS in a bounded number of calls, and written down."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from uuid import UUID

from botocore.exceptions import BotoCoreError, ClientError
from pydantic import ValidationError

from trainmaster.errors import RefusedError, WorkspaceBusyError
from trainmaster.training.desk import Desk
from trainmaster.workspaces.kinds import Seen
from trainmaster.workspaces.services import kind_of
from trainmaster.workspaces.spec import spec_of
from trainmaster.workspaces.workspace import ServiceType, Workspace

_log = logging.getLogger(__name__)


def see_workspaces(desk: Desk, workspaces: Sequence[Workspace]) -> Mapping[UUID, Seen]:
    """Each of them, of the desk's region, by its id, all services asked at once. Those of a service that does not answer are unknown,
    and say why, as is one whose row is not as we keep it: neither hides the others. Where AWS has nothing of one, it stays as its row
    says: `failed` with its reason, or `deleting`."""
    seen = {one.id: Seen("unknown", why) for one in workspaces if (why := _unreadable(one))}
    by_service: dict[ServiceType, list[Workspace]] = defaultdict(list)
    for one in workspaces:
        if one.id not in seen:
            by_service[one.service_type].append(one)
    with ThreadPoolExecutor(max(len(by_service), 1)) as at_once:
        for found in at_once.map(lambda service: _looked(desk, service, by_service[service]), by_service):
            seen |= found
    seen = {one.id: _as_left(one, seen[one.id]) for one in workspaces}
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


def require_there(workspace: Workspace, seen: Seen) -> None:
    """Nobody is deleting it, and nobody has by other means. Raises WorkspaceBusyError, saying how it is opened anew."""
    name = workspace.name
    if seen.status == "deleting":
        raise WorkspaceBusyError(
            f"Workspace {name} is being deleted. Wait until it is gone, or finish that: trainmaster delete {name} --yes"
        )
    if seen.status == "missing":
        raise WorkspaceBusyError(
            f"Workspace {name} was deleted by other means than Trainmaster's, and its files with it: {seen.detail}."
            f" {way_on(workspace, seen)}"
        )


def way_on(workspace: Workspace, seen: Seen) -> str:
    """What to do with one that has no machine, as a sentence with the command."""
    delete = f"trainmaster delete {workspace.name} --yes"
    if seen.status == "missing":
        launch = f"trainmaster launch {workspace.template} {workspace.name}"
        return f"Delete it here as well, and open it anew: {delete}, then {launch}"
    if seen.status == "deleting":
        return f"Finish that: {delete}"
    return f"Start it: trainmaster start {workspace.name}"


def _as_left(workspace: Workspace, seen: Seen) -> Seen:
    """Where AWS has nothing of it, its row knows why."""
    if workspace.status == "failed" and seen.status == "pending":
        return replace(seen, status="failed", detail=workspace.detail or seen.detail, made=False)
    if workspace.status == "deleting" and seen.status in ("pending", "missing"):
        finish = (
            f"AWS has nothing of it any more; the same delete finishes it: trainmaster delete {workspace.name} --yes"
        )
        return replace(seen, status="deleting", detail=finish, made=False)
    return seen


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
