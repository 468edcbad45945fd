"""Examples that are kept as they are: raw_text and jsonl."""

from __future__ import annotations

from typing import Any

from trainmaster.datasets.formats import Canonical, Format
from trainmaster.datasets.kinds import ProblemKind
from trainmaster.datasets.shapes.faults import Faults
from trainmaster.datasets.shapes.lengths import json_length
from trainmaster.datasets.shapes.rules import Rules


class RawText(Rules):
    """`{"text": …}`: all of it is output, for all of it is trained on."""

    format = Format.RAW_TEXT
    wanted = "an object with text"

    def read(self, example: Any, faults: Faults) -> Canonical:
        example = self.fields(example, faults)
        if faults:
            return Canonical({}, 0, 0, ())
        text = faults.text(example, "text", "text", "text that is not empty")
        return Canonical(example, 0, len(text), ())


class JSONLines(Rules):
    """Objects of any shape. Their JSON is output, for nobody knows which part of it is not."""

    format = Format.JSONL
    wanted = "an object of any shape"

    def read(self, example: Any, faults: Faults) -> Canonical:
        example = self.fields(example, faults)
        if not example and not faults:
            faults.add(ProblemKind.EMPTY_EXAMPLE, None, "an empty object", "at least one key")
        return Canonical(example, 0, 0 if faults else json_length(example), ())
