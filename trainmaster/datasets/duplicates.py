"""Which examples are the same as an earlier one: exactly, in bounded memory, whatever their number."""

from __future__ import annotations

import tempfile
from array import array
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import IO, Self

import numpy as np
import numpy.typing as npt
import xxhash

RUN = 1 << 18
"""Examples whose digests are in memory at a time: 24 bytes each, twice that while they are sorted."""
_BUCKETS = 1024
_RECORD = np.dtype([("high", "<u8"), ("low", "<u8"), ("number", "<u8")])
_BOUNDS = np.arange(1, _BUCKETS, dtype=np.uint64) << np.uint64(54)

_Records = npt.NDArray[np.void]
Pair = tuple[int, int]
"""(number of the duplicate, number of the first of its kind)"""


class Duplicates:
    """128-bit XXH3 digests of all examples. Sorted runs of those that differ go to a temporary file, 24 bytes each, and are merged at the end.

    128 bits tell a million million examples apart with odds of a hundred million million to one that none is taken for another.
    """

    def __init__(self, shown: int = 100, run: int = RUN) -> None:
        self._shown, self._run = shown, run
        self._digests = bytearray()
        self._numbers = array("Q")
        self._file: IO[bytes] | None = None
        self._offsets: list[npt.NDArray[np.uint64]] = []
        self._count = 0
        self._pairs: list[Pair] = []

    def add(self, texts: Sequence[bytes], numbers: Sequence[int]) -> None:
        """Note normalised examples and where they stand; numbers ascend over all calls."""
        digest = xxhash.xxh3_128_digest
        self._digests += b"".join([digest(text) for text in texts])
        self._numbers.extend(numbers)
        if len(self._numbers) >= self._run:
            self._spill()

    def result(self) -> tuple[int, list[Pair]]:
        """How many examples have an earlier equal, and the first hundred of these, by number."""
        if not self._file:
            self._firsts_held()
            return self._count, self._pairs
        self._spill()
        earlier: dict[int, int] = {}
        shown = {first for _, first in self._pairs}
        for records in self._partitions(self._file):
            _, repeats, firsts = _told_apart(records)
            self._count += len(repeats)
            pairs = list(zip(repeats.tolist(), firsts.tolist(), strict=True))
            earlier.update((number, first) for number, first in pairs if number in shown)
            self._pairs = sorted(self._pairs + pairs)[: self._shown]
        return self._count, [(number, earlier.get(first, first)) for number, first in self._pairs]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._file:
            self._file.close()

    def _firsts_held(self) -> _Records:
        """What is held, sorted, each digest once: repeats within it are counted here, so that a run never has one twice."""
        records = np.empty(len(self._numbers), _RECORD)
        halves = np.frombuffer(bytes(self._digests), "<u8").reshape(-1, 2)
        records["high"], records["low"] = halves[:, 0], halves[:, 1]
        records["number"] = np.frombuffer(self._numbers.tobytes(), "<u8")
        self._digests, self._numbers = bytearray(), array("Q")
        distinct, repeats, firsts = _told_apart(records)
        self._count += len(repeats)
        order = np.argsort(repeats, kind="stable")[: self._shown]
        pairs = zip(repeats[order].tolist(), firsts[order].tolist(), strict=True)
        self._pairs = [*self._pairs, *pairs][: self._shown]
        return distinct

    def _spill(self) -> None:
        if not self._file:
            self._file = tempfile.TemporaryFile(prefix="trainmaster-digests-")  # noqa: SIM115 - closed by __exit__
        records = self._firsts_held()
        at = self._file.tell() // _RECORD.itemsize
        inner = np.searchsorted(records["high"], _BOUNDS)
        self._offsets.append(np.concatenate(([at], at + inner, [at + len(records)])).astype(np.uint64))
        self._file.write(records.tobytes())

    def _partitions(self, file: IO[bytes]) -> Iterator[_Records]:
        """All runs' records, those of equal digests together, at most about a run's worth at a time."""
        sizes = np.sum([np.diff(offsets) for offsets in self._offsets], axis=0)
        start = 0
        while start < _BUCKETS:
            end, size = start + 1, int(sizes[start])
            while end < _BUCKETS and size + int(sizes[end]) <= self._run:
                size += int(sizes[end])
                end += 1
            parts = []
            for offsets in self._offsets:
                file.seek(int(offsets[start]) * _RECORD.itemsize)
                parts.append(file.read(int(offsets[end] - offsets[start]) * _RECORD.itemsize))
            yield np.frombuffer(b"".join(parts), _RECORD)
            start = end


def _told_apart(records: _Records) -> tuple[_Records, npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
    """The first of each digest, sorted by digest; the numbers of all others; and for each of these that of the first.

    Records come with ascending numbers where digests are equal.
    """
    records = records[np.argsort(records["high"], kind="stable")]
    high = records["high"]
    if not np.any(high[1:] == high[:-1]):
        none = np.empty(0, np.uint64)
        return records, none, none
    records = records[np.lexsort((records["number"], records["low"], records["high"]))]
    same = (records["high"][1:] == records["high"][:-1]) & (records["low"][1:] == records["low"][:-1])
    repeated = np.concatenate(([False], same))
    first_at = np.maximum.accumulate(np.where(repeated, 0, np.arange(len(records))))
    return records[~repeated], records["number"][repeated], records["number"][first_at[repeated]]
