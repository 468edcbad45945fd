"""What the rules of all formats have in common: one reading finds the faults and makes the canonical example."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from typing import Any

from trainmaster.datasets.formats import Canonical, Format, MalformedError
from trainmaster.datasets.kinds import ProblemKind
from trainmaster.datasets.problems import Problem
from trainmaster.datasets.shapes.faults import MOST, Faults, keys_of
from trainmaster.datasets.shapes.lengths import lengths
from trainmaster.datasets.shapes.signatures import SIGNATURES, looks_like
from trainmaster.datasets.shapes.turns import Message, roles_of

# Canonical's own constructor is a Python function around this and takes twice as long, once per example.
new_tuple = tuple.__new__


class Rules(ABC):
    """A shape. Subclasses may settle the plain examples in `canonical` at once; whatever else there is goes through `read`."""

    format: Format
    wanted: str
    """What an example of this format is, in the words of a message."""

    @abstractmethod
    def read(self, example: Any, faults: Faults) -> Canonical:
        """The canonical example; worth nothing when there are faults. Nothing that the signature does not fit is without any."""

    def canonical(self, example: Any) -> Canonical:
        return self.read(example, Faults(most=0))

    def problems(self, example: Any, number: int, unit: str) -> list[Problem]:
        faults = Faults(number, unit)
        other = None if SIGNATURES[self.format](example) else looks_like(example)
        if other in (None, Format.JSONL):
            self._read_to_find(example, faults)
        else:
            found = f"a {other} example ({keys_of(example) if isinstance(example, dict) else 'a list of turns'})"
            faults.add(ProblemKind.OTHER_FORMAT, None, found, f"{self.format}: {self.wanted}")
        return faults.problems

    def _read_to_find(self, example: Any, faults: Faults) -> None:
        try:
            self.read(example, faults)
        except MalformedError:
            found = f"more than {MOST:,} problems in this one example"
            wanted = "an example with fewer: the rest of it was not read"
            faults.problems.append(Problem(ProblemKind.TOO_MANY, found, wanted, faults.number, unit=faults.unit))

    def fields(self, example: Any, faults: Faults) -> dict[str, Any]:
        """The example itself, or a fault and an empty object when it is none."""
        if isinstance(example, dict):
            return example
        faults.wrong_type(None, example, self.wanted)
        return {}


def conversation(messages: list[Message], others: Mapping[str, Any], faults: Faults) -> Canonical:
    """A canonical conversation, with the other keys of the example it was made from beside it."""
    example = {"messages": messages, **unclaimed(others, ("messages",), faults)}
    if faults:
        return Canonical(example, 0, 0, ())
    return Canonical(example, *lengths(messages), roles_of(messages))


def unclaimed(others: Mapping[str, Any], claimed: Collection[str], faults: Faults, place: str = "") -> dict[str, Any]:
    """The other keys; a fault for each that has the name of one of the canonical example's."""
    if others.keys().isdisjoint(claimed):
        return dict(others)
    for key in claimed:
        if others.get(key) is not None:
            wanted = f"another name for it: the canonical example has {key} made of the other keys"
            faults.add(ProblemKind.CONFLICTING_KEYS, f"{place}{key}", f"{key} beside what it would be made of", wanted)
    return {key: value for key, value in others.items() if key not in claimed}
