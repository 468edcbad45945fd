"""How fast datasets were copied lately, told from who copied what when."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby, pairwise

from sqlalchemy import and_, func, select

from trainmaster.catalog.database import Database
from trainmaster.catalog.tables import dataset_copies, dataset_moves

LATEST = 5_000
LONGEST_PAUSE = timedelta(minutes=10)
"""What lies further apart was not copied one after the other."""
FEWEST_SECONDS, FEWEST_BYTES = 1.0, 64 * 10**6
"""Less than so much of one run says nothing about how long more would take: it was over before it went fast, or waited for requests."""


@dataclass(frozen=True)
class RecentPace:
    """Bytes a second, and of how many copies that is."""

    bytes_per_second: float
    copies: int


def recent_pace(database: Database) -> RecentPace | None:
    """Of the last 5,000 copies that are still there, by runs of 64 MB at least; None when there are too few to tell."""
    move, copy = dataset_moves.c, dataset_copies.c
    latest = select(move.position, move.dataset_id, move.at, move.by).where(move.phase == "copy")
    page = latest.order_by(move.position.desc()).limit(LATEST).subquery()
    there = and_(copy.dataset_id == page.c.dataset_id, copy.provider == "s3")
    query = select(page.c.by, page.c.at, func.sum(copy.size_bytes), func.count()).join(dataset_copies, there)
    query = query.group_by(page.c.by, page.c.at).order_by(page.c.by, page.c.at)
    with database.reading() as connection:
        rows = connection.execute(query).all()
    groups = [(by, at, int(size), int(copies)) for by, at, size, copies in rows]
    seconds, size, copies = 0.0, 0, 0
    for _, of_one in groupby(groups, key=lambda row: row[0]):
        took = _took([row[1:] for row in of_one])
        if took[1] >= FEWEST_BYTES:
            seconds, size, copies = seconds + took[0], size + took[1], copies + took[2]
    return RecentPace(size / seconds, copies) if seconds >= FEWEST_SECONDS and size else None


def _took(groups: Sequence[tuple[datetime, int, int]]) -> tuple[float, int, int]:
    """Seconds, bytes and copies between one settling and the next of whoever copied; how long the first took nobody knows."""
    seconds, size, copies = 0.0, 0, 0
    for (before, _, _), (at, more_size, more_copies) in pairwise(groups):
        if at - before <= LONGEST_PAUSE:
            seconds, size, copies = seconds + (at - before).total_seconds(), size + more_size, copies + more_copies
    return seconds, size, copies
