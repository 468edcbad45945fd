"""The phases of a large object: opened, sent in parts none of which is sent twice, read back where it was not seen whole."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Mapping

from trainmaster.errors import (
    CorruptedUploadError,
    DatasetRefusedError,
    NameConflictError,
    ObjectChangedError,
    ObjectMissingError,
    RefusedError,
    StorageUnavailableError,
)
from trainmaster.storage.ends.protocols import AlreadyThereError, Part, UploadGoneError, Version
from trainmaster.storage.engine.asking import Order, Run
from trainmaster.storage.engine.desk import weight
from trainmaster.storage.engine.in_order import Hold, InOrder
from trainmaster.storage.engine.large_objects import ENDS_IT, Phase, reason
from trainmaster.storage.engine.settling import Sent, is_of, not_arrived, replaced, require_vouched, settled, wholeness
from trainmaster.storage.engine.transfers import BegunUpload, Copied
from trainmaster.storage.engine.wholeness import Wholeness

MOST_PARTS = 10_000
"""Of one multipart upload (AWS, "Amazon S3 multipart upload limits")."""
_WINDOW = 8
"""Pieces of one object at once: enough for one alone to go at full speed, few enough that a slow one holds up little."""
_SPOILT = (ObjectChangedError, ObjectMissingError, RefusedError, CorruptedUploadError)
"""After these no later try has a use for the parts."""

_log = logging.getLogger(__name__)


class Opening:
    """Finds out which version there is to copy, what is at the destination already, and what an earlier try sent."""

    def __init__(self, run: Run, order: Order, route: Callable[[Order], None]) -> None:
        """`route` is told of an order that turns out not to be large."""
        self._run, self._order, self._route = run, order, route
        self.numbers, self.weight = deque([1]), weight(0)
        self._upload: BegunUpload | None = None
        self._then: Phase | None = None

    def may_begin(self, number: int, running: int) -> bool:  # noqa: ARG002 - there is one piece
        return True

    def do(self, number: int, hold: Hold) -> None:  # noqa: ARG002 - there is one piece, without bytes
        run, order, transfer = self._run, self._order, self._order.transfer
        version = run.at_source(order, run.source.look, transfer.source)
        order.size = version.size
        if version.size <= run.limits.part_bytes:
            return
        held = run.at_destination(order, run.destination.look, transfer.destination)
        if held and is_of(held, version):
            self._then = ReadingBack(run, order, version, Sent(held.tag, held.sha256 or "", was_there=True))
            return
        if held:
            run.remove(order)
        resumed = self._resumed(version)
        self._then = resumed or self._begun(version)
        self._abort_others(self._then.upload.upload_id)

    def close(self) -> Phase | None:
        if self._then is None:
            self._route(self._order)
        return self._then

    def give_up(self, failure: Exception) -> None:
        if isinstance(self._then, Sending):
            self._then.give_up(failure)

    def _resumed(self, version: Version) -> Sending | None:
        """The upload of an earlier try, if it is of this version and there still."""
        run, order, left = self._run, self._order, self._order.transfer.upload
        if left is None:
            return None
        key = order.transfer.destination
        if left.source_version != version.tag or left.part_size * MOST_PARTS < version.size:
            run.abort(order, left.upload_id)
            return None
        try:
            parts = run.at_destination(order, run.destination.parts, key, left.upload_id)
        except UploadGoneError:
            return None
        return Sending(run, order, version, left, parts={part.number: part for part in parts}, kept=True)

    def _begun(self, version: Version) -> Sending:
        run, order, transfer = self._run, self._order, self._order.transfer
        begin, size = run.destination.begin, run.limits.part_bytes
        upload_id = run.at_destination(
            order, begin, transfer.destination, source_version=version.tag, sha256=transfer.sha256
        )
        upload = BegunUpload(upload_id, max(size, -(-version.size // MOST_PARTS)), version.tag)
        self._then = sending = Sending(run, order, version, upload, parts={}, kept=False)
        if run.journal:
            run.journal.begun(transfer, upload)
            sending.kept = True
        return sending

    def _abort_others(self, upload_id: str) -> None:
        """Uploads of this key that died, or of whose beginning we never heard: none of them is to create it any more."""
        run, order, key = self._run, self._order, self._order.transfer.destination
        for other in run.at_destination(order, run.destination.uploads, key):
            if other != upload_id:
                run.abort(order, other)


class Sending:
    """Parts read, hashed in their order, and sent. `kept` says that the journal knows of the upload: a later try goes on with it."""

    def __init__(
        self, run: Run, order: Order, version: Version, upload: BegunUpload, *, parts: Mapping[int, Part], kept: bool
    ) -> None:
        self._run, self._order, self._version = run, order, version
        self.upload, self.kept = upload, kept
        self.weight = weight(upload.part_size)
        every = range(1, -(-version.size // upload.part_size) + 1)
        self._parts = {n: part for n, part in parts.items() if n in every and part.size == self._span(n)[1]}
        self.numbers = deque(n for n in every if n not in self._parts)
        # How the parts of an earlier try hash, nobody knows any more.
        self._in_order = None if self._parts else InOrder(wholeness(run, order))

    def may_begin(self, number: int, running: int) -> bool:
        return running < _WINDOW and (self._in_order is None or number < self._in_order.next + _WINDOW)

    def do(self, number: int, hold: Hold) -> None:
        run, order, key = self._run, self._order, self._order.transfer.destination
        run.desk.require_not_over()
        start, length = self._span(number)
        piece = run.read(order, start, length, self._version)
        if len(piece.data) != length:
            raise replaced(run, order)
        if self._in_order:
            self._in_order.add(number, piece.data, hold)
        run.desk.require_not_over()
        put = run.destination.put_part
        try:
            self._parts[number] = run.at_destination(order, put, key, self.upload.upload_id, number, piece.data)
        except UploadGoneError:
            raise StorageUnavailableError(
                f"{run.destination.name}/{key}: the multipart upload was removed while parts were sent. The next try begins a new one."
            ) from None
        run.desk.succeeded()

    def close(self) -> Phase | Copied:
        run, order = self._run, self._order
        sha256 = self._in_order.finish() if self._in_order else ""
        if sha256:
            require_vouched(run, order, sha256)
        tag, is_sure = self._completed()
        sent = Sent(tag, sha256)
        if sha256 and is_sure and run.checks.parts:
            return settled(run, order, self._version, sent)
        return ReadingBack(run, order, self._version, sent)

    def give_up(self, failure: Exception) -> None:
        """Parts that a later try can go on with are left; so are those of who has taken the object over."""
        if self._in_order:
            self._in_order.drop()
        if self.kept and not isinstance(reason(failure), _SPOILT):
            return
        run, order, key = self._run, self._order, self._order.transfer.destination
        try:
            run.at_destination(order, run.destination.abort, key, self.upload.upload_id)
        except ENDS_IT as error:
            _log.warning("Parts of %s/%s may be left until it is copied again: %s", run.destination.name, key, error)

    def _completed(self) -> tuple[str, bool]:
        """The tag of the object made of all parts, and whether we know that it is of them."""
        run, order, key = self._run, self._order, self._order.transfer.destination
        parts = [self._parts[number] for number in sorted(self._parts)]
        for is_last in (False, True):
            try:
                return run.at_destination(order, run.destination.complete, key, self.upload.upload_id, parts), True
            except UploadGoneError:
                held = run.at_destination(order, run.destination.look, key)
                if held and is_of(held, self._version):
                    return held.tag, False  # an earlier request did it, unheard
                break
            except AlreadyThereError:
                held = run.at_destination(order, run.destination.look, key)
                if held and is_of(held, self._version):
                    run.at_destination(order, run.destination.abort, key, self.upload.upload_id)
                    return held.tag, False
                if held and not is_last:
                    run.remove(order)
        raise NameConflictError(
            f"{run.destination.name}/{key}: something else is there, or our upload is gone: another program writes it. Stop that,"
            " then try again."
        )

    def _span(self, number: int) -> tuple[int, int]:
        start = (number - 1) * self.upload.part_size
        return start, min(self.upload.part_size, self._version.size - start)


class ReadingBack:
    """What the destination holds, read and proven there; the source is not read again, which may cost money."""

    def __init__(self, run: Run, order: Order, version: Version, sent: Sent) -> None:
        """`sent.sha256` is what it has to have, where that is known."""
        self._run, self._order, self._version, self._sent = run, order, version, sent
        self._held = Version(version.size, sent.tag)
        size = run.limits.part_bytes
        self.weight = weight(size)
        self.numbers = deque(range(1, -(-version.size // size) + 1))
        # Where it is known how the bytes hash, they were proven before: what is damaged now is so at the destination.
        self._in_order = InOrder(Wholeness("", must_be_gzip=False) if sent.sha256 else wholeness(run, order))

    def may_begin(self, number: int, running: int) -> bool:
        return running < _WINDOW and number < self._in_order.next + _WINDOW

    def do(self, number: int, hold: Hold) -> None:
        run, order, size = self._run, self._order, self._run.limits.part_bytes
        run.desk.require_not_over()
        read, key = run.destination.read, order.transfer.destination
        piece = run.at_destination(order, read, key, (number - 1) * size, size, self._held)
        self._in_order.add(number, piece.data, hold)
        run.desk.succeeded()

    def close(self) -> Copied:
        run, order, sent = self._run, self._order, self._sent
        sha256 = self._in_order.finish()
        if sent.sha256 and sha256 != sent.sha256:
            raise not_arrived(run, order, sha256, sent.sha256)
        require_vouched(run, order, sha256)
        return settled(run, order, self._version, Sent(sent.tag, sha256, sent.was_there))

    def give_up(self, failure: Exception) -> None:
        """What is proven wrong is removed; what could not be proven is looked at again by a later try."""
        self._in_order.drop()
        if not isinstance(reason(failure), CorruptedUploadError | DatasetRefusedError):
            return
        try:
            self._run.remove(self._order)
        except ENDS_IT as error:
            _log.warning("%s could not be removed: %s", self._order.transfer.destination, error)
