"""EC2: an instance with an encrypted volume of its own, reached through Session Manager, so that no port is open and no key is needed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from uuid import UUID

from trainmaster.aws.clients import renew
from trainmaster.aws.polling import answers
from trainmaster.errors import RefusedError, WaitTimedOutError, WorkspaceFailedError
from trainmaster.training.desk import Desk
from trainmaster.workspaces.kinds import Access, Seen, Step
from trainmaster.workspaces.machines import access, making
from trainmaster.workspaces.machines.described import described, leftover_volumes
from trainmaster.workspaces.machines.parts import Machine, Parts
from trainmaster.workspaces.machines.plan import drift_of, plan_delete, status_of
from trainmaster.workspaces.machines.wanted import wanted
from trainmaster.workspaces.studio.parts import patience_of
from trainmaster.workspaces.workspace import Workspace

STEP_SECONDS = 2.0
"""Between two steps: AWS tells everybody of most of what was made by then, and nothing breaks where it does not."""
Progress = Callable[[], bool]
"""Asks AWS how far it is and does what is next; True once there is nothing left to do."""


class Ec2:
    """Instances. Each step is planned anew from what EC2 describes, so it makes no difference who took the one before."""

    def look(self, desk: Desk, workspaces: Sequence[Workspace]) -> Mapping[UUID, Seen]:
        parts = described(desk, workspaces)
        return {one.id: _seen(one, parts[one.id]) for one in workspaces}

    def plan_open(self, desk: Desk, workspace: Workspace) -> list[Step]:
        return making.plan(desk, workspace, _parts(desk, workspace))

    def open(self, desk: Desk, workspace: Workspace) -> Workspace:
        making_it = workspace

        def is_open() -> bool:
            nonlocal making_it
            parts = _parts(desk, making_it)
            making_it = making.note(desk, making_it, parts)
            _must_not_be_lost(making_it, parts)
            if steps := making.plan(desk, making_it, parts):
                making_it = making.take(desk, making_it, steps[0])
                return False
            return parts.machine is not None and parts.machine.state == "running"

        _until(desk, workspace, is_open, "run")
        return replace(making_it, status="running")

    def stop(self, desk: Desk, workspace: Workspace) -> None:
        def is_stopped() -> bool:
            parts = _parts(desk, workspace)
            machine = parts.machine
            if machine is None or machine.is_gone:
                return True
            if machine.state == "running":
                _confirm_kept(workspace, machine, parts)
                desk.client("ec2").stop_instances(InstanceIds=[machine.id])
            if machine.state != "stopped":
                return False
            _confirm_kept(workspace, machine, parts)
            return True

        _until(desk, workspace, is_stopped, "stop")

    def delete(self, desk: Desk, workspace: Workspace) -> None:
        def is_gone() -> bool:
            parts = _parts(desk, workspace)
            for step in (steps := plan_delete(parts, leftover_volumes(desk, workspace))):
                making.take_away(desk, step)
            return not steps and (parts.machine is None or parts.machine.state == "terminated") and parts.volume is None

        _until(desk, workspace, is_gone, "go")

    def access(self, desk: Desk, workspace: Workspace) -> Access:
        parts = _parts(desk, workspace)
        if parts.machine is None or parts.machine.state != "running":
            status, why = status_of(workspace, parts)
            raise RefusedError(
                f"Workspace {workspace.name} is {status}{f': {why}' if why else ''}. `trainmaster start {workspace.name}` starts it."
            )
        return access.access(workspace, parts.machine)


def _parts(desk: Desk, workspace: Workspace) -> Parts:
    return described(desk, [workspace])[workspace.id]


def _seen(workspace: Workspace, parts: Parts) -> Seen:
    status, why = status_of(workspace, parts)
    machine = parts.machine
    since = (machine.stopped_at if status in ("stopping", "stopped") else machine.launched_at) if machine else None
    return Seen(
        status,
        why,
        resources={"volume_id": parts.volume.id} if parts.volume else {},
        instance_type=machine.instance_type if machine else "",
        volume_gb=parts.volume.size_gb if parts.volume else None,
        since=since,
        drift=drift_of(workspace, wanted(workspace), parts),
    )


def _must_not_be_lost(workspace: Workspace, parts: Parts) -> None:
    """An instance is made anew only where none ever ran: what is on the volume of one that was terminated nobody may pass over."""
    status, why = status_of(workspace, parts)
    if status in ("failed", "missing"):
        raise WorkspaceFailedError(
            f"Workspace {workspace.name} cannot be opened: {why}. Save what you need of it in the AWS console; `trainmaster delete"
            f" {workspace.name}` removes what is left, and then it can be opened anew."
        )


def _confirm_kept(workspace: Workspace, machine: Machine, parts: Parts) -> None:
    """Stopping keeps what is on EBS, and that alone."""
    if not machine.on_ebs or parts.volume is None or parts.volume.attached_to != machine.id:
        raise WorkspaceFailedError(
            f"Workspace {workspace.name}: its instance {machine.id} does not have its volume"
            f" {workspace.resources.get('volume_id') or machine.volume_id}, on which its files are kept. Attach it in the AWS console,"
            " then try again."
        )


def _until(desk: Desk, workspace: Workspace, progress: Progress, do: str) -> None:
    """Raises WaitTimedOutError; botocore's errors that do not pass are raised at once."""
    patience = patience_of(desk)
    patience = replace(patience, poll_seconds=min(patience.poll_seconds, STEP_SECONDS))
    pauses = answers(
        progress,
        patience,
        delay_after=lambda done: 0 if done else patience.poll_seconds,
        renew=lambda: renew(desk.client),
    )
    if not any(pauses):
        raise WaitTimedOutError(
            f"Workspace {workspace.name} did not {do} within {patience.longest_seconds:g} s. What was made of it is kept; the same again goes on."
        )
