"""Objects in Supabase Storage: streamed both ways, proven by reading them back, since Storage checks nothing itself."""

from __future__ import annotations

import base64
import json
import re
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import IO, Any
from urllib.parse import quote

from pydantic import SecretStr

from trainmaster.errors import (
    CorruptedUploadError,
    NameConflictError,
    NotConfiguredError,
    ObjectChangedError,
    ObjectMissingError,
    RefusedError,
    StorageUnavailableError,
)
from trainmaster.storage.bodies import AnnouncedBody, hashed
from trainmaster.storage.reading import Opened, resumed
from trainmaster.storage.resumable import upload_resumably
from trainmaster.storage.store import StorageProvider, StoredObject, require_folder, require_lifetime
from trainmaster.storage.supabase_calls import CallFailedError, CallRefusedError, SupabaseCalls, Timing, object_path

LARGEST_RAW = 6_000_000
"""Bytes of one POST; above that Supabase wants resumable uploads."""
PAGE = 1000
ROUNDS = 3
_KEY = re.compile(r"[A-Za-z0-9_/!\-.*'() &$@=;:+,?]+")


class SupabaseStore:
    """A bucket of a Supabase project. Holds one piece (6 MiB) while storing, a chunk of 1 MiB while reading.

    Storage verifies no checksum and its ETag is an MD5 only of what came in one piece. So everything stored is read back once
    and hashed: that costs a download of the same size, which hosted Supabase bills as egress. May be shared between threads.
    """

    provider = StorageProvider.SUPABASE

    def __init__(
        self,
        url: str,
        service_key: SecretStr,
        bucket: str,
        *,
        timing: Timing = Timing(),  # noqa: B008 - frozen
        largest_raw: int = LARGEST_RAW,
        page_size: int = PAGE,
    ) -> None:
        self.bucket, self._calls = bucket, SupabaseCalls(url, service_key, timing)
        self._largest_raw, self._page_size = largest_raw, page_size
        self._bucket_found = False

    def __repr__(self) -> str:
        return f"SupabaseStore({self._calls.base}, {self.bucket})"

    def require_bucket(self) -> None:
        """Raises NotConfiguredError when the bucket does not exist or the key may not use it. Asked once."""
        if self._bucket_found:
            return
        try:
            self._calls.ask("GET", f"bucket/{quote(self.bucket, safe='')}")
        except CallRefusedError as error:
            if error.status != 404:
                raise
            raise NotConfiguredError(
                f"Supabase has no bucket {self.bucket!r} at {self._calls.base}. Create it, private, in the project's"
                " Storage settings."
            ) from None
        self._bucket_found = True

    def put(self, key: str, body: IO[bytes], *, size: int, sha256: str, content_type: str) -> bool:
        """Create an object of `size` bytes and read it back; False when it was there already.

        Uploads at the same time can overwrite each other, whatever Storage is told: who must know for sure that nobody else
        writes this key holds a lease. Here the loser sees it, unless the other upload ends after ours was read back.
        """
        _require_key(key)
        announced, token = AnnouncedBody(body, size=size, sha256=sha256), uuid.uuid4().hex
        for _ in range(ROUNDS):
            if not (found := self.stat(key)):
                self._send(key, announced, content_type, {"sha256": sha256, "size": str(size), "upload": token})
                found = self._appeared(key)
            if found:
                try:
                    return self._verified(found, announced, token)
                except ObjectChangedError:
                    continue  # somebody overwrote it while it was read back: look again whose it is now
        raise StorageUnavailableError(f"{self._at(key)} was sent {ROUNDS} times and is not there. Try again later.")

    @contextmanager
    def get(self, key: str, *, start: int = 0) -> Iterator[Iterator[bytes]]:
        """The bytes from `start` on, taken up where a connection is cut.

        Storage can mix two versions of an object in one download: at its end it is looked at again, and ObjectChangedError
        raised if it is not the one it was before.
        """
        before = self._info(key)
        if not before:
            raise ObjectMissingError(f"{self._at(key)} is not there.")
        if before["size"] is None:
            raise self._without_bytes(key)
        size, etags = int(before["size"]), set[str]()

        def open_at(position: int) -> Opened:
            if position >= size and position:  # nothing to ask for; but of an empty object whether it can be had
                return Opened(iter(()), lambda: None)
            return self._open(key, position, size, etags)

        def unchanged(chunks: Iterator[bytes]) -> Iterator[bytes]:
            position = start
            for chunk in chunks:
                position += len(chunk)
                yield chunk
            if _version(self._info(key)) != _version(before) or position != max(size, start):
                raise self._changed(key)

        timing = self._calls.timing
        with resumed(open_at, start, tries=timing.tries, backoff=timing.pause_seconds) as chunks:
            yield unchanged(chunks)

    def stat(self, key: str) -> StoredObject | None:
        """What is there, or None."""
        return _described(info) if (info := self._info(key)) else None

    def sign(self, key: str, expires_in: timedelta, *, download_as: str = "") -> str:
        """A URL that anybody can GET, at the configured address of the project."""
        seconds = require_lifetime(expires_in)
        try:
            answer = self._calls.ask("POST", f"object/sign/{self._path(key)}", {"expiresIn": seconds})
        except CallRefusedError as error:
            if error.status != 404:
                raise
            self.require_bucket()
            raise ObjectMissingError(f"{self._at(key)} is not there.") from None
        path, _, query = str(answer["signedURL"]).rpartition("?")  # relative, and its key not encoded
        named = f"&download={quote(download_as, safe='')}" if download_as else ""
        return f"{self._calls.base}/{quote(path.lstrip('/'), safe='/%')}?{query}{named}"

    def list(self, prefix: str) -> Iterator[StoredObject]:
        """All objects below a prefix that ends with a slash, a page of 1,000 at a time.

        A server without the newer listing is walked folder by folder, the names of one folder in memory at a time.
        """
        require_folder(prefix)
        self.require_bucket()  # of one that is not there Storage lists nothing
        asked = {"prefix": prefix, "limit": self._page_size}
        try:
            page = self._calls.ask("POST", f"object/list-v2/{quote(self.bucket, safe='')}", asked)
        except CallRefusedError:
            yield from self._walk(prefix)
            return
        while True:
            for found in page["objects"]:
                yield _listed(found.get("key") or found["name"], found)
            if not page["hasNext"]:
                return
            asked["cursor"] = page["nextCursor"]
            page = self._calls.ask("POST", f"object/list-v2/{quote(self.bucket, safe='')}", asked)

    def delete(self, key: str) -> bool:
        """True when it was there and is gone, False when nothing was there."""
        _require_key(key)
        removed = self._calls.ask("DELETE", f"object/{quote(self.bucket, safe='')}", {"prefixes": [key]})
        if any(each["name"] == key for each in removed):
            return True
        self.require_bucket()
        if self._info(key):  # Storage says the same, nothing, of what is not there and of what one may not touch
            raise NotConfiguredError(
                f"{self._at(key)} is there still: Supabase did not let us remove it. Set SUPABASE_SERVICE_ROLE_KEY to"
                " the service-role key, which may."
            )
        return False

    def _at(self, key: str) -> str:
        return f"supabase:{self.bucket}/{key}"

    def _path(self, key: str) -> str:
        _require_key(key)
        return object_path(self.bucket, key)

    def _info(self, key: str) -> dict[str, Any] | None:
        try:
            info: dict[str, Any] = self._calls.ask("GET", f"object/info/{self._path(key)}")
        except CallRefusedError as error:
            if error.status != 404:
                raise
            self.require_bucket()
            return None
        return info

    def _appeared(self, key: str) -> StoredObject | None:
        """What was sent. Storage may still be putting a large one together when it has not answered in time."""
        for failures in range(1, self._calls.timing.tries + 1):
            if found := self.stat(key):
                return found
            time.sleep(self._calls.pause(failures))
        return None

    def _send(self, key: str, body: AnnouncedBody, content_type: str, metadata: dict[str, str]) -> None:
        """Send it, or find that somebody was faster (409) or that the upload was forgotten half-way (404, 410)."""
        try:
            if body.size <= self._largest_raw:
                self._send_raw(key, body, content_type, metadata)
            else:
                upload_resumably(
                    self._calls, body, bucket=self.bucket, key=key, content_type=content_type, metadata=metadata
                )
        except CallRefusedError as error:
            if error.status not in (404, 409, 410):
                raise

    def _send_raw(self, key: str, body: AnnouncedBody, content_type: str, metadata: dict[str, str]) -> None:
        headers = {
            "Content-Type": content_type,
            "x-upsert": "false",
            "x-metadata": base64.b64encode(json.dumps(metadata).encode()).decode(),
        }
        content = body.piece(0, body.size)
        with self._calls.uplink() as uplink:
            self._calls.persist(lambda: uplink.once("POST", f"object/{self._path(key)}", headers, content))

    def _verified(self, found: StoredObject, body: AnnouncedBody, token: str) -> bool:
        """Whether what is there is ours (True) or as good (False), told by reading it; raises for anything else."""
        ours = (found.metadata or {}).get("upload") == token
        held = (found.sha256 or "", found.size)
        if held[1] == body.size and held[0] in ("", body.sha256):
            try:
                with self.get(found.key) as chunks:
                    held = hashed(chunks)
            except ObjectMissingError:
                if not ours:
                    raise
                held = ("", 0)
        if held == (body.sha256, body.size):
            return ours
        if not ours:
            raise NameConflictError(
                f"{self._at(found.key)} holds {held[1]} bytes with SHA-256 {held[0] or 'unknown'}, not the {body.size}"
                f" bytes with {body.sha256} to be stored. Nothing was replaced."
            )
        self.delete(found.key)
        raise CorruptedUploadError(
            f"{self._at(found.key)}: sent {body.size} bytes with SHA-256 {body.sha256}, Supabase holds {held[1]} bytes"
            f" with {held[0] or 'unknown'}. They were removed. Try again."
        )

    def _open(self, key: str, position: int, size: int, etags: set[str]) -> Opened:
        ranged = {"Range": f"bytes={position}-"} if position else {}
        try:
            answer = self._calls.open(
                f"object/authenticated/{self._path(key)}",
                ranged,
                {"cacheNonce": uuid.uuid4().hex},  # the CDN may otherwise give what was there a minute ago
            )
        except CallFailedError as error:
            if error.status == 500 and self._info(key):  # a row without bytes, not an outage
                raise self._without_bytes(key) from None
            raise
        except CallRefusedError as error:
            if error.status == 404:
                raise (self._without_bytes(key) if self._info(key) else self._changed(key)) from None
            raise
        etags.add(answer.headers.get("ETag", ""))
        whole = answer.headers.get("Content-Range", "").endswith(f"/{size}") if position else True
        if len(etags) > 1 or not whole or answer.status != (206 if position else 200):
            answer.response.close()
            raise self._changed(key)
        return Opened(self._calls.chunks(answer), answer.response.close)

    def _without_bytes(self, key: str) -> ObjectMissingError:
        return ObjectMissingError(
            f"The bytes of {self._at(key)} are missing: Supabase has its row, but cannot give its content."
        )

    def _changed(self, key: str) -> ObjectChangedError:
        return ObjectChangedError(f"{self._at(key)} was replaced or removed while it was read. Start anew.")

    def _walk(self, folder: str) -> Iterator[StoredObject]:
        entries: dict[str, dict[str, Any]] = {}
        while True:
            asked = {"prefix": folder, "limit": self._page_size, "offset": len(entries), "sortBy": {"column": "name"}}
            page = self._calls.ask("POST", f"object/list/{quote(self.bucket, safe='')}", asked)
            named = {folder + each["name"] + ("" if each["id"] else "/"): each for each in page}
            if not named.keys() - entries.keys():
                break
            entries |= named
        for key, entry in sorted(entries.items()):
            if entry["id"]:
                yield _listed(key, entry)
            else:
                yield from self._walk(key)


def _require_key(key: str) -> None:
    parts = key.split("/")
    if not _KEY.fullmatch(key) or "" in parts or "." in parts or ".." in parts:
        raise RefusedError(
            f"Supabase does not take {key!r} as the name of an object: ASCII letters, digits and _/!-.*'() &$@=;:+,? only,"
            " and no empty, '.' or '..' folder."
        )


def _described(info: dict[str, Any]) -> StoredObject:
    metadata = {str(name): str(value) for name, value in (info["metadata"] or {}).items()}
    return StoredObject(
        key=info["name"],
        size=int(info["size"] or 0),
        etag=info["etag"] or "",
        modified=datetime.fromisoformat(info["last_modified"]),
        sha256=metadata.get("sha256"),
        metadata=metadata,
    )


def _listed(key: str, found: dict[str, Any]) -> StoredObject:
    metadata = found["metadata"] or {}
    return StoredObject(
        key, int(metadata.get("size") or 0), metadata.get("eTag") or "", datetime.fromisoformat(found["updated_at"])
    )


def _version(info: dict[str, Any] | None) -> tuple[Any, ...]:
    return (info["version"], info["size"], info["etag"]) if info else ()
