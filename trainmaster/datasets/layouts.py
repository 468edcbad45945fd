"""How the examples are put into a file, told from its first megabytes."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from trainmaster.datasets.blocks import Layout
from trainmaster.datasets.foreign import other_encoding, other_kind
from trainmaster.datasets.kinds import ProblemKind
from trainmaster.datasets.limits import Limits
from trainmaster.datasets.lines import JsonLines
from trainmaster.datasets.problems import Findings, Problem

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_WANTED = "JSON Lines, a JSON array or object, CSV or Parquet, in UTF-8, plain or packed with gzip or zstd"


def recognised(chunks: Iterator[bytes], limits: Limits, notes: Findings) -> Layout | Problem:
    """The layout of a text that comes in chunks, ready to be read; or what it is instead."""
    head = next(chunks, b"")
    if found := other_kind(head):
        return Problem(ProblemKind.UNREADABLE, found, _WANTED)
    if found := other_encoding(head):
        return Problem(ProblemKind.WRONG_ENCODING, found, "UTF-8: save it as such")
    if head.startswith(_BYTE_ORDER_MARK):
        notes.add(Problem(ProblemKind.BYTE_ORDER_MARK, "a byte order mark", "none: UTF-8 needs none"))
        head = head.removeprefix(_BYTE_ORDER_MARK)
    return JsonLines(itertools.chain([head], chunks), limits.example, notes)
