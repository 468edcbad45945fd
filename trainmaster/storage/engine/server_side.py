"""Copying an object from bucket to bucket at the servers: its bytes come here only to be proven."""

from __future__ import annotations

import time

from trainmaster.errors import CorruptedUploadError, DatasetRefusedError
from trainmaster.storage.ends.protocols import Held
from trainmaster.storage.engine.asking import Order, Run
from trainmaster.storage.engine.desk import weight
from trainmaster.storage.engine.settling import Sent, created, is_of, read_back, require_vouched, settled, wholeness
from trainmaster.storage.engine.transfers import Copied


class ServerSide:
    """The copying of an object of any size where the servers do that themselves; what they made is read back, a part at a time.

    A checksum that somebody vouches for would be no proof: nobody has looked at these bytes since.
    """

    is_large = False

    def __init__(self, run: Run, order: Order) -> None:
        self._run, self._order = run, order
        self.weight = weight(min(order.size or run.limits.part_bytes, run.limits.part_bytes))

    def run(self) -> int:
        self._run.conclude(self._order, self._copied)
        return self.weight

    def _abort_others(self) -> None:
        """Uploads that died while a large object was copied in parts: the journal knows of none of them."""
        run, order = self._run, self._order
        for left in run.at_destination(order, run.destination.uploads, order.transfer.destination):
            run.abort(order, left)

    def _copied(self, order: Order) -> Copied:
        run, transfer = self._run, order.transfer
        order.deadline = time.monotonic() + run.limits.object_seconds
        version = run.at_source(order, run.source.look, transfer.source)
        if version.size > run.limits.part_bytes:  # smaller ones no server is asked to copy in parts
            self._abort_others()

        def create() -> Sent:
            copy, vouched = run.destination.copy_from, transfer.sha256
            args = (run.source, transfer.source, version, transfer.destination)
            return Sent(run.at_destination(order, copy, *args, sha256=vouched), "")

        def is_same(held: Held) -> Sent | None:
            return Sent(held.tag, "", was_there=True) if is_of(held, version) else None

        sent = created(run, order, create, is_same)
        try:
            sha256 = read_back(run, order, Held(version.size, sent.tag), wholeness(run, order))
            require_vouched(run, order, sha256)
        except (DatasetRefusedError, CorruptedUploadError):
            run.remove(order)
            raise
        return settled(run, order, version, Sent(sent.tag, sha256, sent.was_there))
