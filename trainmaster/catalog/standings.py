"""Where datasets stand on their way from Supabase to S3, in one or two statements: counts, and claims under way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID

from sqlalchemy import and_, case, func, select

from trainmaster.catalog.database import Database
from trainmaster.catalog.tables import dataset_copies, dataset_hindrances, pending_objects, training_datasets
from trainmaster.storage.store import StorageProvider

_AT_ONCE = 2_000

Where = Literal["supabase", "both", "s3"]


@dataclass(frozen=True)
class Held:
    """Objects in S3 that one try holds: so many, since when, and for how long yet unless it renews its claims."""

    holder: str
    objects: int
    since: datetime
    left: timedelta


@dataclass(frozen=True)
class Standings:
    """How many datasets, and bytes as far as known, lie where; readers of how many get S3; how many are hindered, by kind; and
    what is being copied now."""

    datasets: Mapping[Where, int]
    bytes: Mapping[Where, int]
    promoted: int
    hindered: Mapping[str, int]
    under_way: Sequence[Held]


def standings(database: Database, user_id: UUID | None = None) -> Standings:
    """Of all datasets, or of one user's, as they are at one moment."""
    dataset, claim, hindrance = training_datasets.c, pending_objects.c, dataset_hindrances.c
    supabase, s3 = dataset_copies.alias("supabase"), dataset_copies.alias("s3")
    names_s3 = dataset.storage_provider == StorageProvider.S3
    where = case(
        (supabase.c.dataset_id.is_not(None) & s3.c.dataset_id.is_not(None), "both"),
        (s3.c.dataset_id.is_not(None) & ~names_s3, "both"),  # the application's own, which nobody read yet
        (s3.c.dataset_id.is_not(None) | (names_s3 & supabase.c.dataset_id.is_(None)), "s3"),
        else_="supabase",
    )
    noted = case((dataset.file_size_bytes >= 0, dataset.file_size_bytes))
    size = func.coalesce(supabase.c.size_bytes, s3.c.size_bytes, noted, 0)
    joined = training_datasets.outerjoin(dataset_hindrances, hindrance.dataset_id == dataset.id)
    for copy, provider in ((supabase, StorageProvider.SUPABASE), (s3, StorageProvider.S3)):
        joined = joined.outerjoin(copy, and_(copy.c.dataset_id == dataset.id, copy.c.provider == provider))
    columns = (where.label("place"), dataset.storage_provider, hindrance.kind)
    rows = select(*columns, func.count(), func.sum(size)).select_from(joined).group_by(*columns)
    held = select(claim.holder, func.count(), func.min(claim.started_at), func.max(claim.lease_until))
    held = held.where(claim.provider == StorageProvider.S3).group_by(claim.holder).order_by(claim.holder)
    if user_id:
        rows, held = rows.where(dataset.user_id == user_id), held.where(claim.user_id == user_id)
    datasets, bytes_, hindered = Counter[Where](), Counter[Where](), Counter[str]()
    promoted = 0
    with database.reading() as connection:
        now = database.now(connection)
        for place, provider, kind, count, sum_ in connection.execute(rows):
            datasets[place] += count
            bytes_[place] += int(sum_)
            promoted += count if provider == StorageProvider.S3 else 0
            hindered.update({kind: count} if kind else {})
        under_way = [
            Held(holder, count, since, until - now)
            for holder, count, since, until in connection.execute(held.where(claim.lease_until > now))
        ]
    return Standings(dict(datasets), dict(bytes_), promoted, dict(hindered), under_way)


def longest_claim(database: Database, dataset_ids: Sequence[UUID]) -> timedelta:
    """How long at most objects of these datasets in S3 are held from now on, if nobody renews a claim; zero when none is."""
    claim, longest = pending_objects.c, timedelta(0)
    with database.reading() as connection:
        now = database.now(connection)
        for start in range(0, len(dataset_ids), _AT_ONCE):
            theirs = claim.dataset_id.in_(dataset_ids[start : start + _AT_ONCE])
            query = select(func.max(claim.lease_until)).where(theirs, claim.provider == StorageProvider.S3)
            if until := connection.execute(query).scalar():
                longest = max(longest, until - now)
    return longest
