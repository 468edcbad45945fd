"""What the embedded SageMaker remembers: named records and their tags, in one SQLite file that survives restarts."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trainmaster.embedded.sagemaker.wire import Json

_SCHEMA = """
create table if not exists records (
    kind text not null, name text not null, arn text not null, body text not null, primary key (kind, name));
create table if not exists tags (
    arn text not null, key text not null, value text not null, primary key (arn, key));
"""


class AlreadyRecordedError(Exception):
    """Raised when a record of that kind and name exists."""


class Records:
    """Records by kind and name. Safe to share between threads; every change is on disk when the call returns."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.RLock()
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._db.execute("pragma journal_mode=wal")
        self._db.executescript(_SCHEMA)

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All changes made inside happen together or not at all. May be nested."""
        with self._lock:
            if self._db.in_transaction:
                yield self._db
                return
            self._db.execute("begin immediate")
            try:
                yield self._db
            except BaseException:
                self._db.execute("rollback")
                raise
            self._db.execute("commit")

    def create(self, kind: str, name: str, arn: str, body: Json, tags: list[dict[str, str]] | None = None) -> None:
        """Raises AlreadyRecordedError when the name is taken; of racing callers exactly one succeeds."""
        with self.transaction() as db:
            try:
                db.execute("insert into records values (?, ?, ?, ?)", (kind, name, arn, json.dumps(body)))
            except sqlite3.IntegrityError:
                raise AlreadyRecordedError(f"{kind} {name}") from None
            if tags:
                self.tag(arn, {tag["Key"]: tag["Value"] for tag in tags})

    def get(self, kind: str, name: str) -> Json | None:
        with self._lock:
            row = self._db.execute("select body from records where kind = ? and name = ?", (kind, name)).fetchone()
        return json.loads(row[0]) if row else None

    def all(self, kind: str) -> list[Json]:
        with self._lock:
            rows = self._db.execute("select body from records where kind = ? order by rowid", (kind,)).fetchall()
        return [json.loads(body) for (body,) in rows]

    @contextmanager
    def changing(self, kind: str, name: str) -> Iterator[Json]:
        """The record's body, to be changed in place; stored when the block ends. Raises KeyError when there is none."""
        with self.transaction() as db:
            body = self.get(kind, name)
            if body is None:
                raise KeyError(f"{kind} {name}")
            yield body
            db.execute("update records set body = ? where kind = ? and name = ?", (json.dumps(body), kind, name))

    def delete(self, kind: str, name: str) -> bool:
        """True when there was such a record. Its tags go with it."""
        with self.transaction() as db:
            row = db.execute("delete from records where kind = ? and name = ? returning arn", (kind, name)).fetchone()
            if row:
                db.execute("delete from tags where arn = ?", row)
        return row is not None

    def has_arn(self, arn: str) -> bool:
        with self._lock:
            return self._db.execute("select 1 from records where arn = ?", (arn,)).fetchone() is not None

    def tags(self, arn: str) -> dict[str, str]:
        with self._lock:
            return dict(self._db.execute("select key, value from tags where arn = ? order by key", (arn,)))

    def tag(self, arn: str, tags: dict[str, str]) -> None:
        with self.transaction() as db:
            db.executemany(
                "insert into tags values (?, ?, ?) on conflict (arn, key) do update set value = excluded.value",
                [(arn, key, value) for key, value in tags.items()],
            )

    def untag(self, arn: str, keys: list[str]) -> None:
        with self.transaction() as db:
            db.executemany("delete from tags where arn = ? and key = ?", [(arn, key) for key in keys])

    def close(self) -> None:
        with self._lock:
            self._db.close()
