"""What lies at the destination is what was read, and the source is what it was: only then is an object copied."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from trainmaster.errors import CorruptedUploadError, NameConflictError, ObjectChangedError
from trainmaster.storage.ends.protocols import AlreadyThereError, Held, Version
from trainmaster.storage.engine.asking import EndFailedError, Order, Run
from trainmaster.storage.engine.transfers import Copied
from trainmaster.storage.engine.wholeness import Wholeness


@dataclass(frozen=True)
class Sent:
    """An object at the destination, under the tag it answered with; or found there, equal."""

    tag: str
    sha256: str
    was_there: bool = False


def created(run: Run, order: Order, create: Callable[[], Sent], is_same: Callable[[Held], Sent | None]) -> Sent:
    """What was created, or what `is_same` finds proven there already. Anything else there is replaced, once.

    Raises NameConflictError when there is something else again: somebody else writes that key.
    """
    for is_last in (False, True):
        try:
            return create()
        except AlreadyThereError:
            held = run.at_destination(order, run.destination.look, order.transfer.destination)
            if held and (same := is_same(held)):
                return same
            if held and not is_last:
                run.remove(order)
    raise NameConflictError(
        f"{run.destination.name}/{order.transfer.destination} was replaced, and something else is there again: another"
        " program writes it. Stop that, then try again."
    )


def settled(
    run: Run, order: Order, version: Version, sent: Sent, *, is_there: bool = False, is_unchanged: bool = False
) -> Copied:
    """What was copied, proven. What is not that is removed. `is_there`, `is_unchanged`: that was seen already.

    Raises EndFailedError, ObjectChangedError, ObjectMissingError (gone from the source meanwhile).
    """
    transfer = order.transfer
    held = None if is_there else run.at_destination(order, run.destination.look, transfer.destination)
    if not is_there and (held is None or (held.size, held.tag) != (version.size, sent.tag)):
        run.remove(order)
        there = f"{held.size:,} bytes as {held.tag}" if held else "nothing"
        other = CorruptedUploadError(
            f"{run.destination.name}/{transfer.destination} took {version.size:,} bytes as {sent.tag} and has {there} now."
            " It was removed. Try again."
        )
        raise EndFailedError("destination", other, altogether=False)
    # Where the source is gone by now, what was read of it is kept: it may be all there is of it.
    now = version if is_unchanged else run.at_source(order, run.source.look, transfer.source)
    if now != version:
        run.remove(order)
        raise replaced(run, order)
    return copied(order, version, sent)


def copied(order: Order, version: Version, sent: Sent) -> Copied:
    """What is said of an object that was seen at both ends."""
    return Copied(
        transfer=order.transfer,
        size=version.size,
        sha256=sent.sha256,
        source_version=version.tag,
        version=sent.tag,
        sent=not sent.was_there,
        bytes_read=order.bytes_read,
    )


def require_vouched(run: Run, order: Order, sha256: str) -> None:
    """Raises CorruptedUploadError when somebody vouches for other bytes than these."""
    vouched = order.transfer.sha256
    if vouched and vouched != sha256:
        raise CorruptedUploadError(
            f"{run.source.name}/{order.transfer.source} has SHA-256 {sha256}, recorded is {vouched}: it is not what was"
            " stored. Nothing of it was kept. Upload the dataset anew."
        )


def require_arrived(run: Run, order: Order, held: Held, sha256: str) -> None:
    """Read back what the destination holds; remove it and raise EndFailedError when it has another SHA-256."""
    found = read_back(run, order, held, Wholeness("", must_be_gzip=False))
    if found != sha256:
        run.remove(order)
        raise not_arrived(run, order, found, sha256)


def read_back(run: Run, order: Order, held: Held, whole: Wholeness) -> str:
    """The SHA-256 of what the destination holds, a part in memory at a time. Raises ObjectChangedError, DatasetRefusedError."""
    key, version = order.transfer.destination, Version(held.size, held.tag)
    while whole.size < held.size:
        run.desk.require_not_over()
        length = min(run.limits.part_bytes, held.size - whole.size)
        whole.feed(run.at_destination(order, run.destination.read, key, whole.size, length, version).data)
    return whole.finish()


def wholeness(run: Run, order: Order) -> Wholeness:
    """What is found out about an object's bytes. Nothing is unpacked where somebody vouches for them."""
    transfer = order.transfer
    return Wholeness(
        f"{run.source.name}/{transfer.source}", must_be_gzip=transfer.must_be_gzip and transfer.sha256 is None
    )


def replaced(run: Run, order: Order) -> ObjectChangedError:
    return ObjectChangedError(
        f"{run.source.name}/{order.transfer.source} was replaced while it was copied. The next run copies it anew."
    )


def not_arrived(run: Run, order: Order, found: str, sha256: str) -> EndFailedError:
    other = CorruptedUploadError(
        f"{run.destination.name}/{order.transfer.destination} has SHA-256 {found}, sent was {sha256}. It was removed. Try again."
    )
    return EndFailedError("destination", other, altogether=False)


def is_of(held: Held, version: Version) -> bool:
    """Whether an object was made of that version of the source, as is recorded beside it. What its bytes are is another question."""
    return held.size == version.size and held.source_version == version.tag
