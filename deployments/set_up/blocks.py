"""The block that messages go through."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prefect.blocks.core import Block
from prefect.blocks.notifications import CustomWebhookNotificationBlock, MicrosoftTeamsWebhook, SlackWebhook

from deployments.set_up.server import Server
from trainmaster.setup.notifying import BLOCK, Sender
from trainmaster.setup.plan import Facts, Found

_TYPES: dict[str, type[Block]] = {
    "slack-webhook": SlackWebhook,
    "ms-teams-webhook": MicrosoftTeamsWebhook,
    "custom-webhook": CustomWebhookNotificationBlock,
}


class NotificationBlocks:
    """The one of our name. Where no address is given, whichever somebody saved in the UI is taken as it is.

    The address that is given is the one that is meant: a block that sends elsewhere is changed.
    """

    name = "notification block"
    enforced = frozenset({"type", "address"})

    def __init__(self, server: Server, sender: Sender | None) -> None:
        self._server, self._sender = server, sender

    def wanted(self) -> Mapping[str, Facts]:
        if self._sender is None:
            return {}
        return {BLOCK: {"type": self._sender.block_type, "address": "as given"}}

    def found(self) -> Mapping[str, Found]:
        if self._sender is None:
            return {}  # whatever is there is somebody's own
        there = self.there()
        found = {BLOCK: Found(self._facts(there))} if there else {}
        # What was meant before sends nothing any more, and still holds its secret.
        return found | {_of_type(one): Found({}, ours=True) for one in self.every() if one != there}

    def there(self) -> dict[str, Any] | None:
        """The document of the type that is wanted, of any where no address is given; None when it is not there."""
        of_type = [one for one in self.every() if self._sender is None or _type(one) == self._sender.block_type]
        return of_type[0] if of_type else None

    def every(self) -> list[dict[str, Any]]:
        """The documents of that name that can send, the oldest first: Prefect lets there be one of each type."""
        named = self._server.all(
            "/block_documents/filter", block_documents={"name": {"any_": [BLOCK]}}, include_secrets=True
        )
        can_send = (one for one in named if "notify" in one["block_schema"]["capabilities"])
        return sorted(can_send, key=lambda one: str(one["created"]))

    def create(self, name: str, facts: Facts) -> None:
        self._save(name, facts)

    def update(self, name: str, facts: Facts) -> None:
        self._save(name, facts)

    def remove(self, name: str) -> None:
        for one in self.every():
            if _of_type(one) == name:
                self._server.remove(f"/block_documents/{one['id']}")

    def _save(self, name: str, _facts: Facts) -> None:
        assert self._sender  # noqa: S101 - nothing is wanted without one
        _TYPES[self._sender.block_type](**self._sender.data).save(name, overwrite=True)

    def _facts(self, there: Mapping[str, Any]) -> Facts:
        data, wanted = there["data"], self._sender.data if self._sender else {}
        same = all(data.get(key) == value for key, value in wanted.items())
        return {"type": _type(there), "address": "as given" if same else "another one"}


def _type(document: Mapping[str, Any]) -> str:
    return str(document["block_type"]["slug"])


def _of_type(document: Mapping[str, Any]) -> str:
    return f"{BLOCK} of type {_type(document)}"
