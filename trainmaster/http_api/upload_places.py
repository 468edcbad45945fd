"""How many uploads are under way at once, of all processes of a machine that share a folder."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

from trainmaster.errors import UploadsBusyError
from trainmaster.plain_words import counted


@contextmanager
def upload_place(below: Path, user_id: UUID, at_once: int) -> Iterator[None]:
    """One of so many places, of which one is left to others. Kept by locks on files, which end with the process that has them."""
    below.mkdir(mode=0o700, parents=True, exist_ok=True)
    mine, most = 0, max(at_once - 1, 1)
    for number in range(at_once):
        with (below / f".place-{number}").open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                mine += file.read() == str(user_id)
                if mine >= most:
                    break
                continue
            file.truncate(0)
            file.write(str(user_id))
            file.flush()
            yield
            return
    are = f"{counted(most, 'upload')} of yours" if mine >= most else counted(at_once, "upload")
    raise UploadsBusyError(f"{are} under way at this moment, as many as may be at once. Try again in a minute.")
