"""Copies in S3 read again, to their last byte, and held against what was catalogued when they were made."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from functools import partial
from uuid import UUID

from trainmaster.catalog.candidates import Candidate, Selection
from trainmaster.migration.beside import rotten
from trainmaster.migration.deadline import deadline_of, now
from trainmaster.migration.findings import changed, damage_read, note_sound
from trainmaster.migration.findings import damaged as damage_found
from trainmaster.migration.outcomes import Ending, Fate, Tallied, VerifiedCopies
from trainmaster.migration.request import VerifyCopiesRequest
from trainmaster.migration.rounds import Round, fate_of
from trainmaster.storage.library import Library

PAGE, GROUP = 500, 100


def verify_copies(
    library: Library, request: VerifyCopiesRequest, *, by: str, stop: threading.Event | None = None
) -> VerifiedCopies:
    """Read copies whole, those first that were not verified for longest: SHA-256, size, and that they are whole gzip. And what was
    dropped from them, where that lies beside them.

    A sound one is noted as verified now, by `by`. A damaged one is kept as that, with which other copy is good and what to do; what
    may be trouble of the moment never is. Eight are read at once, a MiB of each in memory. Raises CatalogueUnavailableError.
    """
    began = time.monotonic()
    round_ = Round(
        library,
        by=by,
        rehearsed=False,
        megabytes_per_second=request.megabytes_per_second,
        max_gigabytes=request.max_gigabytes,
        until=deadline_of(now(), request.max_minutes),
        stop=stop,
    )
    damaged, others = Tallied(), Tallied()
    ending = _go_over(request, round_, damaged, others)
    return VerifiedCopies(
        read=others.counts["done"] + damaged.counts["failed"],
        bytes=others.read + damaged.read,
        seconds=time.monotonic() - began,
        damaged_count=damaged.counts["failed"],
        damaged=tuple(damaged.kept["failed"]),
        failed=others.counts["failed"],
        failures=tuple(others.kept["failed"]),
        left=dict(others.left),
        ending=ending,
    )


def _go_over(request: VerifyCopiesRequest, round_: Round, damaged: Tallied, others: Tallied) -> Ending:
    for group in _groups(request, round_.library):
        began, sound = round_.library.catalogue.migrations.now(), dict[UUID, str | None]()
        done = list[Candidate]()
        for candidate, fate in round_.each(group, partial(_read, round_, sound)):
            (damaged if fate.kind == "damaged" else others).add([fate])
            done += [candidate] if fate.verdict == "done" else []
        note_sound(round_, [(candidate, sound[candidate.id]) for candidate in done], began)
        if ending := round_.ending:
            return ending
    return Ending()


def _read(round_: Round, sound: dict[UUID, str | None], candidate: Candidate) -> Fate:
    """What becomes of one; of one that is sound, the version that is goes into `sound`."""
    copy = candidate.s3
    if copy is None:
        return changed(candidate)
    examined = damage_read(round_, candidate, copy)
    if examined.fate:
        return examined.fate
    beside = rotten(round_, copy)
    read = examined.read + beside.read
    if beside.wrong:
        return damage_found(round_, candidate, copy, beside.wrong, read=read)
    sound[candidate.id] = examined.tag
    return fate_of(candidate, "done", read=read)


def _groups(request: VerifyCopiesRequest, library: Library) -> Iterator[Sequence[Candidate]]:
    """Copies that nobody has verified since we began, some at a time."""
    selection = Selection(
        user_id=UUID(request.user_id) if request.user_id else None,
        dataset_ids=[UUID(each) for each in request.dataset_ids],
    )
    began, after, left = library.catalogue.migrations.now(), None, None if request.everything else request.sample
    while left is None or left > 0:
        page = library.catalogue.migrations.to_verify(
            selection, verified_before=began, after=after, limit=PAGE if left is None else min(PAGE, left)
        )
        yield from (page[start : start + GROUP] for start in range(0, len(page), GROUP))
        if not page:
            return
        after, left = page[-1], None if left is None else left - len(page)
