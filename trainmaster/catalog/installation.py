"""Which installation this is: two that share an AWS account tell their jobs apart by it."""

from __future__ import annotations

from uuid import UUID, uuid4

from sqlalchemy import select

from trainmaster.catalog.database import Database
from trainmaster.catalog.tables import installation


def known_installation(database: Database) -> UUID | None:
    """The id it was given; None where nobody asked for one yet."""
    with database.reading() as connection:
        known: UUID | None = connection.execute(select(installation.c.id)).scalar_one_or_none()
    return known


def installation_of(database: Database) -> UUID:
    """The id this database was given when it was first asked for one; the same for whoever asks, and for ever."""
    if known := known_installation(database):
        return known
    with database.writing() as connection:
        connection.execute(database.insert(installation).values(one=1, id=uuid4()).on_conflict_do_nothing())
        given: UUID = connection.execute(select(installation.c.id)).scalar_one()
        return given
