"""Objects as datasets are: conversations as JSON Lines, each a whole gzip file of its own."""

from __future__ import annotations

import hashlib
import random
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from isal import isal_zlib

from benchmarks.validation import conversations

FOLDER = "8f2f4d1e-6c0b-4f7a-9d53-2f8a7c1b0e55/private"
"""Of the user whose datasets they are."""
_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03"
_END = b"\x03\x00"
"""A last block with nothing in it."""


@dataclass(frozen=True)
class Workload:
    """`bytes_each` is about what each object has, compressed."""

    name: str
    objects: int
    bytes_each: int

    def scaled(self, scale: float) -> Workload:
        """So much of it: fewer objects, or, where there are few, smaller ones."""
        if self.objects >= 100:
            return Workload(self.name, max(10, round(self.objects * scale)), self.bytes_each)
        return Workload(self.name, self.objects, max(1 << 20, round(self.bytes_each * scale)))


WORKLOADS = {
    "S": Workload("S", 5_000, 20_000),
    "M": Workload("M", 300, 2 << 20),
    "L": Workload("L", 4, 512 << 20),
    "XL": Workload("XL", 1, 5_000_000_000),
}


@dataclass(frozen=True)
class Made:
    """One object of a workload, by its path below the folder it was made in."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Piece:
    """Some whole lines, and the deflate blocks of them, which can follow any others."""

    text: bytes
    packed: bytes


def make(workload: Workload, folder: Path, *, random_bytes: bool = False) -> Sequence[Made]:
    """The same files every time, no two of them alike. With `random_bytes` what is in the gzip does not compress."""
    (folder / FOLDER).mkdir(parents=True)
    return [_make(workload, number, folder, random_bytes) for number in range(workload.objects)]


def _make(workload: Workload, number: int, folder: Path, random_bytes: bool) -> Made:
    chance = random.Random(f"{workload.name}-{number}")  # noqa: S311 - nothing secret
    path = f"{FOLDER}/{workload.name.lower()}-{number:06}.jsonl.gz"
    wanted = round(workload.bytes_each * chance.uniform(0.7, 1.3)) if workload.objects >= 100 else workload.bytes_each
    digest, size, check, length = hashlib.sha256(), 0, 0, 0
    with (folder / path).open("wb") as file:

        def write(packed: bytes) -> None:
            nonlocal size
            file.write(packed)
            digest.update(packed)
            size += len(packed)

        write(_HEADER)
        for piece in _chosen(chance, number, wanted, random_bytes):
            write(piece.packed)
            check, length = isal_zlib.crc32(piece.text, check), length + len(piece.text)
        write(_END + struct.pack("<II", check, length & 0xFFFFFFFF))
    return Made(path, size, digest.hexdigest())


def _chosen(chance: random.Random, number: int, wanted: int, random_bytes: bool) -> Iterator[Piece]:
    """Pieces for about so many bytes, the first like no other's."""
    pieces = _random_pieces() if random_bytes else _pieces(12 if wanted < 100_000 else 120)
    left = wanted
    yield _piece(f'{{"messages": [{{"role": "user", "content": "Dataset {number}: {chance.random()}"}}]}}\n'.encode())
    while left > 0:
        piece = chance.choice(pieces)
        left -= len(piece.packed)
        yield piece


@cache
def _pieces(lines_each: int) -> Sequence[Piece]:
    """Longer ones compress better: what came before a piece is nothing it can refer to."""
    lines = _lines()
    return [_piece(b"".join(lines[start : start + lines_each])) for start in range(0, len(lines), lines_each)]


@cache
def _lines() -> Sequence[bytes]:
    return [line.encode() for line in conversations(24_000)]


@cache
def _random_pieces() -> Sequence[Piece]:
    return [_piece(random.Random(number).randbytes(4_096)) for number in range(2_000)]  # noqa: S311 - nothing secret


def _piece(text: bytes) -> Piece:
    packer = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
    return Piece(text, packer.compress(text) + packer.flush(zlib.Z_FULL_FLUSH))
