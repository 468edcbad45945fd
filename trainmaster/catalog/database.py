"""The catalogue's database: SQLite in the state folder, or PostgreSQL; transactions on either, and what their failures mean."""

from __future__ import annotations

import fcntl
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
from pydantic import SecretStr
from sqlalchemy import Connection, Engine, Table, create_engine, event, func, literal, select, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.exc import TimeoutError as NoFreeConnectionError
from sqlalchemy.schema import CreateColumn
from sqlalchemy.sql import ColumnElement

from trainmaster.catalog.columns import Amount, Moment
from trainmaster.catalog.tables import metadata
from trainmaster.errors import CatalogueUnavailableError, NotConfiguredError

MIGRATIONS = "deployments/supabase/migrations"
CONNECT_SECONDS = 10
LOCK_SECONDS = 10
STATEMENT_SECONDS = 30
POOL_SECONDS = 30
BUSY_SECONDS = 30
"""How long a writer waits for the others on SQLite, where there is one at a time."""
CONNECTIONS = 5
TRANSACTION_POOLER_PORT = 6543

_NOT_OURS = {"pgbouncer", "connection_limit", "supa"}
"""What Supabase's copied connection strings carry for other libraries; libpq refuses what it does not know."""
_PASSING_CLASSES = ("08", "40", "53", "57", "58")
"""SQLSTATE classes: connection, rollback (serialization, deadlock), resources, intervention, system."""
_PASSING_STATES = {"55P03", "25P03", "25006"}  # no lock in time, idle too long, read-only for the time being
_SCHEMA_STATES = {"42P01", "42703", "3F000"}
_PASSING_SQLITE = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR}
_UNUSABLE_SQLITE = {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT}


class Database:
    """Short transactions, each on a connection of its own; to be used from many threads, not across a fork.

    Both kinds raise CatalogueUnavailableError when trying later may help and NotConfiguredError when it cannot.
    """

    def __init__(self, engine: Engine, where: str) -> None:
        self._engine, self._where = engine, where
        self._writing_engine = engine.execution_options(sqlite_begin="BEGIN IMMEDIATE")
        self.kind = engine.dialect.name
        # Whatever the server's default: a stricter one would see what there was before the wait.
        after_waiting = {} if self.kind == "sqlite" else {"isolation_level": "READ COMMITTED"}
        self._turn_engine = self._writing_engine.execution_options(**after_waiting)

    def __repr__(self) -> str:
        return f"Database({self._where})"

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that changes nothing."""
        with self._failures(), self._engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that is committed when the block ends and undone when it raises."""
        with self._failures(), self._writing_engine.begin() as connection:
            yield connection

    @contextmanager
    def writing_in_turn(self, name: str) -> Iterator[Connection]:
        """A writing transaction that waits until no other of this name is under way, and sees all that those before it did."""
        with self._failures(), self._turn_engine.begin() as connection:
            if self.kind != "sqlite":  # there writers take turns anyway
                connection.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(f"trainmaster.{name}", 0))))
            yield connection

    def now(self, connection: Connection) -> datetime:
        """The time all holders of leases agree on: the database server's; of SQLite, this machine's."""
        if self.kind == "sqlite":
            return datetime.now(UTC)
        return connection.execute(select(func.clock_timestamp(type_=Moment))).scalar_one()

    def insert(self, table: Table) -> postgresql.Insert | sqlite.Insert:
        """An INSERT that can say what becomes of a conflict."""
        return sqlite.insert(table) if self.kind == "sqlite" else postgresql.insert(table)

    def total(self, amounts: ColumnElement[Decimal]) -> ColumnElement[Decimal]:
        """The exact sum of amounts in a query, 0 of none."""
        sum_of = func.decimal_sum if self.kind == "sqlite" else func.sum
        return func.coalesce(sum_of(amounts), literal(Decimal(0), Amount), type_=Amount)

    def close(self) -> None:
        """Close the connections. Using it again opens new ones."""
        self._engine.dispose()

    @contextmanager
    def _failures(self) -> Iterator[None]:
        try:
            yield
        except NoFreeConnectionError as error:
            raise CatalogueUnavailableError(
                f"The catalogue ({self._where}): all {CONNECTIONS} connections are in use. Try again later."
            ) from error
        except DBAPIError as error:
            self._raise_meaning(error)
            raise

    def _raise_meaning(self, error: DBAPIError) -> None:
        said = str(error.orig).strip()
        if _is_passing(error):
            hint = "" if _sqlstate(error) or self.kind == "sqlite" else " If that does not help, check DATABASE_URL."
            raise CatalogueUnavailableError(
                f"The catalogue ({self._where}) fails: {said}. Try again later.{hint}"
            ) from error
        if _sqlite_code(error) in _UNUSABLE_SQLITE:
            raise NotConfiguredError(
                f"{self._where} cannot be used as the catalogue: {said}. Make it writable, or set TRAINMASTER_STATE_DIR."
            ) from error
        state = _sqlstate(error)
        if state in _SCHEMA_STATES:
            raise NotConfiguredError(
                f"The catalogue ({self._where}) lacks what this version needs: {said.splitlines()[0]}."
                f" Apply the migrations of {MIGRATIONS} (its README says how)."
            ) from error
        if state == "42501" or (not state and isinstance(error.orig, psycopg.ProgrammingError)):
            raise NotConfiguredError(
                f"The catalogue ({self._where}) refuses us: {said}. Check DATABASE_URL."
            ) from error


def open_database(url: str | SecretStr | None, state_dir: Path) -> Database:
    """PostgreSQL by a `postgresql://` or `postgres://` address, or `catalog.db` in the state folder, made if it is not there.

    PostgreSQL is connected to on first use; its tables are the application's and never made here. Raises NotConfiguredError.
    """
    if url is None:
        return _open_sqlite(state_dir)
    return _open_postgresql(url.get_secret_value() if isinstance(url, SecretStr) else url)


def _open_sqlite(state_dir: Path) -> Database:
    file = state_dir / "catalog.db"
    engine = create_engine(
        URL.create("sqlite", database=str(file)),
        connect_args={"timeout": BUSY_SECONDS, "isolation_level": None, "check_same_thread": False},
        pool_size=CONNECTIONS,
        max_overflow=0,
        pool_timeout=POOL_SECONDS,
        hide_parameters=True,
    )
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    database = Database(engine, str(file))
    try:
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Several processes may be the first one, and SQLite's own waiting does not cover the change to WAL.
        with (state_dir / "catalog.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            with database._failures(), engine.connect() as connection:
                outside_transactions = connection.execution_options(sqlite_begin="")
                outside_transactions.exec_driver_sql("PRAGMA journal_mode = WAL")
            with database.writing() as connection:
                metadata.create_all(connection)
                _add_what_is_new(connection)
    except OSError as error:
        raise NotConfiguredError(
            f"{file} cannot be made: {error.strerror}. Make its folder writable, or set TRAINMASTER_STATE_DIR."
        ) from error
    return database


def _add_what_is_new(connection: Connection) -> None:
    """Columns and indexes that a file made by an earlier version lacks in tables it has: `create_all` leaves those as they are."""
    columns = "select m.name, p.name from sqlite_master m join pragma_table_info(m.name) p where m.type = 'table'"
    there = {tuple(row) for row in connection.exec_driver_sql(columns)}
    indexes = set(connection.exec_driver_sql("select name from sqlite_master where type = 'index'").scalars())
    for table in metadata.tables.values():
        for column in table.columns:
            if (table.name, column.name) not in there:
                described = CreateColumn(column).compile(dialect=connection.dialect)
                connection.exec_driver_sql(f"alter table {table.name} add column {described}")
        for index in table.indexes:
            if index.name not in indexes:
                index.create(connection)


def _prepare_sqlite(connection: sqlite3.Connection, _record: Any) -> None:
    connection.execute("PRAGMA foreign_keys = ON")
    connection.create_function("lower", 1, _lower, deterministic=True)
    connection.create_aggregate("decimal_sum", 1, _DecimalSum)  # type: ignore[arg-type]


def _lower(value: str | None) -> str | None:
    """SQLite's own knows ASCII only."""
    return None if value is None else value.lower()


class _DecimalSum:
    """SQLite's own makes binary fractions of amounts."""

    def __init__(self) -> None:
        self._sum = Decimal(0)

    def step(self, amount: str | None) -> None:
        self._sum += Decimal(amount or 0)

    def finalize(self) -> str:
        return str(self._sum)


def _begin_sqlite(connection: Connection) -> None:
    # A transaction that reads before it writes cannot wait for another writer half-way: it takes its turn at the start.
    if statement := connection.get_execution_options().get("sqlite_begin", "BEGIN"):
        connection.exec_driver_sql(statement)


def _open_postgresql(address: str) -> Database:
    url = _parse(address)
    engine = create_engine(
        url.set(drivername="postgresql+psycopg").difference_update_query(_NOT_OURS),
        connect_args=connection_options(url),
        pool_size=CONNECTIONS,
        max_overflow=0,
        pool_timeout=POOL_SECONDS,
        pool_pre_ping=True,
        pool_recycle=1800,
        hide_parameters=True,
    )
    event.listen(engine, "begin", _limit_postgresql)
    return Database(engine, f"PostgreSQL {url.host or url.query.get('host') or 'on this machine'}/{url.database or ''}")


def connection_options(url: URL) -> dict[str, Any]:
    """What psycopg is told besides the address."""
    options: dict[str, Any] = {
        "connect_timeout": CONNECT_SECONDS,
        "application_name": "trainmaster",
        # A server that vanishes without a word is noticed after about a minute, even in the middle of a query.
        "keepalives_idle": 30,
        "keepalives_interval": 10,
        "keepalives_count": 3,
        "tcp_user_timeout": 60_000,
    }
    if url.port == TRANSACTION_POOLER_PORT or url.query.get("pgbouncer") == "true":
        # A transaction-mode pooler hands the next transaction to another server, which has none of our statements.
        options["prepare_threshold"] = None
    return options


def _parse(address: str) -> URL:
    try:
        url = make_url(address)
    except (ArgumentError, ValueError):
        url = None
    if url is None or url.drivername not in {"postgres", "postgresql", "postgresql+psycopg"}:
        # Without the cause: it may quote a part of the password.
        raise NotConfiguredError(
            "DATABASE_URL is not an address of PostgreSQL. Write postgresql://user:password@host:5432/database, with %-codes"
            " for special characters in the password; leave it out for SQLite in the state folder."
        ) from None
    return url


def libpq_address(address: SecretStr) -> str:
    """What libpq takes of an address of DATABASE_URL, password included. Raises NotConfiguredError."""
    url = _parse(address.get_secret_value()).set(drivername="postgresql").difference_update_query(_NOT_OURS)
    return url.render_as_string(hide_password=False)


def _limit_postgresql(connection: Connection) -> None:
    # For the transaction, not the session: behind a transaction-mode pooler the session is shared with others.
    connection.execute(
        text(
            "select set_config('statement_timeout', :statement, true), set_config('lock_timeout', :lock, true),"
            " set_config('idle_in_transaction_session_timeout', :statement, true)"
        ),
        {"statement": f"{STATEMENT_SECONDS}s", "lock": f"{LOCK_SECONDS}s"},
    )


def _is_passing(error: DBAPIError) -> bool:
    if _sqlite_code(error) in _PASSING_SQLITE:
        return True
    state = _sqlstate(error)
    if not state and isinstance(error.orig, psycopg.OperationalError):
        return True  # no connection, or none any more: the server had no chance to name a state
    return error.connection_invalidated or state.startswith(_PASSING_CLASSES) or state in _PASSING_STATES


def _sqlstate(error: DBAPIError) -> str:
    return (error.orig.sqlstate or "") if isinstance(error.orig, psycopg.Error) else ""


def _sqlite_code(error: DBAPIError) -> int:
    """SQLite's primary result code; 0 when it is not SQLite that failed."""
    return getattr(error.orig, "sqlite_errorcode", 0) & 0xFF
