"""A form with one file is read as it arrives, in whatever pieces it does, and refused for what it is not."""

from __future__ import annotations

import asyncio
import resource
import tracemalloc
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainmaster.errors import FormRefusedError, NoRoomError, RefusedError, UploadTooLargeError
from trainmaster.http_api.form_reading import AROUND, Form, FormLimits, read_form

BOUNDARY = "----of-a-test"
LIMITS = FormLimits(file=1000, field=100)


def part(name: str, body: bytes, filename: str | None = None) -> bytes:
    named = f'; filename="{filename}"' if filename is not None else ""
    return f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{named}\r\n\r\n'.encode() + body + b"\r\n"


def form(*parts: bytes) -> bytes:
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


async def pieces(body: bytes, sizes: Sequence[int]) -> AsyncIterator[bytes]:
    at = 0
    for size in sizes:
        yield body[at : at + size]
        at += size
    yield body[at:]


def read(
    body: bytes,
    sizes: Sequence[int] = (),
    *,
    limits: FormLimits = LIMITS,
    content_type: str = f"multipart/form-data; boundary={BOUNDARY}",
    told: list[Mapping[str, str]] | None = None,
    to: Path | None = None,
) -> tuple[Form, bytes]:
    """The form, and what was written of the file."""
    told = [] if told is None else told
    with TemporaryDirectory() as folder:
        file = to or Path(folder) / "file"
        found = asyncio.run(read_form(content_type, pieces(body, sizes), file, limits, before_file=told.append))
        return found, file.read_bytes()


@given(
    content=st.one_of(st.binary(max_size=1000), st.just(f"\r\n--{BOUNDARY}x\r\n--".encode())),
    sizes=st.lists(st.integers(0, 40), max_size=60),
)
def test_the_file_is_what_was_sent_in_whatever_pieces_it_arrives(content: bytes, sizes: list[int]) -> None:
    told: list[Mapping[str, str]] = []
    body = form(part("name", "Füchse".encode()), part("file", content, "foxes.jsonl"), part("storage", b"s3"))
    found, written = read(body, sizes, told=told)
    assert written == content
    assert found == Form({"name": "Füchse", "storage": "s3"}, "foxes.jsonl")
    assert told == [{"name": "Füchse"}]


@pytest.mark.parametrize("before", [b"\r\n", b""], ids=["before the form", "after it"])
def test_what_never_ends_is_not_read_for_ever(tmp_path: Path, before: bytes) -> None:
    whole, read_of_it = form(part("name", b"x"), part("file", b"y" * 900, "a")), 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal read_of_it
        if not before:
            yield whole
        while read_of_it < 100 * AROUND:
            read_of_it += 1 << 16
            yield (before or b"z") * ((1 << 16) // len(before or b"z"))

    content_type = f"multipart/form-data; boundary={BOUNDARY}"
    with pytest.raises(UploadTooLargeError):
        asyncio.run(read_form(content_type, endless(), tmp_path / "file", LIMITS, before_file=lambda _: None))
    assert read_of_it <= 2 * AROUND


def test_fields_that_come_first_may_be_refused_before_any_of_the_file_is_kept(tmp_path: Path) -> None:
    def refuse(fields: Mapping[str, str]) -> None:
        raise FormRefusedError(f"no {fields['name']}")

    body = form(part("name", b"x"), part("file", b"y" * 900, "a"))
    content_type = f"multipart/form-data; boundary={BOUNDARY}"
    with pytest.raises(FormRefusedError, match="no x"):
        asyncio.run(read_form(content_type, pieces(body, [50] * 30), tmp_path / "file", LIMITS, before_file=refuse))
    assert (tmp_path / "file").read_bytes() == b""


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (form(part("name", b"x")), "has no file"),
        (form(part("file", b"a", "a"), part("file", b"b", "b")), "two files"),
        (form(part("picture", b"a", "a")), "a file named 'picture'"),
        (form(part("name", b"x"), part("name", b"y"), part("file", b"", "a")), "'name' twice"),
        (form(part("name", b"x" * 101)), "more than 100 bytes"),
        (form(part("name", b"\xff"), part("file", b"", "a")), "no UTF-8"),
        (form(part("file", b"a", "a"))[:-8], "cut off"),
        (part("file", b"a", "a"), "cut off"),
        (b"no form", "no form as its Content-Type says"),
        (form(*(part(f"field-{n}", b"") for n in range(21))), "too many fields"),
    ],
    ids=["no file", "two files", "other file", "twice", "long field", "no utf-8", "half", "unended", "other", "many"],
)  # fmt: skip
def test_what_is_no_such_form_is_refused_with_what_is_wrong(body: bytes, said: str) -> None:
    with pytest.raises(FormRefusedError, match=said):
        read(body)


@pytest.mark.parametrize("content_type", ["", "application/json", "multipart/form-data", "multipart/mixed; boundary=a"])
def test_other_bodies_are_refused_unread(content_type: str) -> None:
    with pytest.raises(FormRefusedError, match="multipart/form-data"):
        read(form(part("file", b"a", "a")), content_type=content_type)


def test_a_large_file_is_never_in_memory_as_a_whole(tmp_path: Path) -> None:
    size, piece = 64 << 20, 64 << 10

    async def large() -> AsyncIterator[bytes]:
        yield part("file", b"", "large")[:-2]
        for _ in range(size // piece):
            yield bytes(piece)
        yield b"\r\n" + form()

    to, limits = tmp_path / "file", FormLimits(file=size, field=1)
    tracemalloc.start()
    try:
        kind = f"multipart/form-data; boundary={BOUNDARY}"
        asyncio.run(read_form(kind, large(), to, limits, before_file=lambda _: None))
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert to.stat().st_size == size
    assert most < 8 << 20


def test_a_file_is_read_up_to_its_limit_and_no_further() -> None:
    assert read(form(part("file", b"y" * 1000, "a")))[1] == b"y" * 1000
    endless = form(part("file", b"y" * 1001, "a"))
    with pytest.raises(UploadTooLargeError, match="more than 1,000 bytes"):
        read(endless, [10] * 200)


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("C:\\\\data\\\\foxes.csv", "foxes.csv"),
        ("../../etc/passwd", "passwd"),
        ("a\x1b[31mb.jsonl", "a__31mb.jsonl"),
        ("", "dataset"),
        ("x" * 300, "x" * 200),
    ],
    ids=["windows", "path", "escape", "none", "long"],
)
def test_the_name_of_a_file_is_shown_without_what_acts_on_anybody(sent: str, kept: str) -> None:
    assert read(form(part("file", b"a", sent)))[0].file_name == kept


def test_a_full_disk_is_told_as_such() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        with pytest.raises(NoRoomError, match="no room"):
            read(form(part("file", b"y" * 900, "a")))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@given(body=st.binary(max_size=300), sizes=st.lists(st.integers(0, 40), max_size=20))
def test_no_bytes_are_anything_but_a_form_or_refused(body: bytes, sizes: list[int]) -> None:
    with suppress(RefusedError):
        read(f"--{BOUNDARY}\r\n".encode() + body, sizes)
