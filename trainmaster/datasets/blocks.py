"""Some hundred examples as they stand in the file, with where they stand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from trainmaster.datasets.problems import Problem


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

    def blocks(self) -> Iterator[Block]:
        """All of them in order, each number once."""
