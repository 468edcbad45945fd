"""What a job leaves on disk, read without trusting it: a FIFO would hang whoever opens it, a link may lead out of the job."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC


def leads_out(root: Path, path: Path) -> bool:
    """Whether the path, links followed, lies outside `root`."""
    return not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(root))


def walk(root: Path, folder: Path) -> Iterator[Path]:
    """Regular files and links below `folder`, in no order across folders; nothing when `folder` itself leads out of `root`."""
    if leads_out(root, folder):
        return
    for parent, folders, names in os.walk(folder):
        for name in sorted([*names, *(each for each in folders if Path(parent, each).is_symlink())]):
            path = Path(parent, name)
            if path.is_symlink() or path.is_file():
                yield path


def holds_file(root: Path, path: Path) -> bool:
    """Whether the path is a regular file of `root`, or a link to one."""
    return path.is_file() and not leads_out(root, path)


def open_file(root: Path, path: Path) -> BinaryIO:
    """Open a regular file of `root`, or a link to one. Raises OSError for all else, also when it is exchanged meanwhile."""
    if leads_out(root, path):
        raise OSError(errno.ELOOP, "it leads out of the job's folder", str(path))
    real = Path(os.path.realpath(root))
    *parents, name = Path(os.path.realpath(path)).relative_to(real).parts or (".",)
    folder = os.open(real, _FOLDER)
    try:
        for each in parents:
            inner = os.open(each, _FOLDER, dir_fd=folder)
            os.close(folder)
            folder = inner
        opened = os.open(name, _FILE, dir_fd=folder)
    finally:
        os.close(folder)
    if not stat.S_ISREG(os.fstat(opened).st_mode):
        os.close(opened)
        raise OSError(errno.EINVAL, "it is no regular file", str(path))
    return os.fdopen(opened, "rb")
