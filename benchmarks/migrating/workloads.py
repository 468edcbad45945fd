"""Objects as datasets are: whole gzip files, each of its own."""

from __future__ import annotations

import hashlib
import random
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from uuid import UUID

from isal import isal_zlib

from benchmarks.validation import conversations

USER = UUID("8f2f4d1e-6c0b-4f7a-9d53-2f8a7c1b0e55")
FROM, TO = f"{USER}/private", f"{USER}/datasets"
"""The folders of that user's datasets in Supabase and in S3."""
_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03"
_END = b"\x03\x00"
"""A last block with nothing in it."""


@dataclass(frozen=True)
class Workload:
    """`bytes_each` is about what each object has, compressed. `chats`: what is in the gzip are conversations, else it does not compress,
    and takes a twentieth of the time to unpack."""

    name: str
    objects: int
    bytes_each: int
    chats: bool = False

    def scaled(self, scale: float) -> Workload:
        """So much of it: fewer objects, or, where there are few, smaller ones."""
        if self.objects >= 100:
            return replace(self, objects=max(10, round(self.objects * scale)))
        return replace(self, bytes_each=max(1 << 20, round(self.bytes_each * scale)))


WORKLOADS = {
    "S": Workload("S", 5_000, 20_000),
    "M": Workload("M", 300, 2 << 20),
    "L": Workload("L", 4, 512 << 20),
    "C": Workload("C", 300, 2 << 20, chats=True),
    "XL": Workload("XL", 1, 5_000_000_000),
}


@dataclass(frozen=True)
class Made:
    """One object of a workload."""

    id: UUID
    size: int
    sha256: str

    @property
    def path(self) -> str:
        """Its key at the source, and its place below the folder it was made in."""
        return f"{FROM}/{self.id}.jsonl.gz"

    @property
    def copy_path(self) -> str:
        """Its key at the destination."""
        return f"{TO}/{self.id}.jsonl.gz"


@dataclass(frozen=True)
class Piece:
    """Some whole lines, and the deflate blocks of them, which can follow any others."""

    text: bytes
    packed: bytes


def make(workload: Workload, folder: Path) -> Sequence[Made]:
    """The same whole gzip files every time, no two of them alike."""
    (folder / FROM).mkdir(parents=True)
    return [_make(workload, number, folder) for number in range(workload.objects)]


def _make(workload: Workload, number: int, folder: Path) -> Made:
    chance = random.Random(f"{workload.name}-{number}")  # noqa: S311 - nothing secret
    made = UUID(bytes=chance.randbytes(16), version=4)
    wanted = round(workload.bytes_each * chance.uniform(0.7, 1.3)) if workload.objects >= 100 else workload.bytes_each
    digest, size, check, length = hashlib.sha256(), 0, 0, 0
    with (folder / Made(made, 0, "").path).open("wb") as file:

        def write(packed: bytes) -> None:
            nonlocal size
            file.write(packed)
            digest.update(packed)
            size += len(packed)

        write(_HEADER)
        for piece in _chosen(chance, number, wanted, workload.chats):
            write(piece.packed)
            check, length = isal_zlib.crc32(piece.text, check), length + len(piece.text)
        write(_END + struct.pack("<II", check, length & 0xFFFFFFFF))
    return Made(made, size, digest.hexdigest())


def _chosen(chance: random.Random, number: int, wanted: int, chats: bool) -> Iterator[Piece]:
    """Pieces for about so many bytes, the first like no other's."""
    pieces = _conversations() if chats else _noise()
    left = wanted
    yield _piece(f'{{"messages": [{{"role": "user", "content": "Dataset {number}: {chance.random()}"}}]}}\n'.encode())
    while left > 0:
        piece = chance.choice(pieces)
        left -= len(piece.packed)
        yield piece


@cache
def _conversations() -> Sequence[Piece]:
    lines = [line.encode() for line in conversations(6_000)]
    return [_piece(b"".join(lines[start : start + 120])) for start in range(0, len(lines), 120)]


@cache
def _noise() -> Sequence[Piece]:
    return [_piece(random.Random(number).randbytes(4_096)) for number in range(2_000)]  # noqa: S311 - nothing secret


def _piece(text: bytes) -> Piece:
    packer = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
    return Piece(text, packer.compress(text) + packer.flush(zlib.Z_FULL_FLUSH))
