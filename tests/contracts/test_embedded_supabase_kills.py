"""The embedded Supabase killed at every line that changes something, and what it leaves on disk."""

from __future__ import annotations

import hashlib
import itertools
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from supabase_project import BUCKET
from werkzeug.test import Client

from trainmaster.embedded.faults import Faults
from trainmaster.embedded.state import State
from trainmaster.embedded.supabase import resumable
from trainmaster.embedded.supabase.service import Supabase
from trainmaster.embedded.supabase.store import Store, on_disk
from trainmaster.embedded.supabase.tokens import Keys

TRACED = {
    each.__code__
    for each in (Store.receive, Store.add, Store._replace, Store.transaction.__wrapped__, on_disk, resumable._take)
}
"""All that changes files or commits rows."""
OBJECT = f"/storage/v1/object/{BUCKET}/anna/data"
TUS = {"Tus-Resumable": "1.0.0", "Content-Type": "application/offset+octet-stream", "x-upsert": "true"}


class Folder:
    """The embedded Supabase over one folder, in this process."""

    def __init__(self, folder: Path, keys: Keys) -> None:
        self.folder, self._keys = folder, keys
        self.app = Supabase(folder, keys, Faults())
        self._client = Client(self.app)

    def ask(self, method: str, path: str, body: bytes = b"", **headers: str) -> Any:
        sent = {"Authorization": f"Bearer {self._keys.service_role_key}", **headers}
        return self._client.open(path, method=method, data=body, headers=sent)

    def patch(self, where: str, offset: int, body: bytes) -> Any:
        return self.ask("PATCH", where, body, **TUS, **{"Upload-Offset": str(offset)})

    def offset(self, where: str) -> int:
        return int(self.ask("HEAD", where, **TUS).headers["Upload-Offset"])

    def files(self, below: str) -> int:
        return sum(path.is_file() for path in (self.folder / below).rglob("*"))


def killed_at(line: int, served: Callable[[], Folder], act: Callable[[Folder], Any]) -> bool:
    """Do this in a process that is killed as it comes to its nth line that stores something; False when it has fewer."""
    pid = os.fork()
    if pid == 0:
        come_to = set()

        def trace(frame: FrameType, event: str, _: Any) -> Any:
            if frame.f_code not in TRACED:
                return None
            if event == "line":
                come_to.add((frame.f_code, frame.f_lineno))
                if len(come_to) == line:
                    os.kill(os.getpid(), signal.SIGKILL)
            return trace

        code = 1
        try:
            folder = served()
            sys.settrace(trace)
            act(folder)
            code = 0
        finally:
            os._exit(code)
    ended = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert ended in (0, -signal.SIGKILL)
    return ended != 0


def at_every_line(
    folder: Path, prepare: Callable[[Folder], None], act: Callable[[Folder], Any], check: Callable[[Folder], Any]
) -> list[Any]:
    """Prepare a folder, be killed while acting on it at one line after the other, and see what is found there then."""
    keys, found = Keys.of(State(folder)), []
    served = Folder(folder / "prepared", keys)
    prepare(served)
    served.app.close()
    for line in itertools.count(1):
        copy = folder / str(line)
        shutil.copytree(folder / "prepared", copy)
        killed = killed_at(line, lambda copy=copy: Folder(copy, keys), act)
        again = Folder(copy, keys)
        found.append(check(again))
        again.app.close()
        if not killed:
            return found
    raise AssertionError


def test_a_process_killed_while_it_stores_an_object_leaves_the_old_one_or_the_new_one(tmp_path: Path) -> None:
    def prepare(served: Folder) -> None:
        assert served.ask("PUT", OBJECT, b"the old one").status_code == 200

    def check(again: Folder) -> bytes:
        found = again.ask("GET", OBJECT)
        assert found.headers["ETag"] == f'"{hashlib.md5(found.data, usedforsecurity=False).hexdigest()}"'
        assert (again.files("objects"), again.files("incoming")) == (1, 0)
        return bytes(found.data)

    found = at_every_line(tmp_path, prepare, lambda served: served.ask("PUT", OBJECT, b"the new one"), check)
    assert found == sorted(found, reverse=True)  # the old one up to some line, from then on the new one
    assert set(found) == {b"the old one", b"the new one"}
    assert len(found) > 20


def test_a_process_killed_while_it_takes_the_last_chunk_takes_it_again_or_has_it(tmp_path: Path) -> None:
    address = ""

    def prepare(served: Folder) -> None:
        nonlocal address
        names = "bucketName dHJhaW5pbmctZGF0YXNldHM=,objectName YW5uYS9kYXRh"
        asked = {"Tus-Resumable": "1.0.0", "Upload-Length": "9", "Upload-Metadata": names}
        location = served.ask("POST", "/storage/v1/upload/resumable", **asked).headers["Location"]
        address = location[location.index("/storage/v1") :]

    def check(again: Folder) -> int:
        offset = again.offset(address)
        if offset == 0:
            assert again.ask("GET", OBJECT).status_code == 400
            assert again.patch(address, 0, b"the bytes").status_code == 204
        assert again.offset(address) == 9
        assert again.ask("GET", OBJECT).data == b"the bytes"
        assert (again.files("objects"), again.files("incoming")) == (1, 0)
        return offset

    found = at_every_line(tmp_path, prepare, lambda served: served.patch(address, 0, b"the bytes"), check)
    assert found == sorted(found)
    assert set(found) == {0, 9}
    assert len(found) > 20
