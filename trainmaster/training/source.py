"""The training code as SageMaker wants it: one `sourcedir.tar.gz`, the same bytes for the same code."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from importlib.resources import files

SOURCE_FILES = ("train.py", "inference.py", "requirements.txt")


def source_archive(package: str = "model") -> bytes:
    """The gzipped tar of the model's code; times and owners are left out so that only the code decides the bytes."""
    folder = files(package)
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb", mtime=0) as zipped, tarfile.open(fileobj=zipped, mode="w") as tar:
        for name in SOURCE_FILES:
            content = folder.joinpath(name).read_bytes()
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), 0o644
            tar.addfile(member, io.BytesIO(content))
    return packed.getvalue()


def source_name(archive: bytes) -> str:
    """Where the archive lies below the model's folder: named after what is packed, since zlibs differ in how they pack."""
    return f"{hashlib.sha256(gzip.decompress(archive)).hexdigest()[:16]}/sourcedir.tar.gz"
