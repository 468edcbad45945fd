"""Gzip is proven whole as it passes, in whichever pieces it comes."""

from __future__ import annotations

import gzip
import hashlib
import resource

import pytest
from hypothesis import given
from hypothesis import strategies as st
from isal import igzip

from trainmaster.errors import DatasetRefusedError
from trainmaster.storage.engine.wholeness import Wholeness

MEMBERS = st.lists(st.binary(max_size=3000), min_size=1, max_size=4)
STEPS = st.lists(st.integers(1, 700), min_size=1, max_size=20)


def packed(members: list[bytes]) -> bytes:
    return b"".join(gzip.compress(member, 6, mtime=0) for member in members)


def proven(data: bytes, steps: list[int] | None = None) -> str:
    whole, at, turn = Wholeness("here", must_be_gzip=True), 0, 0
    while at < len(data):
        step = steps[turn % len(steps)] if steps else len(data)
        whole.feed(memoryview(data)[at : at + step])
        at, turn = at + step, turn + 1
    return whole.finish()


@given(MEMBERS, STEPS, st.integers(0, 40))
def test_whole_gzip_of_any_members_with_any_padding_is_proven_in_any_pieces(
    members: list[bytes], steps: list[int], padding: int
) -> None:
    data = packed(members) + bytes(padding)
    assert proven(data, steps) == hashlib.sha256(data).hexdigest()


@given(MEMBERS, STEPS, st.data())
def test_gzip_that_breaks_off_anywhere_is_refused_unless_between_members(
    members: list[bytes], steps: list[int], data: st.DataObject
) -> None:
    whole = packed(members)
    between = {len(packed(members[:count])) for count in range(1, len(members) + 1)}
    end = data.draw(st.integers(0, len(whole) - 1).filter(lambda at: at not in between))
    with pytest.raises(DatasetRefusedError):
        proven(whole[:end], steps)


@given(st.binary(min_size=200, max_size=3000), STEPS, st.data())
def test_a_flipped_bit_is_refused_unless_the_same_comes_out(
    content: bytes, steps: list[int], data: st.DataObject
) -> None:
    whole = bytearray(packed([content]))
    at = data.draw(st.integers(10, len(whole) - 1))  # after the header, which nothing checks
    whole[at] ^= 1 << data.draw(st.integers(0, 7))
    try:
        proven(bytes(whole), steps)
    except DatasetRefusedError:
        return
    assert igzip.decompress(bytes(whole)) == content  # a code length, say, that no symbol of it uses


@given(MEMBERS, st.binary(min_size=1, max_size=50).filter(lambda rest: rest.strip(b"\0")), STEPS)
def test_anything_but_zeros_and_members_after_the_end_is_refused(
    members: list[bytes], rest: bytes, steps: list[int]
) -> None:
    with pytest.raises(DatasetRefusedError):
        proven(packed(members) + b"\0" + rest, steps)
    if not rest.startswith(b"\x1f"):
        with pytest.raises(DatasetRefusedError, match="something else after the end"):
            proven(packed(members) + rest, steps)


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"", "is empty"),
        (b"\x1f", "breaks off after 1 bytes"),
        (b'{"messages": []}', "does not begin as gzip does"),
        (packed([b"x" * 100])[:-1], "breaks off after"),
        (packed([b"x" * 100])[:-4] + bytes(4), "is damaged gzip"),
        (packed([b"x" * 100]) + b"\x1f", "something else after the end"),
        (packed([b"x" * 100]) + b"\x1f\x8b", "breaks off after"),
    ],
)
def test_a_refusal_says_what_was_found_where_and_what_to_do(data: bytes, found: str) -> None:
    with pytest.raises(DatasetRefusedError, match=found) as refused:
        proven(data)
    assert str(refused.value).startswith("here ")
    assert str(refused.value).endswith("Upload the dataset anew.")


def test_what_need_not_be_gzip_is_only_hashed() -> None:
    whole = Wholeness("here", must_be_gzip=False)
    whole.feed(memoryview(b"plain"))
    assert whole.finish() == hashlib.sha256(b"plain").hexdigest()


def test_a_bomb_takes_no_memory() -> None:
    bomb = gzip.compress(bytes(200 << 20), 9)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    proven(bomb)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20 << 10, "KiB"
