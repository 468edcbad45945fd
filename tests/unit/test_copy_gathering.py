"""Objects that were put are seen by a listing at each end, and nothing is believed of one but what it shows; between two ends in memory."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import obstore
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from obstore.store import MemoryStore
from scripted_ends import Bin, Call, Notes, Shelf, packed, sha256, tag_of, transfers

from trainmaster.errors import (
    CorruptedUploadError,
    DestinationFailedError,
    LeaseLostError,
    NotConfiguredError,
    ObjectChangedError,
    ObjectMissingError,
    RefusedError,
    StorageUnavailableError,
)
from trainmaster.storage.copy import Copied, CopyLimits, NotCopied, Tally, Transfer, copy_objects
from trainmaster.storage.ends.obstore_reading import PAGE, Reader
from trainmaster.storage.ends.protocols import NoRoomError, ThrottledError, Version

LIMITS = CopyLimits(pause_seconds=0.001, tries=3)


def shelf_of(count: int, folder: str = "", *, lists: bool = True) -> Shelf:
    return Shelf(lists=lists, **{f"{folder}object-{n:04}": packed(100, n) for n in range(count)})


def copied(shelf: Shelf, bin_: Bin, **about: Any) -> dict[str, Copied | NotCopied]:
    outcomes = copy_objects(shelf, bin_, about.pop("wanted", None) or transfers(shelf), limits=LIMITS, **about)
    return {outcome.transfer.key: outcome for outcome in outcomes}


def require_all(shelf: Shelf, bin_: Bin, outcomes: dict[str, Copied | NotCopied]) -> None:
    assert bin_.objects == {path: data for path, (data, _) in shelf.objects.items()}
    assert set(outcomes) == set(shelf.objects)
    for path, (data, version) in shelf.objects.items():
        outcome = outcomes[path]
        assert isinstance(outcome, Copied)
        assert (outcome.size, outcome.sha256, outcome.source_version) == (len(data), sha256(data), version)
        assert (outcome.version, outcome.sent) == (tag_of(data), True)


def altered(end: Shelf | Bin, alter: Callable[[dict[str, Version]], dict[str, Version]]) -> None:
    """Let the listings of an end show something else."""
    listing = end.listing
    end.listing = lambda paths: alter(listing(paths))  # type: ignore[method-assign]


def test_two_requests_are_made_for_an_object_and_few_for_seeing_all_of_them() -> None:
    shelf, bin_, tally = shelf_of(300), Bin(lists=True), Tally()
    require_all(shelf, bin_, copied(shelf, bin_, tally=tally))
    assert (len(shelf.calls) + len(bin_.calls)) / 300 <= 2.1
    assert shelf.count("look") == bin_.count("look") == 0
    assert tally.objects == 300
    assert (tally.at_once, tally.in_flight) == (0, 0)


def test_pages_listed_grow_with_the_count_of_objects_and_not_with_its_square() -> None:
    shelf, bin_, pages = shelf_of(5000), Bin(lists=True), list[int]()
    place = {path: n for n, path in enumerate(shelf.objects)}

    def counted(paths: Sequence[str]) -> dict[str, Version]:
        pages.append(1 + (place[max(paths)] - place[min(paths)]) // PAGE)
        return listing(paths)

    listing, bin_.listing = bin_.listing, counted  # type: ignore[method-assign]
    require_all(shelf, bin_, copied(shelf, bin_))
    assert sum(pages) <= 3 * 5, "were each group strewn over the folder, it would be six times five"


def test_a_listing_begins_at_the_first_and_ends_with_the_last_of_what_is_looked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store, asked = MemoryStore(), list[int]()
    for n in range(5000):
        obstore.put(store, f"folder/{n:04}.gz", b"1")
    listed = obstore.list

    def counted(*args: Any, **about: Any) -> Iterator[Any]:
        for page in listed(*args, **about):
            asked.append(len(page))
            yield page

    monkeypatch.setattr(obstore, "list", counted)
    reader = Reader(store, "memory", lambda path, _: RefusedError(path), conditional=False)  # type: ignore[arg-type]
    paths = [f"folder/{n:04}.gz" for n in range(3050, 3950)]
    assert set(reader.listing(paths)) == set(paths)
    assert asked == [1000]


def test_a_listing_is_asked_for_after_all_it_shows_were_put() -> None:
    shelf, bin_ = shelf_of(500), Bin(lists=True)
    listing, seen = bin_.listing, set[str]()

    def all_there(paths: Sequence[str]) -> dict[str, Version]:
        assert set(paths) <= set(bin_.objects)
        seen.update(paths)
        return listing(paths)

    bin_.listing = all_there  # type: ignore[method-assign]
    require_all(shelf, bin_, copied(shelf, bin_))
    assert seen == set(shelf.objects)


@settings(max_examples=30, deadline=None)
@given(st.sets(st.integers(0, 59)), st.sets(st.integers(0, 59)), st.sampled_from(["left out", "another tag", "size"]))
def test_what_a_listing_does_not_show_as_it_should_be_is_looked_at(
    at_source: set[int], at_destination: set[int], shown: str
) -> None:
    shelf, bin_ = shelf_of(60), Bin(lists=True)
    paths = list(shelf.objects)

    def spoilt(which: set[int]) -> Callable[[dict[str, Version]], dict[str, Version]]:
        def alter(found: dict[str, Version]) -> dict[str, Version]:
            for path in {paths[n] for n in which} & set(found):
                version = found.pop(path)
                if shown == "another tag":
                    found[path] = Version(version.size, "stale")
                elif shown == "size":
                    found[path] = Version(version.size + 1, version.tag)
            return found

        return alter

    altered(shelf, spoilt(at_source))
    altered(bin_, spoilt(at_destination))
    require_all(shelf, bin_, copied(shelf, bin_))
    assert {call.path for call in shelf.calls if call.name == "look"} == {paths[n] for n in at_source}
    assert {call.path for call in bin_.calls if call.name == "look"} == {paths[n] for n in at_destination}
    assert bin_.count("delete") == 0


def test_a_listing_that_writes_tags_in_other_quotes_shows_the_same() -> None:
    shelf, bin_ = shelf_of(50), Bin(lists=True)
    for end in (shelf, bin_):
        altered(end, lambda found: {path: Version(one.size, f'"{one.tag}"') for path, one in found.items()})
    require_all(shelf, bin_, copied(shelf, bin_))
    assert shelf.count("look") == bin_.count("look") == 0


def test_what_is_damaged_at_the_destination_is_found_out_and_removed() -> None:
    shelf, bin_ = shelf_of(50), Bin(lists=True)
    bin_.befall("listing", lambda _: bin_.objects.update({"object-0007": b"damaged"}), times=1)
    outcomes = copied(shelf, bin_)
    bad = outcomes.pop("object-0007")
    assert isinstance(bad, NotCopied)
    assert (type(bad.error), bad.end) == (CorruptedUploadError, "destination")
    assert "object-0007" not in bin_.objects
    assert all(isinstance(outcome, Copied) for outcome in outcomes.values())


def test_what_was_replaced_at_the_source_meanwhile_is_copied_anew() -> None:
    shelf, bin_ = shelf_of(50), Bin(lists=True)
    newer = packed(100, "newer")
    shelf.befall("listing", lambda _: shelf.keep("object-0007", newer), times=1)
    outcomes = copied(shelf, bin_)
    require_all(shelf, bin_, outcomes)
    assert bin_.objects["object-0007"] == newer


@pytest.mark.parametrize("growth", [0, 1], ids=["of the same size", "of another size"])
@pytest.mark.parametrize("lists", [True, False], ids=["settled by listing", "settled by itself"])
def test_what_is_replaced_every_time_is_not_copied_for_ever(growth: int, lists: bool) -> None:
    shelf, bin_ = shelf_of(50), Bin(lists=lists)
    count = 0

    def replace(call: Call) -> None:
        nonlocal count
        if call.path == "object-0007":
            count += 1
            shelf.keep(call.path, packed(100 + growth * count, count))

    bin_.befall("put", replace)
    bad = copied(shelf, bin_)["object-0007"]
    assert isinstance(bad, NotCopied)
    assert type(bad.error) is ObjectChangedError
    assert "object-0007" not in bin_.objects
    assert shelf.count("read", "object-0007") < 10


def test_what_was_removed_at_the_source_meanwhile_is_missing() -> None:
    shelf, bin_ = shelf_of(50), Bin(lists=True)
    shelf.befall("listing", lambda _: shelf.objects.__delitem__("object-0007"), times=1)
    bad = copied(shelf, bin_)["object-0007"]
    assert isinstance(bad, NotCopied)
    assert type(bad.error) is ObjectMissingError


def test_what_is_another_programs_by_now_is_not_removed_on_the_word_of_a_listing() -> None:
    shelf, bin_, journal = shelf_of(50), Bin(lists=True), Notes()
    bin_.befall("listing", lambda _: bin_.objects.update({"object-0007": b"another's"}), times=1)
    journal.lost.add("object-0007")
    bad = copied(shelf, bin_, journal=journal)["object-0007"]
    assert isinstance(bad, NotCopied)
    assert type(bad.error) is LeaseLostError
    assert bin_.objects["object-0007"] == b"another's"


@pytest.mark.parametrize("end", ["source", "destination"])
@pytest.mark.parametrize(
    ("error", "asked"),
    [(NotConfiguredError("No permission."), 1), (RefusedError("No listings."), 1), (ZeroDivisionError("A bug."), 0)],
)
def test_an_end_that_does_not_list_is_looked_at_and_not_asked_to_list_again(
    end: str, error: Exception, asked: int
) -> None:
    shelf, bin_ = shelf_of(450), Bin(lists=True)
    asked_of: Shelf | Bin = shelf if end == "source" else bin_
    asked_of.befall("listing", error)
    if not asked:
        with pytest.raises(ZeroDivisionError):
            copied(shelf, bin_)
        return
    require_all(shelf, bin_, copied(shelf, bin_))
    assert asked_of.count("listing") <= 3, "by those that were asked at once"
    assert asked_of.count("look") == 450


def test_a_listing_that_fails_is_asked_for_again_and_then_done_without() -> None:
    shelf, bin_, tally = shelf_of(60), Bin(lists=True), Tally()
    bin_.befall("listing", ThrottledError("Too many requests."), times=2)
    shelf.befall("listing", StorageUnavailableError("Broken."))
    require_all(shelf, bin_, copied(shelf, bin_, tally=tally))
    assert bin_.count("look") == 0
    assert shelf.count("look") == 60
    assert shelf.count("listing") == LIMITS.tries
    assert tally.throttled == 2


def test_few_of_a_folder_are_looked_at() -> None:
    shelf, bin_ = shelf_of(19), Bin(lists=True)
    require_all(shelf, bin_, copied(shelf, bin_))
    assert shelf.count("listing") == bin_.count("listing") == 0
    assert shelf.count("look") == bin_.count("look") == 19


def test_each_folder_is_listed_by_itself_at_either_end() -> None:
    shelf, bin_ = Shelf(lists=True), Bin(lists=True)
    for n in range(120):
        shelf.keep(f"folder-{n % 2}/{n}", packed(100, n))
    wanted = [
        Transfer(path, path, f"to-{n % 3}/{n}", size=len(data))
        for n, (path, (data, _)) in enumerate(shelf.objects.items())
    ]
    outcomes = copied(shelf, bin_, wanted=wanted)
    assert all(isinstance(outcome, Copied) for outcome in outcomes.values())
    for end, folders in ((shelf, 2), (bin_, 3)):
        listed = {call.path.split("/")[0] for call in end.calls if call.name == "listing"}
        assert len(listed) == folders


def test_one_end_that_lists_is_listed_and_the_other_looked_at() -> None:
    shelf, bin_ = shelf_of(50, lists=False), Bin(lists=True)
    require_all(shelf, bin_, copied(shelf, bin_))
    assert (shelf.count("look"), bin_.count("look")) == (50, 0)


def test_results_come_while_others_are_yet_to_be_named() -> None:
    shelf, bin_, named = shelf_of(30), Bin(lists=True), threading.Event()

    def wanted() -> Any:
        yield from list(transfers(shelf))[:-1]
        while bin_.count("listing") == 0:  # by whoever tires of waiting
            named.wait(0.01)
        yield list(transfers(shelf))[-1]

    require_all(shelf, bin_, copied(shelf, bin_, wanted=wanted()))


def test_what_was_put_before_the_stop_is_seen_and_handed_out() -> None:
    shelf, bin_, stop = shelf_of(3000), Bin(lists=True), threading.Event()
    bin_.befall("put", lambda _: stop.set() if len(bin_.objects) == 150 else None)
    outcomes = copied(shelf, bin_, stop=stop)
    assert set(outcomes) == set(bin_.objects)
    assert 150 <= len(outcomes) < 400
    assert all(isinstance(outcome, Copied) for outcome in outcomes.values())


def test_an_end_that_answers_no_more_is_not_waited_for_after_the_stop() -> None:
    shelf, bin_, stop = shelf_of(3000), Bin(lists=True), threading.Event()
    bin_.befall("put", lambda _: stop.set() if len(bin_.objects) == 150 else None)
    bin_.befall("listing", StorageUnavailableError("Out of reach."))
    bin_.befall("look", StorageUnavailableError("Out of reach."))
    outcomes = copied(shelf, bin_, stop=stop)
    assert not [outcome for outcome in outcomes.values() if isinstance(outcome, Copied)]
    assert bin_.count("look") + bin_.count("listing") <= LIMITS.most_at_once, "one for each thread at most"
    assert bin_.count("delete") == 0


def test_what_was_put_before_an_end_failed_is_seen_and_handed_out() -> None:
    shelf, bin_, outcomes = shelf_of(30), Bin(lists=True), list[Copied | NotCopied]()
    one = replace(LIMITS, first_at_once=1, most_at_once=1)

    def full(_: Call) -> None:
        if len(bin_.objects) == 10:
            raise NoRoomError("Full.")

    bin_.befall("put", full)
    with pytest.raises(DestinationFailedError, match="Full"):
        outcomes.extend(copy_objects(shelf, bin_, transfers(shelf), limits=one))
    assert {outcome.transfer.key for outcome in outcomes if isinstance(outcome, Copied)} == set(bin_.objects)
    assert len(bin_.objects) == 10


def test_who_leaves_in_the_middle_waits_for_no_listing() -> None:
    shelf, bin_ = shelf_of(3000), Bin(lists=True)
    outcomes = copy_objects(shelf, bin_, transfers(shelf), limits=LIMITS)
    next(outcomes)
    outcomes.close()  # type: ignore[attr-defined]
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("copy-")] == []
    calls = len(shelf.calls) + len(bin_.calls)
    assert calls < 4000


def test_an_object_whose_size_is_told_otherwise_each_time_is_given_up() -> None:
    shelf, bin_ = Shelf(one=packed(5000)), Bin()
    shelf.look = lambda _: Version(10, "version 1")  # type: ignore[method-assign,assignment]
    limits = CopyLimits(part_bytes=1000, pause_seconds=0.001)
    (bad,) = copy_objects(shelf, bin_, [Transfer("one", "one", "one", size=10)], limits=limits)
    assert isinstance(bad, NotCopied)
    assert (type(bad.error), bad.end) == (ObjectChangedError, None)
    assert shelf.count("read") <= 5


def test_an_object_is_asked_whose_it_is_before_each_try_to_remove_it() -> None:
    data, journal = packed(100), Notes()
    shelf, bin_ = Shelf(one=data), Bin()
    bin_.objects["one"], bin_.about["one"] = b"older", (None, "")

    def taken_over(_: Call) -> None:
        journal.lost.add("one")
        raise StorageUnavailableError("Unheard.")

    bin_.befall("delete", taken_over, times=1)
    (bad,) = copy_objects(shelf, bin_, [Transfer("one", "one", "one", size=len(data))], limits=LIMITS, journal=journal)
    assert isinstance(bad, NotCopied)
    assert type(bad.error) is LeaseLostError
    assert bin_.objects["one"] == b"older"
    assert bin_.count("delete") == 1
