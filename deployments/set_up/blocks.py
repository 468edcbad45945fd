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
        there = self.there()
        return {BLOCK: Found(self._facts(there))} if there else {}

    def there(self) -> dict[str, Any] | None:
        """The block's document, of whichever type that can send any; of the type that is wanted, if there is one."""
        named = [
            one
            for one in self._server.all(
                "/block_documents/filter", block_documents={"name": {"any_": [BLOCK]}}, include_secrets=True
            )
            if "notify" in one["block_schema"]["capabilities"]
        ]
        wanted = self._sender.block_type if self._sender else ""
        return min(named, key=lambda one: one["block_type"]["slug"] != wanted, default=None)

    def create(self, name: str, facts: Facts) -> None:
        self._save(name, facts)

    def update(self, name: str, facts: Facts) -> None:
        self._save(name, facts)

    def remove(self, name: str) -> None:
        """Never: it is wanted, or somebody's own."""

    def _save(self, name: str, _facts: Facts) -> None:
        assert self._sender  # noqa: S101 - nothing is wanted without one
        _TYPES[self._sender.block_type](**self._sender.data).save(name, overwrite=True)

    def _facts(self, there: Mapping[str, Any]) -> Facts:
        data, wanted = there["data"], self._sender.data if self._sender else {}
        same = all(data.get(key) == value for key, value in wanted.items())
        return {"type": there["block_type"]["slug"], "address": "as given" if same else "another one"}
