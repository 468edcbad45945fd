"""Where datasets stand on their way from Supabase to S3, in one or two statements: counts, and claims under way."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from sqlalchemy import func, select

from trainmaster.catalog.database import Database
from trainmaster.catalog.tables import pending_objects
from trainmaster.storage.store import StorageProvider

_AT_ONCE = 2_000


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
