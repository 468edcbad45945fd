"""Buckets and objects: rows in SQLite, and each version's bytes in a file of its own, in one folder."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import threading
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from trainmaster.embedded.supabase import errors

LARGEST_OBJECT = 50 << 30
"""Bytes, where the bucket sets no lower limit. It is what Supabase lets a paid project choose at most."""
CHUNK = 1 << 20

_SCHEMA = """
create table if not exists buckets (
    id text primary key, name text not null, owner text, public integer not null, file_size_limit integer,
    allowed_mime_types text, created_at text not null, updated_at text not null);
create table if not exists objects (
    bucket_id text not null, name text not null, id text not null, owner text, version text not null unique,
    metadata text not null, user_metadata text, created_at text not null, updated_at text not null,
    last_accessed_at text not null, primary key (bucket_id, name));
create table if not exists uploads (
    version text primary key, bucket_id text not null, name text not null, owner text, length integer not null,
    received integer not null, parts text not null, metadata text not null, user_metadata text,
    given text not null, expires_at real not null);
"""

Row = dict[str, Any]
_JSON = ("metadata", "user_metadata", "allowed_mime_types", "parts")


@dataclass(frozen=True)
class Described:
    """What a client says of the bytes it sends."""

    mimetype: str
    cache_control: str
    user_metadata: dict[str, Any] | None


@dataclass(frozen=True)
class Received:
    """Bytes on disk that are no object yet."""

    path: Path
    size: int
    etag: str


class Store:
    """Safe to share between threads. What a call has done outlives this process, however it ends.

    An object's row is written after its bytes, and what the row replaces is removed after that: a process killed at any
    moment leaves the object as it was or as it was to be. Bytes no row knows are removed at the next start.
    """

    def __init__(self, folder: Path) -> None:
        self._objects, self.incoming = folder / "objects", folder / "incoming"
        for each in (self._objects, self.incoming):
            each.mkdir(parents=True, exist_ok=True)
        self._lock = threading.RLock()
        self._uploading = [threading.Lock() for _ in range(64)]
        self._db = sqlite3.connect(folder / "storage.db", check_same_thread=False, isolation_level=None)
        self._db.row_factory = sqlite3.Row
        self._db.execute("pragma journal_mode=wal")
        self._db.executescript(_SCHEMA)
        self._sweep()

    def close(self) -> None:
        with self._lock:
            self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All changes made inside happen together or not at all. May be nested."""
        with self._lock:
            if self._db.in_transaction:
                yield
                return
            self._db.execute("begin immediate")
            try:
                yield
            except BaseException:
                self._db.execute("rollback")
                raise
            self._db.execute("commit")

    def rows(self, query: str, *values: Any) -> list[Row]:
        """Rows as dictionaries, their JSON columns decoded."""
        with self._lock:
            return [_decoded(row) for row in self._db.execute(query, values).fetchall()]

    def write(self, table: str, row: Row) -> None:
        """Insert a row, or replace the one with its key."""
        columns = ", ".join(row)
        values = [json.dumps(value) if name in _JSON and value is not None else value for name, value in row.items()]
        with self.transaction():
            self._db.execute(f"replace into {table} ({columns}) values ({', '.join('?' * len(row))})", values)  # noqa: S608

    def delete(self, table: str, **key: Any) -> None:
        condition = " and ".join(f"{name} = ?" for name in key)
        with self.transaction():
            self._db.execute(f"delete from {table} where {condition}", [*key.values()])  # noqa: S608

    def bucket(self, bucket_id: str) -> Row:
        """Raises StorageError (404) when there is none."""
        found = self.rows("select * from buckets where id = ?", bucket_id)
        if not found:
            raise errors.no_such_bucket()
        return found[0]

    def object(self, bucket_id: str, name: str) -> Row | None:
        found = self.rows("select * from objects where bucket_id = ? and name = ?", bucket_id, name)
        return found[0] if found else None

    def receive(self, stream: IO[bytes], limit: int) -> Received:
        """All of a stream, on disk; raises StorageError (413) as soon as it exceeds `limit` bytes."""
        path, md5, size = self.incoming / str(uuid.uuid4()), hashlib.md5(usedforsecurity=False), 0
        try:
            with path.open("xb") as file:
                while chunk := stream.read(CHUNK):
                    size += len(chunk)
                    if size > limit:
                        raise errors.too_large()
                    md5.update(chunk)
                    file.write(chunk)
                on_disk(file)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return Received(path, size, md5.hexdigest())

    def add(
        self,
        bucket_id: str,
        name: str,
        owner: str | None,
        received: Received,
        described: Described,
        *,
        finishing: Row | None = None,
    ) -> Row:
        """Make received bytes the object of that name, in place of what was there; its row. They stay where they are too.

        The upload they are of, `finishing`, is recorded together with the object.
        """
        version, now = str(uuid.uuid4()), timestamp()
        place = self._place(version)
        place.parent.mkdir(exist_ok=True)
        os.link(received.path, place)
        row: Row = {
            "id": str(uuid.uuid4()),
            "bucket_id": bucket_id,
            "name": name,
            "owner": owner,
            "version": version,
            "metadata": {
                "eTag": f'"{received.etag}"',
                "size": received.size,
                "mimetype": described.mimetype,
                "cacheControl": described.cache_control,
                "lastModified": now,
                "contentLength": received.size,
                "httpStatusCode": 200,
            },
            "user_metadata": described.user_metadata,
            "created_at": now,
            "updated_at": now,
            "last_accessed_at": now,
        }
        try:
            replaced = self._replace(row, finishing)
        except BaseException:
            place.unlink()
            raise
        if replaced:
            self._place(replaced["version"]).unlink(missing_ok=True)
        return row

    def open(self, bucket_id: str, name: str) -> tuple[Row, IO[bytes]] | None:
        """An object's row and its bytes; None when there is no row. Raises StorageError (500) for a row without bytes."""
        missing = ""
        while (row := self.object(bucket_id, name)) is not None:
            try:
                return row, self._place(row["version"]).open("rb")
            except FileNotFoundError:
                if missing == row["version"]:  # else it was replaced between the two lines
                    raise errors.internal("ENOENT: no such file or directory") from None
                missing = row["version"]
        return None

    def move(self, row: Row, bucket_id: str, name: str, owner: str | None) -> Row:
        """Its new row; the bytes stay where they are. Raises StorageError (409) when the name is taken."""
        with self.transaction():
            if self.object(bucket_id, name):
                raise errors.already_there()
            self.delete("objects", bucket_id=row["bucket_id"], name=row["name"])
            moved = {**row, "bucket_id": bucket_id, "name": name, "owner": owner, "updated_at": timestamp()}
            self.write("objects", moved)
        return moved

    def remove(self, bucket_id: str, names: Sequence[str]) -> list[Row]:
        """The rows of those that were there and are gone."""
        with self.transaction():
            found = [row for name in dict.fromkeys(names) if (row := self.object(bucket_id, name))]
            for row in found:
                self.delete("objects", bucket_id=bucket_id, name=row["name"])
        for row in found:
            self._place(row["version"]).unlink(missing_ok=True)
        return found

    def _replace(self, row: Row, finishing: Row | None) -> Row | None:
        with self.transaction():
            self.bucket(row["bucket_id"])  # which may have been deleted meanwhile
            replaced = self.object(row["bucket_id"], row["name"])
            if replaced:
                row.update(id=replaced["id"], created_at=replaced["created_at"])
            self.write("objects", row)
            if finishing:
                self.write("uploads", finishing)
        return replaced

    @contextmanager
    def uploading(self, version: str) -> Iterator[None]:
        """One chunk of an upload at a time."""
        with self._uploading[hash(version) % len(self._uploading)]:
            yield

    def _place(self, version: str) -> Path:
        return self._objects / version[:2] / version

    def _sweep(self) -> None:
        known = {row["version"] for row in self.rows("select version from objects")}
        unfinished = {row["version"] for row in self.rows("select version from uploads where received < length")}
        for folder, kept in ((self._objects, known), (self.incoming, unfinished)):
            for path in folder.rglob("*"):
                if path.is_file() and path.name not in kept:
                    path.unlink()


def on_disk(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())


def timestamp() -> str:
    """Now, as the real server writes it: 2026-08-01T12:00:00.000Z."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _decoded(row: sqlite3.Row) -> Row:
    return {
        name: json.loads(value) if name in _JSON and value is not None else value for name, value in dict(row).items()
    }
