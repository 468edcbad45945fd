"""What pages for people are made of. Whatever text goes in is shown as it is: no markup, nothing that commands a terminal."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from decimal import Decimal

from trainmaster.datasets.showing.markdown import plain

_CELLS = 20


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; one without rows is its header alone."""
    lines = [[plain(cell) for cell in header], ["---"] * len(header), *([plain(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def bar(part: Decimal, whole: Decimal) -> str:
    """How much of the whole a part is, drawn and in percent; what is above the whole says so."""
    if whole <= 0:
        return "of $0"
    percent = int(part * 100 / whole)
    full = min(int(part * _CELLS / whole), _CELLS)
    if part > 0 and not full:
        full = 1
    return f"{'█' * full}{'░' * (_CELLS - full)} {percent} %"


def embedded_picture(png: bytes) -> str:
    """The address of a picture that is in the page itself."""
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"
