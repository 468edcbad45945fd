"""The plan of a set-up, and carrying it out: one kind after the other, each on what was made before it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from deployments.automations import Automations
from deployments.set_up.blocks import NotificationBlocks
from deployments.set_up.flows import Deployments, Schedules
from deployments.set_up.pools import Jobs, Limits, WorkPools, WorkQueues
from deployments.set_up.server import Kind, Server
from trainmaster.setup.notifying import Sender
from trainmaster.setup.plan import Action, Step, record, steps

RECORD = "trainmaster_setup_{}"
"""The variables that hold what each kind was left as, by name: what differs from it later was changed by hand."""


def kinds_of(server: Server, code: Path, sender: Sender | None, jobs: Jobs | None = None) -> Sequence[Kind]:
    """All there is to be set up, in order; `code` is where the code lies on the workers, `jobs` what runs are carried out as."""
    blocks = NotificationBlocks(server, sender)
    deployments = Deployments(server, code)
    return (
        WorkPools(server, jobs),
        WorkQueues(server),
        Limits(server),
        blocks,
        deployments,
        Schedules(server, deployments),
        Automations(server, blocks),
    )


class SetUp:
    """What a server is to be, from this version of the code."""

    def __init__(self, server: Server, kinds: Sequence[Kind]) -> None:
        self._server, self._kinds = server, kinds

    def plan(self, *, reset: bool = False) -> list[Step]:
        """All steps, in the order they are to be done in; changes nothing."""
        return [
            step
            for kind in self._kinds
            for step in steps(
                kind.name, kind.wanted(), kind.found(), self._left(kind), enforced=kind.enforced, reset=reset
            )
        ]

    def carry_out(self, planned: Sequence[Step]) -> Iterator[Step]:
        """Each step once it is done. What was left is written down kind by kind, also when one of its steps fails."""
        for kind in self._kinds:
            of_kind = [step for step in planned if step.kind == kind.name]
            left = dict(self._left(kind))
            before = dict(left)
            try:
                for step in of_kind:
                    _do(kind, step)
                    left.pop(step.name, None)
                    if step.action is not Action.REMOVE:
                        left[step.name] = record(step, before.get(step.name, ""))
                    yield step
            finally:
                if left != before:
                    self._write_down(kind, left)

    def _left(self, kind: Kind) -> Mapping[str, str]:
        there: Any = self._server.get(f"/variables/name/{_variable(kind)}")
        value = there["value"] if there else {}
        return value if isinstance(value, dict) else {}

    def _write_down(self, kind: Kind, left: Mapping[str, str]) -> None:
        name = _variable(kind)
        if self._server.create("/variables/", {"name": name, "value": left, "tags": ["trainmaster"]}) is None:
            self._server.update(f"/variables/name/{name}", {"value": left})


def _variable(kind: Kind) -> str:
    return RECORD.format(kind.name.replace(" ", "_"))


def _do(kind: Kind, step: Step) -> None:
    match step.action:
        case Action.CREATE:
            kind.create(step.name, step.wanted)
        case Action.UPDATE:
            kind.update(step.name, {fact: step.wanted[fact] for fact in step.changed})
        case Action.REMOVE:
            kind.remove(step.name)
