"""How far readers of jobs' logs have come: whoever reads on after them begins where they stopped."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import delete, select

from trainmaster.catalog.database import Database
from trainmaster.catalog.tables import log_positions


class LogPositions:
    """By job and reader (a flow run's id, the sweep), the token each stream of the job's log is read on from.

    Methods are transactions; see Database for what they raise. A job with a hundred hosts has a hundred rows for each reader.
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

    def forget(self, job: str) -> None:
        """Nobody reads that job's log any more."""
        with self._database.writing() as connection:
            connection.execute(delete(log_positions).where(log_positions.c.job == job))
