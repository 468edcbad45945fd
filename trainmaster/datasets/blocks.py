"""Some hundred examples as they stand in the file, with where they stand."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from trainmaster.datasets.problems import Problem

_PIECE = 256 * 1024
"""Bytes: what becomes of them then fits in a processor's own memory, which makes it a fifth faster."""


@dataclass(slots=True)
class Block:
    """Examples, each in its own bytes; `text` holds all of them and at most white space and commas besides.

    `unheld` are problems of examples that are not among them, being too long to hold, or beyond recognition: one each.
    """

    text: bytes
    raws: list[bytes]
    numbers: Sequence[int]
    unheld: list[Problem] = field(default_factory=list)
    cut_off: bool = False
    """The last one lacks the line end all others have."""


class Layout(Protocol):
    """A way examples are put into a file."""

    name: str
    unit: str
    fatal: Problem | None
    """Why its examples could not be told apart to the end, once `blocks` has ended."""

    def blocks(self) -> Iterator[Block]:
        """All of them in order, each number once."""


def parts(chunks: Iterable[bytes]) -> Iterator[tuple[bytes, int, int]]:
    """Where the chunks can be cut into short pieces: (chunk, from, up to but excluding)."""
    for chunk in chunks:
        for start in range(0, len(chunk), _PIECE):
            yield chunk, start, min(start + _PIECE, len(chunk))


def pieces(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The same text in shorter chunks."""
    for chunk, start, stop in parts(chunks):
        yield chunk[start:stop]
