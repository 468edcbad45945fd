"""How the examples are put into a file, told from its first megabyte."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import orjson

from trainmaster.datasets.blocks import Layout
from trainmaster.datasets.detection import is_turn, looks_like
from trainmaster.datasets.elements import Elements, start_of
from trainmaster.datasets.foreign import other_encoding, other_kind
from trainmaster.datasets.formats import Format
from trainmaster.datasets.kinds import ProblemKind
from trainmaster.datasets.limits import Limits
from trainmaster.datasets.lines import JsonLines
from trainmaster.datasets.problems import Findings, Problem
from trainmaster.datasets.shapes.signatures import has_pair
from trainmaster.datasets.tabular import CsvRows, ParquetRows, header

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_PARQUET = b"PAR1"
_PACKED = {b"\x1f\x8b": "gzip data within packed data", b"\x28\xb5": "zstd data within packed data"}
_WANTED = "JSON Lines, a JSON array or object, CSV or Parquet, in UTF-8, plain or packed with gzip or zstd"
_COLUMNS = "columns of one of the formats, such as messages, prompt and completion, instruction and output, or text"
_WRAPPERS = {"examples", "data", "train", "rows", "items", "records", "samples"}
"""Keys under which an object that is no example itself holds a list of examples."""
_GOES_ON = (b"{", b"[", b",", b":")
_LOOKED_AT = 64
_decoder = json.JSONDecoder()


def recognised(
    chunks: Iterator[bytes], limits: Limits, notes: Findings, demanded: Format | None = None
) -> Layout | Problem:
    """The layout of a text that comes in chunks, ready to be read; or what it is instead."""
    head = next(chunks, b"")
    if head.startswith(_PARQUET):
        return ParquetRows(itertools.chain([head], chunks), limits, lambda names: _unknown(names, demanded))
    if found := _PACKED.get(head[:2]) or other_kind(head):
        return Problem(ProblemKind.UNREADABLE, found, _WANTED)
    if found := other_encoding(head):
        return Problem(ProblemKind.WRONG_ENCODING, found, "UTF-8: save it as such")
    if head.startswith(_BYTE_ORDER_MARK):
        notes.add(Problem(ProblemKind.BYTE_ORDER_MARK, "a byte order mark", "none: UTF-8 needs none"))
        head = head.removeprefix(_BYTE_ORDER_MARK)
    more = next(chunks, None)
    whole = more is None
    text = itertools.chain([head] if whole else [head, more or b""], chunks)
    if head.lstrip()[:1] in (b"{", b"["):
        return _of_json(head, text, whole, limits.example, notes)
    if not head.strip() or any(map(_is_example, head.splitlines()[:_LOOKED_AT])):
        return JsonLines(text, limits.example, notes)
    names, delimiter = header(head)
    return _unknown(names, demanded) or CsvRows(text, names, delimiter, limits.example)


def _unknown(names: Sequence[str], demanded: Format | None) -> Problem | None:
    """What is wrong with the names of a table's columns."""
    if twice := [name for name, times in Counter(names).items() if times > 1]:
        return Problem(ProblemKind.CONFLICTING_KEYS, f"several columns named {twice[0]!r}", "each name once")
    row = dict.fromkeys(names, "")
    if demanded or looks_like(row) not in {None, Format.JSONL} or has_pair(row):
        return None
    shown = ", ".join(name[:_LOOKED_AT] for name in names[:8])
    if len(names) < 2:
        return Problem(ProblemKind.UNREADABLE, f"text that is no JSON ({shown!r} …)", _WANTED)
    return Problem(ProblemKind.MISSING_COLUMN, f"the columns {shown}{' …' if len(names) > 8 else ''}", _COLUMNS)


def _of_json(head: bytes, text: Iterable[bytes], whole: bool, longest: int, notes: Findings) -> Layout:
    line, end, after = head.lstrip().partition(b"\n")
    alone = whole and not after.strip()
    others = sum(map(_is_example, after.splitlines()[:_LOOKED_AT]))
    lines = JsonLines(text, longest, notes)
    in_order = Elements(text, longest, notes, array=False, start=start_of(b"\n" + head.lstrip()))
    if end and not alone and _is_example(line):
        return lines
    if line.startswith(b"["):
        one_example = is_turn(_first_element(head.lstrip()[1:]))
        if others > 1 or (one_example and (alone or not end)):
            return lines
        return in_order if one_example else _array(head, text, head.index(b"[") + 1, longest, notes)
    if not others and (inside := _wrapped_from(head)):
        return _array(head, text, inside, longest, notes)
    return lines if alone or others or not line.rstrip().endswith(_GOES_ON) else in_order


def _array(head: bytes, text: Iterable[bytes], inside: int, longest: int, notes: Findings) -> Elements:
    rest = iter(text)
    next(rest, None)
    chunks = itertools.chain([head[inside:]], rest)
    return Elements(chunks, longest, notes, array=True, start=start_of(head[inside:]), before=head[:inside])


def _is_example(line: bytes) -> bool:
    """Whether a line that begins without white space is an object or a list, all of it."""
    if not line.startswith((b"{", b"[")):
        return False
    try:
        orjson.loads(line)
    except orjson.JSONDecodeError:
        return False
    return True


def _first_element(text: bytes) -> Any:
    try:
        return _decoder.raw_decode(text.decode(errors="replace").lstrip())[0]
    except (json.JSONDecodeError, RecursionError):
        return None


def _wrapped_from(head: bytes) -> int | None:
    """Where the examples begin in an object that holds a list of them under a key of that meaning."""
    text = head.decode(errors="replace")
    if "\ufffd" in text[: len(text) - 4]:
        return None  # positions in it are not those in the bytes
    at = text.index("{") + 1
    try:
        while True:
            key, at = _decoder.raw_decode(text, _skip(text, at))
            at = _skip(text, at, ":")
            if key in _WRAPPERS and text[at : at + 1] == "[":
                first = text[_skip(text, at + 1)]
                if first in "{[" or (first == "]" and _is_no_example(text)):
                    return len(text[: at + 1].encode())
            _, at = _decoder.raw_decode(text, at)
            at = _skip(text, at, ",")
    except (json.JSONDecodeError, IndexError, RecursionError, TypeError):
        return None


def _is_no_example(text: str) -> bool:
    """Whether an object has the keys of no format: what it holds an empty list under are its examples."""
    return looks_like(_decoder.raw_decode(text.lstrip())[0]) is Format.JSONL


def _skip(text: str, at: int, mark: str = "") -> int:
    """Past white space, and a mark that must be there."""
    while text[at] in " \t\r\n":
        at += 1
    if mark:
        if text[at] != mark:
            raise IndexError(at)
        return _skip(text, at + 1)
    return at
