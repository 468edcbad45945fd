"""Copying an object in one piece: read by one request, proven in the thread that holds it, put by one request."""

from __future__ import annotations

import time
from collections.abc import Callable

from trainmaster.errors import CorruptedUploadError, DatasetRefusedError, ObjectChangedError
from trainmaster.storage.ends.protocols import Held, Piece, Version
from trainmaster.storage.engine.asking import Order, Run
from trainmaster.storage.engine.desk import weight
from trainmaster.storage.engine.gathering import Gathering, Put
from trainmaster.storage.engine.settling import (
    Sent,
    created,
    is_of,
    read_back,
    require_arrived,
    require_vouched,
    settled,
    wholeness,
)
from trainmaster.storage.engine.transfers import Copied
from trainmaster.storage.engine.wholeness import Wholeness


class WholeObject:
    """The copying of an object of at most one part, whose bytes are held until they are put."""

    is_large = False

    def __init__(self, run: Run, order: Order, gathering: Gathering, route: Callable[[Order], None]) -> None:
        """`gathering` takes what was put, `route` an order that turns out to be of another size."""
        self._run, self._order, self._gathering, self._route = run, order, gathering, route
        self.weight = weight(order.size or 0)

    def run(self) -> int:
        self._run.conclude(self._order, self._copied)
        return self.weight

    def _copied(self, order: Order) -> Copied | None:
        run = self._run
        order.deadline = min(order.deadline, time.monotonic() + run.limits.object_seconds)
        if order.size is None:
            self._reroute(run.at_source(order, run.source.look, order.transfer.source))
            return None
        if order.transfer.tried_before and (copied := self._found()):
            return copied
        for is_last in (False, False, True):
            piece = run.read(order, 0, max(order.size, 1))
            if piece.version.size != len(piece.data):
                self._reroute(piece.version)
                return None
            try:
                sent = self._put(piece)
                if not sent.was_there and self._gathering.add(Put(order, piece.version, sent)):
                    run.desk.succeeded()
                    return None
                return settled(run, order, piece.version, sent)
            except (CorruptedUploadError, DatasetRefusedError, ObjectChangedError):
                # What was cut on its way, and rightly announced, says nothing of the object.
                if is_last or run.at_source(order, run.source.look, order.transfer.source) == piece.version:
                    raise
        return None

    def _reroute(self, version: Version) -> None:
        self._order.size = version.size
        self._route(self._order)

    def _found(self) -> Copied | None:
        """What an earlier try left, read back at the destination; the source, which may cost money to read, is not."""
        run, order, transfer = self._run, self._order, self._order.transfer
        held = run.at_destination(order, run.destination.look, transfer.destination)
        if held is None:
            return None
        version = run.at_source(order, run.source.look, transfer.source)
        if is_of(held, version):
            try:
                sha256 = read_back(run, order, held, wholeness(run, order))
            except DatasetRefusedError:
                sha256 = ""
            if sha256 and sha256 == (transfer.sha256 or held.sha256):
                return settled(run, order, version, Sent(held.tag, sha256, was_there=True))
        run.remove(order)
        return None

    def _put(self, piece: Piece) -> Sent:
        run, order, key = self._run, self._order, self._order.transfer.destination
        whole = wholeness(run, order)
        whole.feed(piece.data)
        sha256 = whole.finish()
        require_vouched(run, order, sha256)

        def create() -> Sent:
            put = run.destination.put
            tag = run.at_destination(order, put, key, piece.data, sha256=sha256, source_version=piece.version.tag)
            return Sent(tag, sha256)

        def is_same(held: Held) -> Sent | None:
            plain = Wholeness("", must_be_gzip=False)
            same = held.size == len(piece.data) and read_back(run, order, held, plain) == sha256
            return Sent(held.tag, sha256, was_there=True) if same else None

        sent = created(run, order, create, is_same)
        if not (run.checks.objects or sent.was_there):
            require_arrived(run, order, Held(len(piece.data), sent.tag), sha256)
        return sent
