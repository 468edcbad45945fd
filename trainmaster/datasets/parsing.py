"""One example's bytes to what they say, strictly: what JSON readers disagree about is a problem, told with its place.

Blocks of examples are parsed at orjson's speed, and certified by two facts about the block as a whole; only a block that cannot be
certified is gone through example by example, by the slow and exact rules of `problems_of`.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import orjson

from trainmaster.datasets.kinds import ProblemKind
from trainmaster.datasets.problems import Problem

_SHOWN = 40
_MOST_FLAWS = 1000
"""Of one example: there are lines with millions."""
_QUOTE, _BACKSLASH, _U = b'"\\u'
_SEPARATOR = orjson.Fragment(b"\n")
_ORJSON_DEEPEST = 254  # lists and objects within one another that orjson writes
_STRING = re.compile(r'"(?:[^"\\]|\\.)*(?:"|$)', re.DOTALL)
_SURROGATE = re.compile("[\ud800-\udfff]")
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ORJSON_POSITION = re.compile(r": line \d+ column \d+ \(char \d+\)$")


def certified(raw: bytes, written: bytes) -> bool:
    """Whether no example has a key twice, given the text that holds them and these same examples as `line_by_line` wrote them.

    False may be a false alarm, True never is one. Written out again, an example has as many quotation marks as before: two for each
    string and one for each escaped mark within. A key that is there twice is written once, so two marks are missing, unless a mark
    was spelled \\u0022 and made up for it.
    """
    return _quotes(raw) == _quotes(written) and not (_escapes_by_number(raw) and b"\\u0022" in raw)


def line_by_line(examples: Sequence[Any], depth: int | None = None) -> bytes:
    """Examples as canonical JSON, for `lines_of` to take apart. Written in one go, for that takes half the time.

    Raises TooDeepError for one that is nested deeper than `depth`: orjson writes nothing nested more than 254 deep, and wrapped in lists of
    our own that is as deep as we like.
    """
    spaced: list[Any] = [_SEPARATOR] * (2 * len(examples) + 1)
    spaced[1::2] = examples
    wrapping = 1 if depth is None else _ORJSON_DEEPEST - depth
    for _ in range(wrapping - 1):
        spaced = [spaced]
    try:
        return orjson.dumps(spaced)
    except orjson.JSONEncodeError as error:
        raise TooDeepError from error


def lines_of(written: bytes) -> list[bytes]:
    """The examples, each as its own line without its end: line feeds are nowhere within them, and commas on both sides."""
    return [line[1:-1] for line in written.split(b"\n")[1:-1]]


def _quotes(text: bytes) -> int:
    return int(np.count_nonzero(np.frombuffer(text, np.uint8) == _QUOTE))


def problems_of(raw: bytes, number: int, unit: str, depth: int) -> list[Problem]:
    """Everything wrong with an example as JSON, whatever its format; the first thousand of keys and values."""
    problems: list[Problem] = []

    def add(kind: ProblemKind, found: str, wanted: str, place: str | None = None) -> None:
        problems.append(Problem(kind, found, wanted, number, place or None, unit))

    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        byte = raw[error.start]
        letter = bytes([byte]).decode("cp1252", "replace")
        found = f"byte 0x{byte:02X}, which is {letter!r} in Latin-1 (Windows-1252)"
        add(ProblemKind.INVALID_UTF8, found, "UTF-8: save it as such", f"byte {error.start + 1}")
        text = raw.decode(errors="replace")
    deepest = _depth(text)
    if deepest > depth:
        add(ProblemKind.TOO_DEEP, f"{deepest:,} objects and lists within one another", f"at most {depth}")
    if deepest > max(depth, _ORJSON_DEEPEST):
        return problems  # Python's own parser would run out of stack
    try:
        value = _reader.decode(text)
    except json.JSONDecodeError as error:
        add(ProblemKind.INVALID_JSON, *_syntax(text, error))
        return problems
    for kind, path, found, wanted in itertools.islice(_flaws(value, ""), _MOST_FLAWS):
        add(kind, found, wanted, path)
    if not problems:
        try:
            orjson.loads(raw)
        except orjson.JSONDecodeError as error:
            add(ProblemKind.INVALID_JSON, _ORJSON_POSITION.sub("", str(error)), "JSON", f"column {error.colno}")
    return problems


def _escapes_by_number(text: bytes) -> bool:
    """Whether there is a \\u anywhere: asked like this it takes half the time that searching for \\u0022 does."""
    letters = np.frombuffer(text, np.uint8)
    return bool(np.any(letters.take(np.flatnonzero(letters == _BACKSLASH) + 1, mode="clip") == _U))


class TooDeepError(Exception):
    """Raised when examples cannot be written within the depth that is allowed."""


class _Members(list[tuple[str, Any]]):
    """An object's members as they stand, doubles and all."""


class _Constant(str):
    """NaN, Infinity or -Infinity."""

    __slots__ = ()


def _number(written: str) -> int | _Constant:
    return 0 if abs(float(written)) != float("inf") else _Constant(written)


_reader = json.JSONDecoder(object_pairs_hook=_Members, parse_constant=_Constant, parse_float=_number, parse_int=_number)


def _flaws(value: Any, path: str) -> Iterator[tuple[ProblemKind, str, str, str]]:
    if isinstance(value, _Members):
        seen: set[str] = set()
        for key, member in value:
            place = _member(path, key)
            if key in seen:
                wanted = "each key once: readers disagree which one counts"
                yield ProblemKind.DUPLICATE_KEY, place, f"the key {_quoted(key)} again", wanted
            seen.add(key)
            if lone := _SURROGATE.search(key):
                yield ProblemKind.LONE_SURROGATE, place, *_half(lone)
            yield from _flaws(member, place)
    elif isinstance(value, list):
        for at, element in enumerate(value):
            yield from _flaws(element, f"{path}[{at}]")
    elif isinstance(value, _Constant):
        yield ProblemKind.NOT_FINITE, path, _cut(str(value)), "a number JSON has (null if there is none)"
    elif isinstance(value, str) and (lone := _SURROGATE.search(value)):
        yield ProblemKind.LONE_SURROGATE, path, *_half(lone)


def _half(lone: re.Match[str]) -> tuple[str, str]:
    return f"\\u{ord(lone[0]):04x} without its other half, at character {lone.start() + 1}", "whole characters"


def _member(path: str, key: str) -> str:
    if _IDENTIFIER.fullmatch(key):
        return f"{path}.{key}" if path else key
    return f"{path}[{_quoted(key)}]"


def _depth(text: str) -> int:
    """How deep the brackets go, in text that need not be JSON."""
    depth = deepest = 0
    for letter in re.findall(r"[\[\]{}]", _STRING.sub("", text)):
        depth += 1 if letter in "[{" else -1
        deepest = max(deepest, depth)
    return deepest


def _syntax(text: str, error: json.JSONDecodeError) -> tuple[str, str, str]:
    """What was found, what is wanted and where, in the words of people rather than of parsers."""
    there = text[error.pos : error.pos + _SHOWN]
    place = f"line {error.lineno} of it, column {error.colno}" if error.lineno > 1 else f"column {error.colno}"
    if not text.strip():
        found = "nothing"
    elif not there.strip():
        found = "the end of it"
    elif "\0" in there[:2]:
        found = "a NUL byte, as in binary data"
    else:
        found = _quoted(there)
    return found, f"JSON ({error.msg[0].lower()}{error.msg[1:]})", place


def _quoted(text: str) -> str:
    return json.dumps(_cut(text), ensure_ascii=bool(_SURROGATE.search(text)))


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
