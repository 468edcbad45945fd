"""What the engine does in which order, how much it holds, and that it ends whatever happens; between two ends in memory."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted_ends import Bin, Call, Shelf, packed, sha256, transfers

from trainmaster.errors import (
    CorruptedUploadError,
    DestinationFailedError,
    NotConfiguredError,
    SourceFailedError,
    StorageUnavailableError,
    WaitTimedOutError,
)
from trainmaster.storage.copy import (
    Copied,
    CopyLimits,
    NotCopied,
    Tally,
    Transfer,
    copy_objects,
)
from trainmaster.storage.ends.protocols import NoRoomError, ThrottledError
from trainmaster.storage.engine.desk import weight

PART = 1000
LIMITS = CopyLimits(part_bytes=PART, pause_seconds=0.001)


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    yield
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("copy-")] == []


def shelf_of(*sizes: int) -> Shelf:
    return Shelf(**{f"object-{n}": packed(size, n) for n, size in enumerate(sizes)})


def copied(shelf: Shelf, bin_: Bin, **about: object) -> dict[str, Copied | NotCopied]:
    limits = about.pop("limits", LIMITS)
    outcomes = copy_objects(shelf, bin_, about.pop("transfers", None) or transfers(shelf), limits=limits, **about)  # type: ignore[arg-type]
    return {outcome.transfer.key: outcome for outcome in outcomes}


def require_equal(shelf: Shelf, bin_: Bin) -> None:
    assert bin_.objects == {path: data for path, (data, _) in shelf.objects.items()}
    assert bin_.under_way == {}


@settings(max_examples=40)
@given(
    st.lists(st.integers(0, 9 * PART), min_size=1, max_size=30),
    st.integers(1, 16),
    st.integers(1, 4),
    st.sampled_from([weight(PART), 3 * weight(PART), 1 << 30]),
    st.sampled_from(["right", "unknown", "too small", "too large"]),
)
def test_objects_of_all_sizes_arrive_as_they_are_within_every_limit(
    sizes: list[int], at_once: int, large_at_once: int, in_flight: int, known: str
) -> None:
    shelf, bin_, tally = shelf_of(*sizes), Bin(), Tally()
    limits = CopyLimits(
        part_bytes=PART,
        first_at_once=at_once,
        most_at_once=at_once,
        large_at_once=large_at_once,
        in_flight_bytes=in_flight,
    )
    wrong = {
        "right": lambda n: n,
        "unknown": lambda _: None,
        "too small": lambda n: n // 3,
        "too large": lambda n: n * 3,
    }
    wanted = [Transfer(path, path, path, size=wrong[known](len(data))) for path, (data, _) in shelf.objects.items()]
    outcomes = copied(shelf, bin_, transfers=iter(wanted), limits=limits, tally=tally)
    require_equal(shelf, bin_)
    for path, (data, version) in shelf.objects.items():
        outcome = outcomes[path]
        assert isinstance(outcome, Copied)
        assert (outcome.size, outcome.sha256, outcome.source_version) == (len(data), sha256(data), version)
        assert outcome.sent
        assert outcome.bytes_read >= len(data)
        if known == "right":
            assert outcome.bytes_read == len(data)
    assert tally.objects == len(sizes)
    assert (tally.at_once, tally.in_flight) == (0, 0)
    assert tally.most_at_once <= at_once
    assert tally.most_in_flight <= in_flight


def test_the_largest_go_first_and_small_ones_fill_in() -> None:
    shelf, bin_ = shelf_of(100, 3000, 200, 9000, 6000, 300), Bin()
    limits = CopyLimits(part_bytes=PART, first_at_once=1, most_at_once=1, large_at_once=1)
    full = threading.Event()
    shelf.befall("read", lambda _: full.wait(90), times=1)  # the first small one is begun at once

    def wanted() -> Iterator[Transfer]:
        yield from transfers(shelf)
        full.set()

    copied(shelf, bin_, transfers=wanted(), limits=limits)
    opened = [call.path for call in bin_.calls if call.name == "begin"]
    assert opened == ["object-3", "object-4", "object-1"]
    small = [n for n, call in enumerate(bin_.calls) if call.name == "put"]
    assert small[0] < next(n for n, call in enumerate(bin_.calls) if call.name == "begin")
    assert bin_.count("put") == 3


def test_half_of_the_hands_are_for_small_ones_while_a_large_one_goes() -> None:
    shelf, bin_ = shelf_of(60 * PART, *[100] * 20), Bin()
    all_in, begun, finished = threading.Event(), threading.Event(), threading.Event()
    shelf.befall("look", lambda _: all_in.wait(90), times=1)
    bin_.befall("begin", lambda _: begun.set())

    def wait(call: Call) -> None:
        assert (finished if call.path == "object-0" else begun).wait(90)

    def wanted() -> Iterator[Transfer]:
        yield from transfers(shelf)
        all_in.set()

    shelf.befall("read", wait)
    limits = CopyLimits(part_bytes=PART, first_at_once=8, most_at_once=8)
    small = 0
    for outcome in copy_objects(shelf, bin_, wanted(), limits=limits):
        small += outcome.transfer.key != "object-0"
        if small == 20:
            finished.set()
    require_equal(shelf, bin_)


def test_transfers_are_taken_in_a_bounded_way_ahead() -> None:
    shelf, bin_, taken = Shelf(), Bin(), 0
    data = packed(10)
    shelf.keep("same", data)

    def wanted() -> Iterator[Transfer]:
        nonlocal taken
        for taken in range(1, 20_001):
            yield Transfer(taken, "same", f"to-{taken}", size=len(data))

    outcomes = copy_objects(shelf, bin_, wanted(), limits=LIMITS)
    for given_out in range(1, 500):
        next(outcomes)
        assert taken <= given_out + 1000
    outcomes.close()  # type: ignore[attr-defined]


def test_parts_that_come_out_of_order_are_hashed_in_theirs_and_one_that_is_slow_holds_few_others() -> None:
    shelf, bin_ = shelf_of(40 * PART), Bin()
    window, beyond = threading.Event(), list[int]()

    def last_of_its_window(call: Call) -> None:
        if call.position == 0:
            assert window.wait(90)
            time.sleep(0.05)
            beyond.extend(one.position for one in shelf.calls if one.position > 7 * PART)
        elif call.position == 7 * PART:
            window.set()

    shelf.befall("read", last_of_its_window)
    limits = CopyLimits(part_bytes=PART, first_at_once=32, most_at_once=32)
    outcome = copied(shelf, bin_, limits=limits)["object-0"]
    assert isinstance(outcome, Copied)
    require_equal(shelf, bin_)
    assert outcome.sha256 == sha256(bin_.objects["object-0"])
    assert beyond == []


def test_a_server_that_throttles_is_asked_by_fewer_at_once_and_nothing_fails() -> None:
    shelf, bin_, tally = shelf_of(*[100] * 150), Bin(), Tally()
    bears, lock, inside, crowded = 3, threading.Lock(), 0, threading.Event()

    def bear(_: Call) -> None:
        nonlocal inside
        with lock:
            inside += 1
            crowd = inside
        try:
            if crowd > bears:
                crowded.set()
                raise ThrottledError("Too many requests.")
            assert crowded.wait(90)
            time.sleep(0.001)
        finally:
            with lock:
                inside -= 1

    shelf.befall("read", bear)
    limits = CopyLimits(first_at_once=16, most_at_once=32, tries=30, pause_seconds=0.005)
    outcomes = copied(shelf, bin_, limits=limits, tally=tally)
    assert all(isinstance(outcome, Copied) for outcome in outcomes.values())
    require_equal(shelf, bin_)
    assert tally.throttled > 0
    assert tally.objects == 150


def test_a_server_that_asks_for_a_pause_is_left_alone_for_that_long() -> None:
    shelf, bin_ = shelf_of(*[100] * 8), Bin()
    asked: list[tuple[float, bool]] = []
    shelf.befall("read", lambda _: asked.append((time.monotonic(), True)), times=1)
    limits = CopyLimits(first_at_once=1, most_at_once=1, pause_seconds=0.001)

    def complain(_: Call) -> None:
        asked.append((time.monotonic(), False))
        raise ThrottledError("Wait.", retry_after=0.4)

    shelf.befall("read", complain, times=1)
    shelf.befall("read", lambda _: asked.append((time.monotonic(), True)))
    copied(shelf, bin_, limits=limits)
    complained = next(at for at, well in asked if not well)
    assert min(at for at, _ in asked if at > complained) - complained >= 0.4
    require_equal(shelf, bin_)


def test_a_piece_that_fails_is_asked_for_again_and_no_other() -> None:
    shelf, bin_ = shelf_of(6 * PART, 100), Bin()
    failed: set[Call] = set()

    def once_each(call: Call) -> None:
        if call not in failed:
            failed.add(call)
            raise StorageUnavailableError("The connection broke.")

    shelf.befall("read", once_each)
    bin_.befall("put_part", once_each)
    bin_.befall("put", CorruptedUploadError("Other bytes arrived."), times=2)
    outcomes = copied(shelf, bin_)
    require_equal(shelf, bin_)
    large = outcomes["object-0"]
    assert isinstance(large, Copied)
    assert large.bytes_read == large.size
    parts = -(-large.size // PART)
    assert shelf.count("read", "object-0") == bin_.count("put_part") == 2 * parts
    assert bin_.count("put") == 3


def test_an_object_that_fails_every_time_does_not_stop_the_others_and_says_which_end_it_was() -> None:
    shelf, bin_ = shelf_of(*[100] * 20), Bin()

    def spoil(call: Call) -> None:
        if call.path in ("object-3", "object-4"):
            raise StorageUnavailableError("Broken.")

    shelf.befall("read", spoil)
    bin_.befall("put", lambda call: spoil(Call("put", call.path.replace("-7", "-3"))))
    outcomes = copied(shelf, bin_)
    failed = {key: outcome for key, outcome in outcomes.items() if isinstance(outcome, NotCopied)}
    assert {key: outcome.end for key, outcome in failed.items()} == {
        "object-3": "source",
        "object-4": "source",
        "object-7": "destination",
    }
    assert all(type(outcome.error) is StorageUnavailableError for outcome in failed.values())
    assert shelf.count("read", "object-3") == LIMITS.tries
    assert sorted(bin_.objects) == sorted(set(shelf.objects) - set(failed))


@pytest.mark.parametrize(
    ("end", "call", "error", "raised"),
    [
        ("source", "read", NotConfiguredError("No permission."), SourceFailedError),
        ("destination", "put", NotConfiguredError("No bucket."), DestinationFailedError),
        ("destination", "put", NoRoomError("Full."), DestinationFailedError),
        ("destination", "checks", NotConfiguredError("No bucket."), DestinationFailedError),
        ("destination", "put_part", NoRoomError("Full."), DestinationFailedError),
    ],
)
def test_an_end_that_is_gone_closed_or_full_ends_everything_at_once(
    end: str, call: str, error: Exception, raised: type[Exception]
) -> None:
    shelf, bin_ = shelf_of(5 * PART, *[100] * 3000), Bin()
    (shelf if end == "source" else bin_).befall(call, error)
    with pytest.raises(raised, match=str(error)):
        copied(shelf, bin_)
    assert shelf.count("read") <= 200
    assert bin_.under_way == {}


def test_an_end_that_fails_one_object_after_the_other_ends_everything() -> None:
    shelf, bin_ = shelf_of(*[100] * 3000), Bin()
    failing = threading.Event()
    bin_.befall("look", lambda _: failing.set() if len(bin_.objects) == 20 else None)

    def fail(_: Call) -> None:
        if failing.is_set():
            raise StorageUnavailableError("Out of reach.")

    bin_.befall("put", fail)
    outcomes = copy_objects(shelf, bin_, transfers(shelf), limits=CopyLimits(pause_seconds=0.001, tries=2))
    given_out = []
    with pytest.raises(DestinationFailedError, match=r"memory://bin failed 10 objects in a row.*Out of reach"):
        given_out.extend(outcomes)
    assert 20 <= sum(isinstance(outcome, Copied) for outcome in given_out) < 60
    assert 10 <= sum(isinstance(outcome, NotCopied) for outcome in given_out) < 60


@pytest.mark.parametrize("leave", ["stop", "close", "raise"])
def test_whoever_leaves_leaves_no_thread_and_nothing_half_done(leave: str) -> None:
    shelf, bin_, stop = shelf_of(50 * PART, 40 * PART, *[100] * 50), Bin(), threading.Event()
    shelf.befall("read", lambda call: time.sleep(0.002) if call.position else None)

    def wanted() -> Iterator[Transfer]:
        yield from transfers(shelf)
        while not bin_.count("put_part"):
            time.sleep(0.001)
        if leave == "raise":
            raise KeyboardInterrupt

    outcomes = copy_objects(shelf, bin_, wanted(), limits=LIMITS, stop=stop)
    if leave == "raise":
        with pytest.raises(KeyboardInterrupt):
            list(outcomes)
    else:
        next(outcomes)
        while not bin_.count("put_part"):
            time.sleep(0.001)
        stop.set() if leave == "stop" else outcomes.close()  # type: ignore[attr-defined]
        assert not [o for o in outcomes if isinstance(o, NotCopied)]
    assert bin_.under_way == {}
    calls = len(shelf.calls) + len(bin_.calls)
    time.sleep(0.05)
    assert len(shelf.calls) + len(bin_.calls) == calls


def test_who_is_told_to_stop_does_not_sit_out_a_pause() -> None:
    shelf, bin_, stop = shelf_of(100, 5 * PART), Bin(), threading.Event()
    shelf.befall("read", ThrottledError("Wait.", retry_after=3600))
    outcomes = copy_objects(shelf, bin_, transfers(shelf), limits=LIMITS, stop=stop)
    threading.Timer(0.3, stop.set).start()
    assert list(outcomes) == []  # else the test's own time runs out


def test_an_object_has_only_so_much_time() -> None:
    shelf, bin_ = shelf_of(100, 5 * PART, 200), Bin()

    def drip(call: Call) -> None:
        if call.path != "object-2":
            raise StorageUnavailableError("Slow.")

    shelf.befall("read", drip)
    limits = CopyLimits(part_bytes=PART, tries=1_000_000, pause_seconds=0.01, object_seconds=0.3)
    outcomes = copied(shelf, bin_, limits=limits)
    assert isinstance(outcomes["object-2"], Copied)
    for late in (outcomes["object-0"], outcomes["object-1"]):
        assert isinstance(late, NotCopied)
        assert isinstance(late.error, WaitTimedOutError)
        assert late.end == "source"
    assert bin_.under_way == {}


def test_bandwidth_is_kept() -> None:
    shelf, bin_ = shelf_of(*[20_000] * 10), Bin()
    started = time.monotonic()
    copied(shelf, bin_, limits=CopyLimits(bytes_per_second=100_000))
    assert time.monotonic() - started >= 0.7, "200 KB: 100 at once, 80 waited for, the last goes when that is over"
    require_equal(shelf, bin_)


def test_a_bug_comes_out_where_the_results_are_taken() -> None:
    shelf, bin_ = shelf_of(*[100] * 20), Bin()
    bin_.befall("put", ZeroDivisionError("A bug."))
    with pytest.raises(ZeroDivisionError, match="A bug"):
        copied(shelf, bin_)


def test_nothing_to_copy_asks_for_nothing() -> None:
    shelf, bin_ = Shelf(), Bin()
    assert list(copy_objects(shelf, bin_, [])) == []
    assert shelf.calls == bin_.calls == []


def test_what_is_asked_of_the_ends_for_a_small_object_is_no_more_than_four_requests() -> None:
    shelf, bin_ = shelf_of(*[100] * 10), Bin()
    copied(shelf, bin_)
    assert (len(shelf.calls), len(bin_.calls)) == (
        20,
        21,
    )  # read and looked at; put and looked at, and once asked what it checks
