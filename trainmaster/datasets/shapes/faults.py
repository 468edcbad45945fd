"""What is wrong with one example, found while it is read."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from trainmaster.datasets.formats import MalformedError
from trainmaster.datasets.kinds import ProblemKind
from trainmaster.datasets.problems import Problem

MOST = 1000
"""Problems told of one example: one line can hold as many as it has characters, each a hundred times its size in memory."""
_SHOWN_CHARACTERS = 40
_SHOWN_KEYS = 6


class Faults:
    """Collects the problems of the example with this number; raises MalformedError for one more than `most`."""

    __slots__ = ("most", "number", "problems", "unit")

    def __init__(self, number: int | None = None, unit: str = "line", *, most: int = MOST) -> None:
        self.number, self.unit, self.most = number, unit, most
        self.problems: list[Problem] = []

    def __bool__(self) -> bool:
        return bool(self.problems)

    def add(self, kind: ProblemKind, place: str | None, found: str, wanted: str) -> None:
        if len(self.problems) == self.most:
            raise MalformedError
        self.problems.append(Problem(kind, found, wanted, self.number, place or None, self.unit))

    def missing(self, container: Mapping[str, Any], place: str, wanted: str) -> None:
        """A key is not there, or null, at this place."""
        key = place.rpartition(".")[2]
        found = "null" if key in container else f"no such key among {keys_of(container)}"
        self.add(ProblemKind.MISSING_KEY, place, found, wanted)

    def wrong_type(self, place: str | None, value: Any, wanted: str) -> None:
        self.add(ProblemKind.WRONG_TYPE, place, shown(value), wanted)

    def text(self, container: Mapping[str, Any], key: str, place: str, wanted: str) -> str:
        """The text under a key, or a fault and "" when there is none, or nothing but white space."""
        value = container.get(key)
        if value is None:
            self.missing(container, place, wanted)
        elif not isinstance(value, str):
            self.wrong_type(place, value, wanted)
        elif not value or value.isspace():
            self.add(ProblemKind.EMPTY_TEXT, place, "only white space" if value else "an empty text", wanted)
        else:
            return value
        return ""

    def optional_text(self, container: Mapping[str, Any], key: str, place: str) -> str:
        """The text under a key as it is; "" when there is none or it is null."""
        value = container.get(key)
        if value is None or isinstance(value, str):
            return value or ""
        self.wrong_type(place, value, "text, or nothing")
        return ""


def shown(value: Any) -> str:
    """A value in a message: what it is, and the beginning of it where it is short."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, int | float):
        return f"the number {str(value)[:_SHOWN_CHARACTERS]}"
    if isinstance(value, str):
        return f"the text {quoted(value)}"
    if isinstance(value, list):
        return f"a list of {len(value)}" if value else "an empty list"
    if isinstance(value, dict):
        return f"an object with {keys_of(value)}" if value else "an empty object"
    return f"a {type(value).__name__}"


def quoted(text: str) -> str:
    """Text as JSON writes it, cut where it is long."""
    return json.dumps(text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…", ensure_ascii=False)


def keys_of(container: Mapping[str, Any]) -> str:
    """The first keys of an object, in its order."""
    named = ", ".join(
        key if len(key) <= _SHOWN_CHARACTERS else f"{key[:_SHOWN_CHARACTERS]}…" for key in [*container][:_SHOWN_KEYS]
    )
    return f"{named} …" if len(container) > _SHOWN_KEYS else named or "none"


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name most like this one, if any is."""
    return next(iter(difflib.get_close_matches(name.strip().casefold()[:_SHOWN_CHARACTERS], [*known], n=1)), None)
