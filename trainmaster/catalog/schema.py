"""Which migrations of `deployments/supabase` a PostgreSQL still lacks, told by what they make, and applying them in order.

Nobody keeps a list of those that were applied: the Supabase command line has its own, psql none. Each may be run again at any time.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
from pydantic import SecretStr

from trainmaster.catalog.database import CONNECT_SECONDS, libpq_address
from trainmaster.errors import CatalogueUnavailableError, NotConfiguredError

FOLDER = Path(__file__).parents[2] / "deployments" / "supabase"
STATEMENT_SECONDS = 300
"""For one statement of a migration, an index of a large table among them; each gives up on a lock after five seconds by itself."""
_TABLE = re.compile(r"create table (?:if not exists )?public\.(\w+)")
_INDEX = re.compile(r"create (?:unique )?index if not exists (\w+)")
_COLUMN = re.compile(r"alter table public\.(\w+)([^;]*)", re.DOTALL)
_ADDED = re.compile(r"add column if not exists (\w+)")
_THERE = """
select table_name from information_schema.tables where table_schema = 'public'
union all select table_name || '.' || column_name from information_schema.columns where table_schema = 'public'
union all select indexname from pg_indexes where schemaname = 'public'
"""
_IN_TURN = f"""
select set_config('statement_timeout', '{STATEMENT_SECONDS}s', true),
  pg_advisory_xact_lock(hashtextextended('trainmaster.migrations', 0))
"""
_VERIFY = (FOLDER / "verify.sql").read_text(encoding="utf-8")


@dataclass(frozen=True)
class Migration:
    """One file, and the names of the tables, columns (`table.column`) and indexes that are there once it was applied."""

    name: str
    script: str
    makes: frozenset[str]


def migrations() -> Sequence[Migration]:
    """All, in the order they are applied in."""
    found = []
    for file in sorted((FOLDER / "migrations").glob("*.sql")):
        script = file.read_text(encoding="utf-8")
        code = "\n".join(line for line in script.splitlines() if not line.lstrip().startswith("--")).lower()
        columns = {f"{table}.{column}" for table, rest in _COLUMN.findall(code) for column in _ADDED.findall(rest)}
        found.append(Migration(file.stem, script, frozenset({*_TABLE.findall(code), *_INDEX.findall(code), *columns})))
    return found


def lacking(url: SecretStr) -> Sequence[Migration]:
    """The migrations that were not applied yet. Raises CatalogueUnavailableError and NotConfiguredError."""
    with _connected(url) as connection:
        there = {str(name) for (name,) in connection.execute(_THERE)}
        lacks = [one for one in migrations() if one.makes - there]
        if not _is_verified(connection):  # what changes rows and validates CHECKs is not told by what it makes
            lacks += [one for one in migrations() if one.name in _VERIFY and one not in lacks]
        return sorted(lacks, key=lambda one: one.name)


def apply(url: SecretStr, wanted: Sequence[Migration]) -> Iterator[Migration]:
    """Each once it is applied, wholly or not at all; of several who do so at once one after the other. Raises as `lacking`."""
    with _connected(url) as connection:
        for migration in wanted:
            with connection.transaction():
                connection.execute(_IN_TURN)
                connection.execute(migration.script)
            yield migration


def _is_verified(connection: psycopg.Connection) -> bool:
    try:
        with connection.transaction():
            connection.execute(_VERIFY)
    except (psycopg.errors.RaiseException, psycopg.errors.UndefinedTable):
        return False
    return True


@contextmanager
def _connected(url: SecretStr) -> Iterator[psycopg.Connection]:
    try:
        with psycopg.connect(libpq_address(url), autocommit=True, connect_timeout=CONNECT_SECONDS) as connection:
            yield connection
    except psycopg.OperationalError as error:
        raise CatalogueUnavailableError(
            f"The database of DATABASE_URL fails: {_first_line(error)}. What was applied stays; try again later."
        ) from error
    except psycopg.Error as error:
        raise NotConfiguredError(
            f"The database of DATABASE_URL refuses: {_first_line(error)}. Connect as the owner of its tables, in session mode"
            " (port 5432), then do the same again."
        ) from error


def _first_line(error: psycopg.Error) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
