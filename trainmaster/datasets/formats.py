"""What kinds of fine-tuning datasets there are, and how an example of each becomes canonical."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple, Protocol

from trainmaster.datasets.problems import Problem


class Format(StrEnum):
    """The formats a dataset can have; the value is what the catalogue and the user's choice say."""

    CHATML = "chatml"
    SHAREGPT = "sharegpt"
    ALPACA = "alpaca"
    OPENORCA = "openorca"
    UNNATURAL = "unnatural"
    DPO = "dpo"
    RLHF = "rlhf"
    KTO = "kto"
    RAW_TEXT = "raw_text"
    JSONL = "jsonl"


@dataclass(frozen=True)
class Detection:
    """Which format a file has, why it is thought so, and how sure that is (0 to 1; 1 when the user demanded it)."""

    format: Format
    reason: str
    confidence: float
    demanded: bool = False


class Canonical(NamedTuple):
    """A sound example as it is written, and what the statistics count of it. Lengths are in characters.

    `example` may be the very object that was given. `more` holds the further examples one of `unnatural` with several
    instances becomes; everywhere else it is empty.
    """

    example: dict[str, Any]
    input_length: int
    output_length: int
    roles: tuple[str, ...]
    more: tuple[Canonical, ...] = ()


class MalformedError(Exception):
    """Raised when an example is not of its format; what is wrong with it, all of it, is then worth the time to find out."""


class Shape(Protocol):
    """One format's rules. `canonical` is called for every example and kept short; `problems` only for those it refuses."""

    format: Format

    def canonical(self, example: Any) -> Canonical:
        """Raises MalformedError for exactly those examples of which `problems` finds any."""

    def problems(self, example: Any, number: int, unit: str) -> list[Problem]:
        """Everything wrong with an example, each with its JSON path (`messages[1].role`) as the place."""
