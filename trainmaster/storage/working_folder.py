"""A folder for large files in between, gone when the work is, and after a crash with the next one's beginning."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def working_folder(below: Path) -> Iterator[Path]:
    """An empty folder that only this user can read, until the block ends. What processes that were killed left is removed.

    Not in /tmp: there it may be kept in memory.
    """
    below.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _gate(below):  # so that nobody takes a folder not yet locked for one left behind
        _remove_abandoned(below)
        folder = Path(tempfile.mkdtemp(dir=below))
        lock = os.open(folder, os.O_RDONLY)
        fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        yield folder
    finally:
        with _gate(below):
            shutil.rmtree(folder, ignore_errors=True)
            os.close(lock)


@contextmanager
def _gate(below: Path) -> Iterator[None]:
    with (below / ".lock").open("a") as gate:
        fcntl.flock(gate, fcntl.LOCK_EX)
        yield


def _remove_abandoned(below: Path) -> None:
    """A lock ends with the process that had it, however that ended."""
    for folder in below.iterdir():
        if not folder.is_dir():
            continue
        lock = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        except BlockingIOError:
            pass
        finally:
            os.close(lock)
