"""Examples are parsed strictly: what JSON readers disagree about is told with its place, and never slips through the fast path."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from trainmaster.datasets.kinds import ProblemKind
from trainmaster.datasets.parsing import TooDeepError, certified, line_by_line, lines_of, problems_of

DEPTH = 64


def told(raw: bytes) -> list[str]:
    return [str(problem) for problem in problems_of(raw, 7, "line", DEPTH)]


def nested(depth: int, *, of: str = "[]") -> bytes:
    opening, closing = of
    key = '"k":' if of == "{}" else ""
    return ((opening + key) * (depth - 1) + opening + closing * depth).encode()


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        (b'{"a": }', 'line 7, column 7: found "}"; wanted JSON (expecting value)'),
        (b"{'a': 1}", "line 7, column 2: found \"'a': 1}\"; wanted JSON (expecting property name enclosed in double quotes)"),
        (b'{"a": 1', "line 7, column 8: found the end of it; wanted JSON (expecting ',' delimiter)"),
        (b'{"a": "x\0"}', 'line 7, column 9: found a NUL byte, as in binary data; wanted JSON (invalid control character at)'),
        (b'{"a": "x"} y', 'line 7, column 12: found "y"; wanted JSON (extra data)'),
        (b'{"a": NaN}', "line 7, a: found NaN; wanted a number JSON has (null if there is none)"),
        (b'{"a": [0, -Infinity]}', "line 7, a[1]: found -Infinity; wanted a number JSON has (null if there is none)"),
        (b'{"a": 1e999}', "line 7, a: found 1e999; wanted a number JSON has (null if there is none)"),
        (b'{"a": {"b c": "\\ud83d"}}', 'line 7, a["b c"]: found \\ud83d without its other half, at character 1; wanted whole characters'),
        (b'{"\\udc00": 1}', 'line 7, ["\\udc00"]: found \\udc00 without its other half, at character 1; wanted whole characters'),
        (b'{"a": 1, "b": 2, "a": 3}', 'line 7, a: found the key "a" again; wanted each key once: readers disagree which one counts'),
        (b'{"a": [{"b": {}, "\\u0062": {}}]}', 'line 7, a[0].b: found the key "b" again; wanted each key once: readers disagree which one counts'),
        (b'{"a": "\xe9"}', "line 7, byte 8: found byte 0xE9, which is 'é' in Latin-1 (Windows-1252); wanted UTF-8: save it as such"),
        (nested(65), "line 7: found 65 objects and lists within one another; wanted at most 64"),
        (b'{"a":' * 70000, "line 7: found 70,000 objects and lists within one another; wanted at most 64"),
    ],
)  # fmt: skip
def test_a_problem_is_told_with_its_place(raw: bytes, problem: str) -> None:
    assert told(raw) == [problem]


def test_all_problems_of_an_example_are_told() -> None:
    raw = b'{"a": NaN, "b": "\\ud800", "a": Infinity, "c": "\xff", "d": ' + nested(70) + b"}"
    kinds = [problem.kind for problem in problems_of(raw, 1, "line", DEPTH)]
    assert sorted(kinds) == sorted(
        [
            ProblemKind.INVALID_UTF8, ProblemKind.TOO_DEEP, ProblemKind.NOT_FINITE, ProblemKind.LONE_SURROGATE,
            ProblemKind.DUPLICATE_KEY, ProblemKind.NOT_FINITE,
        ]
    )  # fmt: skip


@pytest.mark.parametrize(
    "raw",
    [
        b'{"a": 1}\r', b" [] ", b'{"\\u0061": "\\u0022", "b": "\\\\"}', b'{"a": 123456789012345678901234567890, "b": 1e-999, "c": -0}',
        '{"é": "\U0001f600\\ud83d\\ude00\\u0000"}'.encode(), b'{"a": "' + b"9" * 5000 + b'", "b": ' + b"9" * 300 + b"}", nested(64), nested(64, of="{}"),
    ],
)  # fmt: skip
def test_what_readers_agree_about_is_no_problem(raw: bytes) -> None:
    assert told(raw) == []
    orjson.loads(raw)


@pytest.mark.parametrize("of", ["[]", "{}"])
def test_the_depth_that_can_be_written_is_the_depth_that_is_allowed(of: str) -> None:
    line_by_line([orjson.loads(nested(DEPTH, of=of))], DEPTH)
    with pytest.raises(TooDeepError):
        line_by_line([orjson.loads(nested(DEPTH + 1, of=of))], DEPTH)


# --- rules for all inputs

KEYS = st.sampled_from(["a", "b", 'q"', "\\", ":", "é", 'x\\":'])
TEXTS = st.text(st.sampled_from('ab":\\{}[],\n é😀'), max_size=6)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.lists(st.tuples(KEYS, inner), max_size=4).map(tuple),
    max_leaves=10,
)
"""A tuple is an object, of pairs that may have a key twice."""


def spelled(value: Any, draw: st.DrawFn) -> str:
    """JSON, in one of the many ways to write it."""
    space = draw(st.sampled_from(["", " ", "\t ", "\n"]))
    if isinstance(value, tuple):
        pairs = (f"{spelled(key, draw)}{space}:{space}{spelled(member, draw)}" for key, member in value)
        return "{" + f"{space},".join(pairs) + space + "}"
    if isinstance(value, list):
        return "[" + f",{space}".join(spelled(each, draw) for each in value) + "]"
    text = json.dumps(value, ensure_ascii=draw(st.booleans()))
    if isinstance(value, str) and '\\"' in text and draw(st.booleans()) and "\\\\" not in text:
        text = text.replace('\\"', "\\u0022", draw(st.integers(1, 3)))
    return text


@st.composite
def texts(draw: st.DrawFn) -> tuple[Any, bytes]:
    value = draw(VALUES)
    return value, spelled(value, draw).encode()


def repeats(value: Any) -> bool:
    if isinstance(value, tuple):
        keys = [key for key, _ in value]
        return len(set(keys)) < len(keys) or any(repeats(member) for _, member in value)
    return isinstance(value, list) and any(map(repeats, value))


@given(st.lists(texts(), min_size=1, max_size=4))
def test_no_key_that_is_there_twice_is_ever_certified(written: list[tuple[Any, bytes]]) -> None:
    raws = [raw for _, raw in written]
    parsed = [orjson.loads(raw) for raw in raws]
    sound = not any(repeats(value) for value, _ in written)
    certain = certified(b"\n".join(raws), line_by_line(parsed, DEPTH))

    assert sound or not certain
    assert certain or not sound or b"u0022" in b"".join(raws)
    assert sound == (not any(problems_of(raw, 1, "line", DEPTH) for raw in raws))


@given(st.lists(texts(), max_size=5))
def test_examples_written_together_come_apart_as_if_written_alone(written: list[tuple[Any, bytes]]) -> None:
    parsed = [orjson.loads(raw) for _, raw in written]
    assert lines_of(line_by_line(parsed, DEPTH)) == lines_of(line_by_line(parsed)) == [orjson.dumps(e) for e in parsed]


@given(texts(), st.data())
def test_the_slow_rules_refuse_whatever_the_fast_parser_refuses(
    written: tuple[Any, bytes], data: st.DataObject
) -> None:
    raw = bytearray(written[1])
    assume(raw)
    for _ in range(data.draw(st.integers(0, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.sampled_from(b'"\\{}[],:0au \xff\xed\xa0NI-.e\n\0'))
    try:
        orjson.loads(bytes(raw))
        refused = False
    except orjson.JSONDecodeError:
        refused = True
    assert not refused or problems_of(bytes(raw), 1, "line", DEPTH)
