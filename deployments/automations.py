"""What Prefect does by itself: tells people of budgets, failures, drift, what is idle and what is late, and buries runs that died unseen.

`trainmaster setup` brings a server to this list, by name; `make up` does so as well. Messages go through whichever notification block
is saved as `trainmaster-notifications`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from functools import cached_property
from typing import Any
from uuid import UUID

from prefect.automations import AutomationCore, EventTrigger, Posture
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState, SendNotification

from deployments.set_up.blocks import NotificationBlocks
from deployments.set_up.server import Server
from trainmaster.setup.notifying import BLOCK
from trainmaster.setup.plan import Facts, Found
from trainmaster.setup.telling import MESSAGES, PREFIX, Message

SILENCE = timedelta(minutes=10)
"""How long a run may be silent: three of Prefect's heartbeats, which come every 180 s, and a minute."""
SIGNS_OF_LIFE = [
    "heartbeat", "Paused", "Suspended", "AwaitingRetry", "Completed", "CompletedWithFailures", "Refused", "Failed",
    "TimedOut", "Crashed", "Cancelled",
]  # fmt: skip

BURIAL = AutomationCore(
    name=f"{PREFIX}a run that fell silent has crashed",
    description="No worker reports a run whose machine is gone: without this it would run for ever, and hold its slot.",
    trigger=EventTrigger(
        after={"prefect.flow-run.heartbeat"},
        # One that waits for an answer or to be tried again has no process, and no heartbeat.
        expect={f"prefect.flow-run.{sign}" for sign in SIGNS_OF_LIFE},
        match={"prefect.resource.id": ["prefect.flow-run.*"]},
        for_each={"prefect.resource.id"},
        posture=Posture.Proactive,
        threshold=1,
        within=SILENCE,
    ),
    actions=[
        ChangeFlowRunState(
            state=StateType.CRASHED,
            name=None,
            force=False,
            message=f"Nothing was heard of this run for {SILENCE.total_seconds() / 60:.0f} minutes.",
        )
    ],
)


class Automations:
    """Ours alone, told by how their names begin. Messages only where there is a block to send them through."""

    name = "automation"
    enforced: frozenset[str] = frozenset()

    def __init__(self, server: Server, blocks: NotificationBlocks) -> None:
        self._server, self._blocks = server, blocks

    def wanted(self) -> Mapping[str, Facts]:
        told = [_told(name, message) for name, message in MESSAGES.items()] if self._sends else []
        return {one.name: _facts(one.model_dump(mode="json")) for one in [*told, BURIAL]}

    def found(self) -> Mapping[str, Found]:
        block_id, blocks = self._block_id, [str(one["id"]) for one in self._blocks.every()]
        found: dict[str, Found] = {}
        for one in self._of_ours():
            name = str(one["name"])
            if not self._sends and name in MESSAGES:
                continue  # of no use without a block, and of use again as soon as there is one
            notes = () if one["enabled"] else ("is paused, and stays so",)
            if name in found:  # of two set-ups at once
                name, notes = f"{name} ({one['id']})", ("is there a second time",)
            facts = _facts(one, block_id)
            to = facts["sends_to"]
            replaced = to not in ("", BLOCK) and (to in blocks or self._server.get(f"/block_documents/{to}") is None)
            outdated = frozenset({"sends_to"}) if replaced else frozenset[str]()
            found[name] = Found(facts, ours=True, notes=notes, outdated=outdated)
        return found

    def create(self, name: str, facts: Facts) -> None:
        self._server.create("/automations/", self._body(name, facts) | {"enabled": True})
        for duplicate in self._named(name)[1:]:
            self._server.remove(f"/automations/{duplicate['id']}")

    def update(self, name: str, facts: Facts) -> None:
        there = self._named(name)[0]
        whole = {**_facts(there, self._block_id), **facts}
        # whoever paused it in the UI keeps it paused
        body = self._body(name, whole) | {"enabled": there["enabled"]}
        self._server.replace(f"/automations/{there['id']}", body)

    def remove(self, name: str) -> None:
        for one in self._of_ours():
            if one["name"] == name or name.endswith(f"({one['id']})"):
                self._server.remove(f"/automations/{one['id']}")

    @cached_property
    def _sends(self) -> bool:
        return bool(self._blocks.wanted()) or self._blocks.there() is not None

    @property
    def _block_id(self) -> str:
        """Empty where there is none."""
        there = self._blocks.there()
        return str(there["id"]) if there else ""

    def _of_ours(self) -> list[dict[str, Any]]:
        """The oldest first."""
        every = self._server.all("/automations/filter")
        return sorted(
            (one for one in every if one["name"].startswith(PREFIX)), key=lambda one: (one["created"], one["id"])
        )

    def _named(self, name: str) -> list[dict[str, Any]]:
        return [one for one in self._of_ours() if one["name"] == name]

    def _body(self, name: str, facts: Facts) -> dict[str, Any]:
        body = {"name": name, **facts}
        to = body.pop("sends_to")
        if to:
            block_id = self._block_id if to == BLOCK else to
            body["actions"] = [{**action, "block_document_id": block_id} for action in facts["actions"]]
        return body


def _told(name: str, message: Message) -> AutomationCore:
    return AutomationCore(
        name=name,
        description="A message through the block " + BLOCK,
        trigger=EventTrigger(
            expect=set(message.events),
            match_related=dict(message.related),
            for_each=set(message.for_each),
            posture=Posture.Reactive,
            within=message.at_most_every,
        ),
        actions=[SendNotification(block_document_id=_ANY, subject=message.subject, body=message.body)],
    )


_ANY = UUID(int=0)
"""Stands for our block, whose id each server gives anew."""


def _facts(automation: Mapping[str, Any], block_id: str = "") -> Facts:
    """Alike of what is wanted and of what the server tells, which keeps sets in any order."""
    trigger = {key: value for key, value in automation["trigger"].items() if key != "id"}
    for unordered in ("after", "expect", "for_each"):
        trigger[unordered] = sorted(trigger[unordered])
    through = next((str(one["block_document_id"]) for one in automation["actions"] if "block_document_id" in one), "")
    actions = [
        {key: value for key, value in one.items() if key != "block_document_id"} for one in automation["actions"]
    ]
    return {
        "description": automation["description"],
        "trigger": trigger,
        "actions": actions,
        "sends_to": BLOCK if through and through in (str(_ANY), block_id) else through,
    }
