"""Resumable uploads (TUS 1.0) as Supabase Storage serves them: they go on where a connection broke."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Mapping
from contextlib import suppress
from urllib.parse import quote, urlsplit

from trainmaster.errors import RefusedError, StorageUnavailableError
from trainmaster.storage.bodies import AnnouncedBody
from trainmaster.storage.supabase_calls import Answer, CallFailedError, CallRefusedError, SupabaseCalls, Uplink

PIECE = 6 << 20
"""Bytes of every piece but the last; Supabase takes no other size."""

_TUS = {"Tus-Resumable": "1.0.0"}


def upload_resumably(
    calls: SupabaseCalls, body: AnnouncedBody, *, bucket: str, key: str, content_type: str, metadata: Mapping[str, str]
) -> None:
    """Create an object, one piece in memory at a time. Raises CallRefusedError (409) when one of that key comes to be there meanwhile."""
    described = {
        "bucketName": bucket,
        "objectName": key,
        "contentType": content_type,
        "metadata": json.dumps(dict(metadata)),
    }
    with calls.uplink() as uplink:
        upload = _Upload(calls, uplink, body, ",".join(f"{name} {_base64(value)}" for name, value in described.items()))
        try:
            upload.send()
        except BaseException:
            upload.drop()
            raise


class _Upload:
    """An upload under way at the server, which drops it after a day if nobody else does."""

    def __init__(self, calls: SupabaseCalls, uplink: Uplink, body: AnnouncedBody, described: str) -> None:
        self._calls, self._uplink, self._body = calls, uplink, body
        headers = {**_TUS, "x-upsert": "false", "Upload-Length": str(body.size), "Upload-Metadata": described}
        begun = calls.persist(lambda: uplink.once("POST", "upload/resumable", headers)).headers
        # Its host is wrong behind a proxy and its scheme always https: only the name of the upload in it is used.
        name = urlsplit(begun.get("Location", "")).path.rstrip("/").rpartition("/")[2]
        if not name:
            raise StorageUnavailableError(f"Supabase Storage at {calls.base} began an upload without saying where.")
        self._path = f"upload/resumable/{quote(name, safe='%')}"

    def send(self) -> None:
        offset = reached = failures = 0
        while offset < self._body.size:
            piece = self._body.piece(offset, PIECE)
            try:
                offset = self._send_piece(offset, piece)
            except (CallFailedError, CallRefusedError) as error:
                if isinstance(error, CallRefusedError) and error.status != 409:
                    raise
                failures += 1
                if failures >= self._calls.timing.tries:
                    raise
                time.sleep(self._calls.pause(failures))
                there = self._offset()
                if isinstance(error, CallRefusedError) and there == offset:
                    raise  # the offset was right: it is the object that is in the way
                offset = there
            del piece  # before the next is read
            if offset > reached:
                reached, failures = offset, 0

    def _send_piece(self, offset: int, piece: bytes) -> int:
        headers = {**_TUS, "Upload-Offset": str(offset), "Content-Type": "application/offset+octet-stream"}
        return _offset_in(self._uplink.once("PATCH", self._path, headers, piece))

    def _offset(self) -> int:
        return self._calls.persist(lambda: _offset_in(self._uplink.once("HEAD", self._path, _TUS)))

    def drop(self) -> None:
        """As well as can be, in one try."""
        with suppress(StorageUnavailableError, RefusedError):
            self._uplink.once("DELETE", self._path, _TUS)


def _offset_in(answer: Answer) -> int:
    said = answer.headers.get("Upload-Offset", "")
    if not said.isdecimal():
        raise CallFailedError("Supabase Storage did not say how much of an upload it has.")
    return int(said)


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
