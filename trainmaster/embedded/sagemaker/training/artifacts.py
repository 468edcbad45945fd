"""What a job leaves in S3: the files of all its hosts in model.tar.gz and output.tar.gz, or as they are."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from trainmaster.embedded.sagemaker.training.objects import Location, store

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

GZIP_LEVEL = 1
"""Weights hardly compress: the fastest level costs a few per cent in size and a tenth of the time."""


def files_below(folders: Sequence[Path]) -> dict[str, Path]:
    """Files and links of all hosts by relative name. Of equal names the first host's is taken; AWS leaves it open."""
    found: dict[str, Path] = {}
    for folder in folders:
        for name, path in _files(folder):
            found.setdefault(name, path)
    return found


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    for parent, folders, names in os.walk(folder):
        for name in sorted([*names, *(each for each in folders if Path(parent, each).is_symlink())]):
            path = Path(parent, name)
            if path.is_symlink() or path.is_file():
                yield str(path.relative_to(folder)), path


def upload(s3: S3Client, files: dict[str, Path], target: Location) -> None:
    """Store each file below the target."""
    for name, path in files.items():
        if path.is_file():
            store(s3, path, target.below(name))


def upload_archive(s3: S3Client, files: dict[str, Path], target: Location, scratch: Path) -> None:
    """Store the files as one tar.gz at the target, packed in the folder `scratch` first."""
    packed = scratch / Path(target.key).name
    with tarfile.open(packed, "w:gz", compresslevel=GZIP_LEVEL) as tar:
        for name, path in files.items():
            tar.add(path, arcname=name, recursive=False, filter=_anonymous)
    store(s3, packed, target)
    packed.unlink()


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = "root"
    return member
