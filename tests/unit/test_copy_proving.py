"""Nothing is said to be copied that was not proven, nothing wrong is left, nothing is read or sent twice; between two ends in memory."""

from __future__ import annotations

import hashlib
import threading
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted_ends import Bin, Call, Notes, Shelf, packed, sha256, transfers

from trainmaster.errors import (
    CorruptedUploadError,
    DatasetRefusedError,
    DestinationFailedError,
    LeaseLostError,
    NameConflictError,
    ObjectChangedError,
    ObjectMissingError,
    StorageUnavailableError,
)
from trainmaster.storage.copy import BegunUpload, Copied, CopyLimits, NotCopied, Transfer, copy_objects
from trainmaster.storage.ends.protocols import Part

PART = 1000
LIMITS = CopyLimits(part_bytes=PART, pause_seconds=0.001, tries=3)
SMALL, LARGE = 600, 6 * PART
SIZES = pytest.mark.parametrize("size", [SMALL, LARGE])


def copied(shelf: Shelf, bin_: Bin, *wanted: Transfer, **about: Any) -> Copied | NotCopied:
    """What comes of one transfer."""
    (outcome,) = copy_objects(shelf, bin_, wanted or transfers(shelf), limits=LIMITS, **about)
    return outcome


def failed(outcome: Copied | NotCopied, error: type[Exception], end: str | None = None) -> str:
    assert isinstance(outcome, NotCopied)
    assert type(outcome.error) is error
    assert outcome.end == end
    return str(outcome.error)


def transfer(data: bytes, **about: Any) -> Transfer:
    return Transfer("one", "one", "one", size=len(data), **about)


@SIZES
def test_what_is_not_whole_gzip_is_refused_and_not_left_there(size: int) -> None:
    shelf, bin_ = Shelf(one=packed(size)[:-3]), Bin()
    assert "breaks off" in failed(copied(shelf, bin_), DatasetRefusedError)
    assert (bin_.objects, bin_.under_way) == ({}, {})


@SIZES
def test_what_somebody_vouches_for_needs_not_be_gzip_and_has_to_be_that(size: int) -> None:
    data = hashlib.shake_256(b"x").digest(size)
    shelf, bin_ = Shelf(one=data), Bin()
    failed(copied(shelf, bin_, transfer(data, sha256=sha256(b"other"))), CorruptedUploadError, "source")
    assert (bin_.objects, bin_.under_way) == ({}, {})
    assert isinstance(copied(shelf, bin_, transfer(data, sha256=sha256(data))), Copied)
    assert bin_.objects == {"one": data}


@SIZES
def test_what_was_replaced_while_it_was_copied_is_not_left_there(size: int) -> None:
    data, newer = packed(size), packed(size, "another")
    shelf, bin_ = Shelf(one=data), Bin()
    bin_.befall("put" if size == SMALL else "complete", lambda _: shelf.keep("one", newer), times=1)
    outcome = copied(shelf, bin_, transfer(data))
    if isinstance(outcome, Copied):  # it was read anew
        assert (outcome.sha256, outcome.source_version) == (sha256(newer), "version 2")
        assert bin_.objects == {"one": newer}
    else:
        failed(outcome, ObjectChangedError)
        assert bin_.objects == {}
    assert bin_.under_way == {}


@SIZES
def test_what_was_read_of_a_source_that_is_gone_by_then_is_kept(size: int) -> None:
    data = packed(size)
    shelf, bin_ = Shelf(one=data), Bin()
    bin_.befall("put" if size == SMALL else "complete", lambda _: shelf.objects.clear(), times=1)
    failed(copied(shelf, bin_, transfer(data)), ObjectMissingError)
    assert (bin_.objects, bin_.under_way) == ({"one": data}, {})


def test_parts_of_two_versions_are_never_put_together() -> None:
    data = packed(LARGE)
    shelf, bin_ = Shelf(one=data), Bin()
    shelf.befall(
        "read", lambda call: shelf.keep("one", packed(LARGE, "another")) if call.position == 3 * PART else None
    )
    failed(copied(shelf, bin_, transfer(data)), ObjectChangedError)
    assert (bin_.objects, bin_.under_way) == ({}, {})


@SIZES
def test_what_arrived_otherwise_is_removed(size: int) -> None:
    data = packed(size)
    shelf, bin_ = Shelf(one=data), Bin()
    looks = 0

    def spoil(_: Call) -> None:
        nonlocal looks
        looks += "one" in bin_.objects
        if looks == 1:
            bin_.objects["one"] = data[::-1]

    bin_.befall("look", spoil)
    failed(copied(shelf, bin_, transfer(data)), CorruptedUploadError, "destination")
    assert bin_.objects == {}


@SIZES
def test_a_destination_that_checks_nothing_is_read_back(size: int) -> None:
    data = packed(size)
    shelf, bin_ = Shelf(one=data), Bin(checks=False)
    assert isinstance(copied(shelf, bin_, transfer(data)), Copied)
    assert bin_.count("read", "one") == -(-len(data) // PART)
    del bin_.objects["one"]

    real = bin_._create
    bin_._create = lambda key, body, *about: real(key, body[:100] + b"?" + body[101:], *about)  # type: ignore[method-assign]
    failed(copied(shelf, bin_, transfer(data)), CorruptedUploadError, "destination")
    assert bin_.objects == {}


@SIZES
def test_what_is_there_already_is_proven_equal_and_not_sent(size: int) -> None:
    data = packed(size)
    shelf, bin_ = Shelf(one=data), Bin()
    assert isinstance(copied(shelf, bin_, transfer(data)), Copied)
    shelf.calls.clear()
    again = copied(shelf, bin_, transfer(data, tried_before=True))
    assert isinstance(again, Copied)
    assert (again.sent, again.bytes_read, again.sha256) == (False, 0, sha256(data))
    assert shelf.count("read") == 0
    assert bin_.count("begin") <= 1


@SIZES
@pytest.mark.parametrize("tried_before", [True, False])
@pytest.mark.parametrize("about", ["as of this version", "as of another", "nothing"])
def test_other_bytes_that_are_there_are_replaced(size: int, tried_before: bool, about: str) -> None:
    data, other = packed(size), packed(size, "another")
    shelf, bin_ = Shelf(one=data), Bin()
    bin_.objects["one"] = other
    bin_.about["one"] = {
        "as of this version": (sha256(data), "version 1"),
        "as of another": (sha256(other), "version 0"),
        "nothing": (None, ""),
    }[about]
    outcome = copied(shelf, bin_, transfer(data, tried_before=tried_before))
    if size == LARGE and about == "as of this version":
        failed(
            outcome, CorruptedUploadError, "destination"
        )  # it lies about itself; removed, and copied by the next try
        outcome = copied(shelf, bin_, transfer(data))
    assert isinstance(outcome, Copied)
    assert outcome.sent
    assert bin_.objects == {"one": data}
    assert bin_.under_way == {}


@SIZES
def test_nothing_is_removed_that_may_be_somebody_elses(size: int) -> None:
    data, other = packed(size), packed(size, "another")
    shelf, bin_, notes = Shelf(one=data), Bin(), Notes()
    notes.lost.add("one")
    bin_.objects["one"], bin_.about["one"] = other, (sha256(other), "version 0")
    failed(copied(shelf, bin_, transfer(data), journal=notes), LeaseLostError)
    assert bin_.objects == {"one": other}
    assert bin_.under_way == {}


def test_somebody_who_writes_the_same_key_over_and_over_is_told_of() -> None:
    data, other = packed(SMALL), packed(SMALL, "another")
    shelf, bin_ = Shelf(one=data), Bin()

    def come_first(_: Call) -> None:
        bin_.objects["one"], bin_.about["one"] = other, (None, "")

    bin_.befall("put", come_first)
    failed(copied(shelf, bin_, transfer(data)), NameConflictError)
    assert bin_.objects == {"one": other}


@pytest.mark.parametrize(("size", "call"), [(SMALL, "put"), (LARGE, "complete"), (LARGE, "begin"), (LARGE, "put_part")])
def test_what_was_done_unheard_is_not_done_twice_and_leaves_nothing(size: int, call: str) -> None:
    data = packed(size)
    shelf, bin_ = Shelf(one=data), Bin()
    real, unheard = getattr(bin_, call), iter([True])

    def unheard_once(*args: Any, **about: Any) -> Any:
        answer = real(*args, **about)
        if next(unheard, False):
            raise StorageUnavailableError("The connection broke before the answer came.")
        return answer

    setattr(bin_, call, unheard_once)
    outcome = copied(shelf, bin_, transfer(data))
    assert isinstance(outcome, Copied)
    assert outcome.sha256 == sha256(data)
    assert outcome.bytes_read == len(data)
    assert bin_.objects == {"one": data}
    assert bin_.under_way == {}


def left(shelf: Shelf, bin_: Bin, notes: Notes, *, after: int) -> Transfer:
    """What to go on with, after a try that was stopped once so many parts had arrived."""
    stop = threading.Event()
    bin_.befall("put_part", lambda _: stop.set() if bin_.count("put_part") >= after else None)
    data = shelf.objects["one"][0]
    assert list(copy_objects(shelf, bin_, [transfer(data)], limits=LIMITS, journal=notes, stop=stop)) == []
    bin_.fates.clear()
    assert len(bin_.under_way) == 1
    return transfer(data, tried_before=True, upload=notes.uploads["one"])


@pytest.mark.parametrize("after", [1, 4])
def test_an_upload_that_was_stopped_goes_on_and_no_part_is_read_or_sent_twice(after: int) -> None:
    data = packed(20 * PART)
    shelf, bin_, notes = Shelf(one=data), Bin(), Notes()
    wanted = left(shelf, bin_, notes, after=after)
    arrived = sum(len(part) for upload in bin_.under_way.values() for part in upload.parts.values())
    assert arrived > 0
    outcome = copied(shelf, bin_, wanted, journal=notes)
    assert isinstance(outcome, Copied)
    assert outcome.bytes_read == len(data) - arrived
    assert outcome.sha256 == sha256(data)
    assert bin_.objects == {"one": data}
    assert bin_.under_way == {}
    sent = [call.position for call in bin_.calls if call.name == "put_part"]
    assert sorted(sent) == sorted(set(sent))


@settings(max_examples=30)
@given(st.sets(st.integers(1, 9)), st.sampled_from([PART, 2 * PART, 700]))
def test_an_upload_of_any_parts_of_any_size_goes_on(there: set[int], part_size: int) -> None:
    data = packed(8 * PART)
    shelf, bin_ = Shelf(one=data), Bin()
    upload = bin_.begin("one", source_version="version 1")
    stranger = bin_.begin("one", source_version="version 0")
    for number in there:
        if part := data[(number - 1) * part_size : number * part_size]:
            bin_.put_part("one", upload, number, memoryview(part))
    kept = sum(len(part) for part in bin_.under_way[upload].parts.values())
    outcome = copied(shelf, bin_, transfer(data, upload=BegunUpload(upload, part_size, "version 1")))
    assert isinstance(outcome, Copied)
    assert (outcome.bytes_read, outcome.sha256) == (len(data) - kept, sha256(data))
    assert bin_.objects == {"one": data}
    assert bin_.under_way == {}, f"{stranger} is of nobody any more"


def test_parts_of_another_length_are_sent_anew() -> None:
    data = packed(8 * PART)
    shelf, bin_ = Shelf(one=data), Bin()
    upload = bin_.begin("one", source_version="version 1")
    bin_.put_part("one", upload, 1, memoryview(data)[:10])
    outcome = copied(shelf, bin_, transfer(data, upload=BegunUpload(upload, PART, "version 1")))
    assert isinstance(outcome, Copied)
    assert bin_.objects == {"one": data}


def test_wrong_bytes_in_a_part_of_an_earlier_try_are_found_and_removed() -> None:
    data = packed(8 * PART)
    shelf, bin_, notes = Shelf(one=data), Bin(), Notes()
    wanted = left(shelf, bin_, notes, after=3)
    (upload,) = bin_.under_way.values()
    number, part = next(iter(upload.parts.items()))  # whichever came through first
    upload.parts[number] = part[:300] + bytes([part[300] ^ 1]) + part[301:]
    failed(copied(shelf, bin_, wanted, journal=notes), DatasetRefusedError)
    assert (bin_.objects, bin_.under_way) == ({}, {})
    failed(copied(shelf, bin_, replace(wanted, sha256=sha256(b"")), journal=notes), CorruptedUploadError, "source")
    assert (bin_.objects, bin_.under_way) == ({}, {})


def test_an_upload_of_another_version_is_given_up_for_a_new_one() -> None:
    shelf, bin_, notes = Shelf(one=packed(20 * PART)), Bin(), Notes()
    wanted = left(shelf, bin_, notes, after=3)
    data = packed(20 * PART, "another")
    shelf.keep("one", data)
    outcome = copied(shelf, bin_, wanted, journal=notes)
    assert isinstance(outcome, Copied)
    assert bin_.objects == {"one": data}
    assert bin_.under_way == {}
    assert notes.uploads["one"] == BegunUpload("upload 2", PART, "version 2")


def test_an_upload_that_was_completed_by_who_died_then_is_found_whole() -> None:
    data = packed(20 * PART)
    shelf, bin_, notes = Shelf(one=data), Bin(), Notes()
    wanted = left(shelf, bin_, notes, after=3)
    ((upload_id, upload),) = bin_.under_way.items()
    upload.parts = {n + 1: data[n * PART : (n + 1) * PART] for n in range(-(-len(data) // PART))}
    bin_.complete("one", upload_id, [Part(n, "", 0) for n in sorted(upload.parts)])
    shelf.calls.clear()
    outcome = copied(shelf, bin_, wanted, journal=notes)
    assert isinstance(outcome, Copied)
    assert (outcome.sent, outcome.bytes_read) == (False, 0)
    assert shelf.count("read") == 0


@pytest.mark.parametrize("journal", [Notes(), None])
def test_after_a_failure_that_passes_parts_are_left_only_where_somebody_knows_of_them(journal: Notes | None) -> None:
    data = packed(LARGE)
    shelf, bin_ = Shelf(one=data), Bin()
    shelf.befall(
        "read",
        lambda call: None if call.position < 3 * PART else (_ for _ in ()).throw(StorageUnavailableError("Gone.")),
    )
    failed(copied(shelf, bin_, transfer(data), journal=journal), StorageUnavailableError, "source")
    assert len(bin_.under_way) == (1 if journal else 0)


def test_what_the_journal_refuses_is_not_begun() -> None:
    data = packed(LARGE)
    shelf, bin_, notes = Shelf(one=data), Bin(), Notes()
    notes.lost.add("one")
    failed(copied(shelf, bin_, transfer(data), journal=notes), LeaseLostError)
    assert bin_.under_way == {}
    assert shelf.count("read") == bin_.count("put_part") == 0


def test_parts_of_who_has_taken_an_object_over_are_left_alone() -> None:
    data = packed(20 * PART)
    shelf, bin_, notes = Shelf(one=data), Bin(), Notes()
    wanted = left(shelf, bin_, notes, after=3)
    notes.lost.add("one")
    bin_.begin("one", source_version="another's")
    failed(copied(shelf, bin_, wanted, journal=notes), LeaseLostError)
    assert len(bin_.under_way) == 2


def test_a_source_without_the_object_says_so_and_touches_nothing() -> None:
    shelf, bin_ = Shelf(), Bin()
    for size in (SMALL, LARGE, None):
        failed(copied(shelf, bin_, Transfer("one", "one", "one", size=size)), ObjectMissingError)
    assert {call.name for call in bin_.calls} == {"checks"}


def test_what_cannot_be_asked_whether_it_checks_is_not_written_to() -> None:
    shelf, bin_ = Shelf(one=packed(SMALL)), Bin()
    bin_.befall("checks", StorageUnavailableError("Out of reach."))
    with pytest.raises(DestinationFailedError, match="Out of reach"):
        copied(shelf, bin_)
    assert {call.name for call in bin_.calls} == {"checks"}


@SIZES
def test_what_the_servers_can_copy_is_copied_there_and_proven_there(size: int) -> None:
    data = packed(size)
    shelf, bin_ = Shelf(one=data), Bin()
    bin_.is_beside = True
    outcome = copied(shelf, bin_, transfer(data))
    assert isinstance(outcome, Copied)
    assert (outcome.sha256, outcome.bytes_read, outcome.sent) == (sha256(data), 0, True)
    assert shelf.count("read") == bin_.count("put") == bin_.count("begin") == 0
    again = copied(shelf, bin_, transfer(data))
    assert isinstance(again, Copied)
    assert not again.sent
    assert bin_.objects == {"one": data}


def test_what_the_servers_copied_is_held_to_what_is_vouched_for_and_to_gzip() -> None:
    data = packed(LARGE)[:-1]
    shelf, bin_ = Shelf(one=data), Bin()
    bin_.is_beside = True
    failed(copied(shelf, bin_, transfer(data)), DatasetRefusedError)
    failed(copied(shelf, bin_, transfer(data, sha256=sha256(b""))), CorruptedUploadError, "source")
    assert bin_.objects == {}
    assert isinstance(copied(shelf, bin_, transfer(data, sha256=sha256(data))), Copied)


def test_what_changes_while_the_servers_copy_it_is_not_left_there() -> None:
    data = packed(SMALL)
    shelf, bin_ = Shelf(one=data), Bin()
    bin_.is_beside = True
    bin_.befall("read", lambda _: shelf.keep("one", packed(SMALL, "another")), times=1)
    failed(copied(shelf, bin_, transfer(data)), ObjectChangedError)
    assert bin_.objects == {}
