"""How far readers of jobs' logs have come: whoever reads on after them begins where they stopped."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from sqlalchemy import delete, select, tuple_

from trainmaster.catalog.database import Database
from trainmaster.catalog.tables import log_positions

UNREAD = timedelta(days=35)
"""A job runs for 28 days at the very most, so whoever has not read on for so long has a week behind its end; or reads it anew."""


class LogPositions:
    """By job and reader (a flow run's id, the sweep), the token each stream of the job's log is read on from.

    Methods are transactions; see Database for what they raise. A job with a hundred hosts has a hundred rows for each reader,
    for 35 days: of a thousand hosts a day, each read by two, some 20 MB, few enough to be looked through without an index by age.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def save(self, job: str, reader: str, positions: Mapping[str, str | None]) -> None:
        """Keep where the reader is, all streams or none. Streams that are not named stay as they are."""
        if not positions:
            return
        with self._database.writing() as connection:
            now = self._database.now(connection)
            # In one order, so that two savers of the same never wait for each other.
            rows = [
                {"job": job, "reader": reader, "stream": stream, "token": token, "at": now}
                for stream, token in sorted(positions.items())
            ]
            statement = self._database.insert(log_positions)
            written = {"token": statement.excluded.token, "at": statement.excluded.at}
            key = list(log_positions.primary_key)
            connection.execute(statement.on_conflict_do_update(index_elements=key, set_=written), rows)

    def load(self, job: str, reader: str) -> dict[str, str | None]:
        """By stream, where the reader was; empty of one that never read."""
        column = log_positions.c
        query = select(column.stream, column.token).where(column.job == job, column.reader == reader)
        with self._database.reading() as connection:
            return {row.stream: row.token for row in connection.execute(query)}

    def forget_unread(self, *, most: int = 10_000) -> int:
        """Drop positions, at most so many, that nobody has moved for UNREAD; how many. Any number may do so at once.

        By their age and not by their jobs' rows: a job may have none, and its readers may outlive it.
        """
        column, key = log_positions.c, list(log_positions.primary_key)
        with self._database.writing() as connection:
            before = self._database.now(connection) - UNREAD
            unread = select(*key).where(column.at < before).limit(most).with_for_update(skip_locked=True)
            return connection.execute(delete(log_positions).where(tuple_(*key).in_(unread))).rowcount
