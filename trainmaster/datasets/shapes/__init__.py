"""The rules of the ten formats: what an example of each may look like and what it becomes.

canonical = shape_of(Format.ALPACA).canonical(example)
"""

from __future__ import annotations

from trainmaster.datasets.formats import Format, Shape
from trainmaster.datasets.shapes.conversations import ChatML, ShareGPT
from trainmaster.datasets.shapes.instructions import Alpaca, OpenOrca, Unnatural
from trainmaster.datasets.shapes.preferences import DPO, KTO, RLHF
from trainmaster.datasets.shapes.texts import JSONLines, RawText

_SHAPES: dict[Format, Shape] = {
    shape.format: shape
    for shape in (ChatML(), ShareGPT(), Alpaca(), OpenOrca(), Unnatural(), DPO(), RLHF(), KTO(), RawText(), JSONLines())
}


def shape_of(name: Format) -> Shape:
    """The one shape that knows a format's rules."""
    return _SHAPES[name]
