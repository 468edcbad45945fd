"""A program as SageMaker wants it: one `sourcedir.tar.gz`, the same bytes for the same code."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from collections.abc import Iterator
from importlib.resources import files
from importlib.resources.abc import Traversable

from trainmaster.training.trainers import HOUSE_PRICES, Trainer


def source_archive(trainer: Trainer = HOUSE_PRICES) -> bytes:
    """The gzipped tar of a shipped trainer's program; times and owners are left out so that only the code decides the bytes."""
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb", mtime=0) as zipped, tarfile.open(fileobj=zipped, mode="w") as tar:
        for name, file in source_files(trainer):
            content = file.read_bytes()
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), 0o644
            tar.addfile(member, io.BytesIO(content))
    return packed.getvalue()


def source_files(trainer: Trainer) -> Iterator[tuple[str, Traversable]]:
    """The files of its program by their names in the archive; of a folder all Python files."""
    for name, below in trainer.source.items():
        found = files("model").joinpath(below)
        if found.is_dir():
            modules = sorted(each.name for each in found.iterdir() if each.name.endswith(".py"))
            yield from ((f"{name}/{module}", found.joinpath(module)) for module in modules)
        else:
            yield name, found


def source_name(archive: bytes) -> str:
    """Where the archive lies below the model's folder: named after what is packed, since zlibs differ in how they pack."""
    return f"{hashlib.sha256(gzip.decompress(archive)).hexdigest()[:16]}/sourcedir.tar.gz"
