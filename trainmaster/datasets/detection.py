"""Which format examples have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trainmaster.datasets.formats import Detection, Format


def detect(examples: Sequence[Any], *, names: Sequence[str] | None = None) -> Detection:
    """The format most of these examples have; the first hundred are enough. `names` are a table's columns."""
    raise NotImplementedError(examples, names)


def looks_like(example: Any) -> Format | None:
    """The format an example has by its keys, whether or not it keeps to the rules; None when it is no object or list of turns."""
    raise NotImplementedError(example)


def is_turn(value: Any) -> bool:
    """Whether a value is one turn of a conversation, so that an array of such is one example and not many."""
    raise NotImplementedError(value)
