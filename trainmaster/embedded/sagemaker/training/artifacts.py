"""What a job leaves in S3: the files of all its hosts in model.tar.gz and output.tar.gz, or as they are."""

from __future__ import annotations

import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from trainmaster.embedded.sagemaker.locations import Location
from trainmaster.embedded.sagemaker.training import trees
from trainmaster.embedded.sagemaker.training.objects import store, store_open

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

GZIP_LEVEL = 1
"""Weights hardly compress: the fastest level costs a few per cent in size and a tenth of the time."""


@dataclass(frozen=True)
class Left:
    """A file or link below a host's /opt/ml, which is `root`."""

    root: Path
    path: Path


def files_below(roots: Sequence[Path], folder: str) -> dict[str, Left]:
    """Files and links in a folder of all hosts by relative name. Of equal names the first host's is taken; AWS leaves it open."""
    found: dict[str, Left] = {}
    for root in roots:
        for path in trees.walk(root, root / folder):
            found.setdefault(str(path.relative_to(root / folder)), Left(root, path))
    return found


def upload(s3: S3Client, files: dict[str, Left], target: Location) -> None:
    """Store each file below the target, what a link leads to as a file of its own; links out of the host are left out."""
    for name, left in files.items():
        if trees.holds_file(left.root, left.path):
            with trees.open_file(left.root, left.path) as file:
                store_open(s3, file, target.below(name))


def upload_archive(s3: S3Client, files: dict[str, Left], target: Location, scratch: Path) -> None:
    """Store the files, links as links, as one tar.gz at the target, packed in the folder `scratch` first."""
    packed = scratch / Path(target.key).name
    with tarfile.open(packed, "w:gz", compresslevel=GZIP_LEVEL) as tar:
        for name, left in files.items():
            tar.add(left.path, arcname=name, recursive=False, filter=_anonymous)
    store(s3, packed, target)
    packed.unlink()


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = "root"
    return member
