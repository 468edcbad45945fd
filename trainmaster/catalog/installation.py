"""Which installation this is: two that share an AWS account tell their jobs apart by it."""

from __future__ import annotations

from uuid import UUID, uuid4

from sqlalchemy import select

from trainmaster.catalog.database import Database
from trainmaster.catalog.tables import installation


def installation_of(database: Database) -> UUID:
    """The id this database was given when it was first asked for one; the same for whoever asks, and for ever."""
    with database.reading() as connection:
        known: UUID | None = connection.execute(select(installation.c.id)).scalar_one_or_none()
    if known:
        return known
    with database.writing() as connection:
        connection.execute(database.insert(installation).values(one=1, id=uuid4()).on_conflict_do_nothing())
        given: UUID = connection.execute(select(installation.c.id)).scalar_one()
        return given
