"""Where JSON text opens, closes and goes on, found a chunk at a time without parsing it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

_QUOTE, _BACKSLASH, _OPEN, _CLOSE, _COMMA, _LINE_FEED = range(1, 7)
_KIND = np.zeros(256, np.uint8)
for _letters, _kind in (
    (b'"', _QUOTE),
    (b"\\", _BACKSLASH),
    (b"[{", _OPEN),
    (b"]}", _CLOSE),
    (b",", _COMMA),
    (b"\n", _LINE_FEED),
):
    _KIND[list(_letters)] = _kind
_STEP = np.zeros(7, np.int64)
_STEP[_OPEN], _STEP[_CLOSE] = 1, -1

_Positions = npt.NDArray[np.int64]


class Found(NamedTuple):
    """Positions in a chunk, outside of strings, each with how many brackets are open after it."""

    commas: _Positions
    comma_depths: _Positions
    closes: _Positions
    close_depths: _Positions
    broken: int | None
    """Where a line first ends within a string, which no JSON does: from there on in and out of strings are mixed up."""


class Brackets:
    """Follows text from where `depth` brackets are open, outside of strings."""

    def __init__(self, depth: int) -> None:
        self.depth = depth
        self._in_string = self._escaped = False

    def feed(self, chunk: bytes) -> Found:
        kinds = _KIND[np.frombuffer(chunk, np.uint8)]
        self._drop_escaped(kinds)
        positions = np.flatnonzero(kinds)
        kinds = kinds[positions]
        quotes = kinds == _QUOTE
        within = (np.cumsum(quotes) + self._in_string) & 1 == 1
        broken = positions[within & (kinds == _LINE_FEED)]
        if len(positions):
            self._in_string = bool(within[-1])
        outside = ~(within | quotes)
        positions, kinds = positions[outside], kinds[outside]
        depths = np.cumsum(_STEP[kinds]) + self.depth
        if len(depths):
            self.depth = int(depths[-1])
        commas, closes = kinds == _COMMA, kinds == _CLOSE
        first = int(broken[0]) if len(broken) else None
        return Found(positions[commas], depths[commas], positions[closes], depths[closes], first)

    def _drop_escaped(self, kinds: npt.NDArray[np.uint8]) -> None:
        """Forget backslashes and what they escape: in a run of them every other one is escaped itself."""
        at = np.flatnonzero(kinds == _BACKSLASH)
        carried, self._escaped = self._escaped, False
        if len(at):
            index = np.arange(len(at))
            starts = np.concatenate(([True], np.diff(at) != 1))
            in_run = index - np.maximum.accumulate(np.where(starts, index, 0))
            if carried and at[0] == 0:
                in_run[np.cumsum(starts) == 1] += 1
            escaped = at[in_run % 2 == 0] + 1
            if escaped.size and escaped[-1] == len(kinds):
                self._escaped, escaped = True, escaped[:-1]
            kinds[at] = 0
            kinds[escaped] = 0
        if carried and len(kinds):
            kinds[0] = 0
