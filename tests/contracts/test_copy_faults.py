"""Whatever stores do wrong while objects are copied: what is reported copied is there, byte for byte, and nothing half is left."""

from __future__ import annotations

import gzip
import hashlib
import threading
import uuid
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import misbehaving_store as stores
import pytest
from crossing import PART, Crossing, packed
from misbehaving_store import OBJECT, Careless, s3_saying, supabase_saying

from benchmarks.soaking.passage import Step
from trainmaster.errors import (
    CorruptedUploadError,
    DatasetRefusedError,
    DestinationFailedError,
    ObjectChangedError,
    ObjectMissingError,
    SourceFailedError,
    StorageUnavailableError,
    TrainmasterError,
    WaitTimedOutError,
)
from trainmaster.storage.copy import BegunUpload, Copied, CopyLimits, NotCopied, Transfer, copy_objects
from trainmaster.storage.ends.obstore_clients import Timeouts

LIMITS = CopyLimits(part_bytes=PART, first_at_once=4, tries=4, pause_seconds=0.01)
IMPATIENT = replace(LIMITS, tries=4)
"""Of what answers not within a second. A machine that stands still makes that of what answers as well: once, or twice."""
SMALL, LARGE = 4000, PART + 4000
PUTS = r"/\w[^/]*/[0-9a-f-]+/datasets/"


class Copying:
    """Some objects, copied from where they are to where they are to be."""

    def __init__(self, crossing: Crossing) -> None:
        self.crossing, self.user = crossing, uuid.uuid4()
        self.data: dict[str, bytes] = {}

    def add(self, *sizes: int) -> list[str]:
        return [self.put(packed(size, f"{self.user}/{number}")) for number, size in enumerate(sizes)]

    def put(self, data: bytes) -> str:
        """Its name."""
        name = uuid.uuid4().hex
        self.crossing.send(self.source(name), data)
        self.data[name] = data
        return name

    def source(self, name: str) -> str:
        return f"{self.user}/private/{name}.jsonl.gz"

    def destination(self, name: str) -> str:
        return f"{self.user}/datasets/{name}.jsonl.gz"

    def replace(self, name: str, data: bytes) -> None:
        self.crossing.send(self.source(name), data)
        self.data[name] = data

    def run(self, limits: CopyLimits = LIMITS, *, vouched: bool = False) -> dict[str, Copied | NotCopied]:
        found: dict[str, Copied | NotCopied] = {}
        self.run_into(found, limits, vouched=vouched)
        return found

    def run_into(
        self, found: dict[str, Copied | NotCopied], limits: CopyLimits = LIMITS, *, vouched: bool = False
    ) -> None:
        """All that are not among `found` yet; what came of each is there also when the copying ends early."""
        transfers = [
            Transfer(
                name,
                self.source(name),
                self.destination(name),
                sha256=hashlib.sha256(data).hexdigest() if vouched else None,
            )
            for name, data in self.data.items()
            if not isinstance(found.get(name), Copied)
        ]
        seconds = 1 if limits is IMPATIENT else 20
        source, destination = self.crossing.ends(Timeouts(seconds, seconds, 3 * seconds))
        for outcome in copy_objects(source, destination, transfers, limits=limits):
            found[outcome.transfer.key] = outcome

    def there(self) -> dict[str, bytes]:
        return {
            key.rpartition("/")[2].removesuffix(".jsonl.gz"): data
            for key, data in self.crossing.at_s3(f"{self.user}/").items()
        }

    def assert_true(self, found: dict[str, Copied | NotCopied], *, uploads: bool = False) -> None:
        """What is said to be copied is there as it is at the source; no upload is left half-way, but where `uploads` may be."""
        there = self.there()
        for name, outcome in found.items():
            if isinstance(outcome, Copied):
                data = self.data[name]
                assert there[name] == data
                assert (outcome.size, outcome.sha256) == (len(data), hashlib.sha256(data).hexdigest())
        assert uploads or not self.crossing.uploads(f"{self.user}/")

    def assert_all_copied(self, found: dict[str, Copied | NotCopied]) -> None:
        failed = {name: outcome.error for name, outcome in found.items() if isinstance(outcome, NotCopied)}
        assert not failed
        assert found.keys() == self.data.keys()
        self.assert_true(found)
        assert self.there() == self.data


@pytest.fixture(scope="module")
def shared(embedded: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crossing]:
    crossing = Crossing(embedded.environment, tmp_path_factory.mktemp("crossing"))
    yield crossing
    crossing.close()


@pytest.fixture
def crossing(shared: Crossing) -> Iterator[Crossing]:
    yield shared
    shared.calm()


@pytest.fixture
def copying(crossing: Crossing) -> Copying:
    return Copying(crossing)


@pytest.fixture
def over() -> Iterator[threading.Event]:
    """Set when the test is over: what hangs lets go."""
    event = threading.Event()
    yield event
    event.set()


PASSING_AT_SOURCE = {
    "no connection": stores.refused_connection,
    "reset": stores.cut(1500),
    "ended too soon": stores.ended(1500),
    "too short": stores.shortened(7),
    "too long": stores.lengthened(7),
    "slow": stores.dripping(1 << 20, 0.01),
    "all of it whatever the range": stores.whole_instead,
    "500": supabase_saying(500, "InternalError"),
    "502 of a proxy": stores.answering(502, "<html>Bad Gateway</html>", Content_Type="text/html"),
    "503": supabase_saying(503, "SlowDown"),
    "504": supabase_saying(504, "GatewayTimeout"),
    "544": supabase_saying(544, "DatabaseTimeout"),
    "429 with a pause": supabase_saying(429, "SlowDown", Retry_After="1"),
}


@pytest.mark.parametrize("step", PASSING_AT_SOURCE.values(), ids=PASSING_AT_SOURCE.keys())
def test_what_the_source_does_wrong_twice_is_got_over(copying: Copying, step: Step) -> None:
    names = copying.add(SMALL, SMALL, LARGE)
    small = copying.crossing.source.befall(step, target=f"{OBJECT}.*{names[0]}", times=2)
    large = copying.crossing.source.befall(step, target=f"{OBJECT}.*{names[2]}", times=2)
    copying.assert_all_copied(copying.run())
    assert min(small.befell, large.befell) >= 1


PASSING_AT_DESTINATION = {
    "no connection": stores.refused_connection,
    "reset while it is sent": stores.unread(1000),
    "done, and not said": stores.unheard,
    "other bytes arrived": stores.flipped_there(),
    "500": s3_saying(500, "InternalError", "We encountered an internal error. Please try again."),
    "503": s3_saying(503, "SlowDown", "Please reduce your request rate."),
    "503 of a proxy": stores.answering(503, "<html>Service Unavailable</html>", Content_Type="text/html"),
    "429 with a pause": s3_saying(429, "TooManyRequests", Retry_After="1"),
}


@pytest.mark.parametrize("step", PASSING_AT_DESTINATION.values(), ids=PASSING_AT_DESTINATION.keys())
def test_what_the_destination_does_wrong_twice_is_got_over(copying: Copying, step: Step) -> None:
    names = copying.add(SMALL, SMALL, LARGE)
    small = copying.crossing.destination.befall(step, "PUT", names[0], times=2)
    part = copying.crossing.destination.befall(step, "PUT", f"{names[2]}.*partNumber=2", times=2)
    copying.assert_all_copied(copying.run())
    assert (small.befell, part.befell) == (2, 2)


@pytest.mark.parametrize("step", [stores.unheard, stores.refused_connection, s3_saying(500, "InternalError")])
@pytest.mark.parametrize("call", [r"uploads", r"uploadId="], ids=["begin", "complete"])
def test_an_upload_whose_begin_or_end_is_not_heard_of_leaves_the_object_and_nothing_else(
    copying: Copying, step: Step, call: str
) -> None:
    copying.add(LARGE)
    rule = copying.crossing.destination.befall(step, "POST", call)
    copying.assert_all_copied(copying.run())
    assert rule.befell == 1


class Notes:
    """A journal."""

    def __init__(self) -> None:
        self.begun_: list[BegunUpload] = []

    def begun(self, _: Transfer, upload: BegunUpload) -> None:
        self.begun_.append(upload)

    def require_ours(self, _: Transfer) -> None:
        """It is."""


def test_an_upload_all_of_whose_parts_arrived_is_completed_without_reading_anything_again(copying: Copying) -> None:
    """As one is left by who was killed just before its end."""
    (name,) = copying.add(LARGE)
    transfer, notes = Transfer(name, copying.source(name), copying.destination(name)), Notes()
    source, destination = copying.crossing.ends(Timeouts(20, 20, 60))
    copying.crossing.destination.befall(stores.refused_connection, "POST", "uploadId=", times=None)
    (failed,) = copy_objects(source, destination, [transfer], limits=LIMITS, journal=notes)
    _assert_failed(failed, StorageUnavailableError)
    copying.crossing.calm()
    before = len(copying.crossing.source.passed)
    (copied,) = copy_objects(
        source, destination, [replace(transfer, upload=notes.begun_[0])], limits=LIMITS, journal=notes
    )
    copying.assert_all_copied({name: copied})
    assert not [call for call in copying.crossing.source.passed[before:] if OBJECT in call.path]


@pytest.mark.parametrize("size", [SMALL, LARGE], ids=["small", "large"])
def test_a_source_that_says_nothing_is_left_after_its_time_and_the_others_go_on(
    copying: Copying, over: threading.Event, size: int
) -> None:
    silent, *others = copying.add(size, SMALL, SMALL)
    rule = copying.crossing.source.befall(stores.hanging(over), target=f"{OBJECT}.*{silent}", times=None)
    found = copying.run(IMPATIENT)
    _assert_failed(found[silent], StorageUnavailableError, WaitTimedOutError)
    assert all(isinstance(found[name], Copied) for name in others)
    copying.assert_true(found)
    assert copying.there().keys() == set(others)
    assert rule.befell >= IMPATIENT.tries


def test_a_source_that_stops_half_way_is_asked_again(copying: Copying, over: threading.Event) -> None:
    name, _ = copying.add(SMALL, SMALL)
    rule = copying.crossing.source.befall(stores.stalling(1500, over), target=f"{OBJECT}.*{name}")
    copying.assert_all_copied(copying.run(IMPATIENT))
    assert rule.befell == 1


def test_a_destination_that_says_nothing_is_asked_again(copying: Copying, over: threading.Event) -> None:
    name, _ = copying.add(SMALL, SMALL)
    rule = copying.crossing.destination.befall(stores.hanging(over), "PUT", name)
    copying.assert_all_copied(copying.run(IMPATIENT))
    assert rule.befell == 1


UNSOUND = {
    "not gzip": b'{"text": "plain"}\n' * 200,
    "breaks off": packed(SMALL)[:-5],
    "breaks off within its head": b"\x1f\x8b\x08",
    "garbage behind": packed(SMALL) + b"\x1f\x8bgarbage",
    "one bit is another": stores.flip(packed(SMALL)),
    "a second member breaks off": packed(SMALL) + packed(SMALL)[:-9],
    "empty": b"",
}


@pytest.mark.parametrize("data", UNSOUND.values(), ids=UNSOUND.keys())
def test_what_is_not_whole_gzip_is_refused_with_what_was_found_and_the_others_go_on(
    copying: Copying, data: bytes
) -> None:
    others, unsound = copying.add(SMALL, SMALL), copying.put(data)
    found = copying.run()
    error = _assert_failed(found[unsound], DatasetRefusedError)
    assert copying.source(unsound) in str(error)
    assert "Upload the dataset anew" in str(error)
    assert all(isinstance(found[name], Copied) for name in others)
    assert copying.there().keys() == set(others)


def test_gzip_of_several_members_is_whole(copying: Copying) -> None:
    copying.put(packed(SMALL, 1) + packed(SMALL, 2) + gzip.compress(b""))
    copying.put(packed(PART, 1) + packed(SMALL, 2))
    copying.assert_all_copied(copying.run())


def test_an_object_that_is_not_there_is_said_to_be_missing_and_the_others_go_on(copying: Copying) -> None:
    missing, *others = copying.add(SMALL, SMALL, SMALL)
    copying.crossing.lose(copying.source(missing))
    found = copying.run()
    _assert_failed(found[missing], ObjectMissingError)
    assert copying.there().keys() == set(others)


@pytest.mark.parametrize("size", [SMALL, LARGE], ids=["small", "large"])
def test_a_row_without_bytes_is_missing_and_no_outage(copying: Copying, size: int) -> None:
    bare, other = copying.add(size, SMALL)
    copying.crossing.lose_bytes(copying.source(bare))
    found = copying.run()
    _assert_failed(found[bare], ObjectMissingError)
    assert isinstance(found[other], Copied)
    assert copying.there().keys() == {other}
    copying.assert_true(found)


@pytest.mark.parametrize("size", [SMALL, LARGE], ids=["small", "large"])
def test_a_source_that_always_gives_other_bytes_than_vouched_for_is_not_copied(copying: Copying, size: int) -> None:
    spoilt, other = copying.add(size, SMALL)
    copying.crossing.source.befall(stores.flipped(), target=f"{OBJECT}.*{spoilt}", times=None)
    found = copying.run(vouched=True)
    _assert_failed(found[spoilt], CorruptedUploadError, DatasetRefusedError)
    assert copying.there().keys() == {other}
    copying.assert_true(found)


@pytest.mark.parametrize("size", [SMALL, LARGE], ids=["small", "large"])
def test_a_bit_that_was_another_on_its_way_from_the_source_is_never_taken_for_the_object(
    copying: Copying, size: int
) -> None:
    spoilt, _ = copying.add(size, SMALL)
    rule = copying.crossing.source.befall(stores.flipped(), target=f"{OBJECT}.*{spoilt}")
    found = copying.run()
    copying.assert_true(found)
    assert rule.befell == 1
    copying.assert_all_copied(found | copying.run())


@pytest.mark.parametrize("vouched", [True, False], ids=["vouched for", "vouched for by nobody"])
def test_ranges_of_two_versions_are_never_put_together(copying: Copying, vouched: bool) -> None:
    """A cache gives the second range of another version and calls it that of the first."""
    mixed, other = copying.add(LARGE, SMALL)
    stale = stores.replaced_by(packed(LARGE, "an earlier version"))
    rule = copying.crossing.source.befall(stale, target=f"{OBJECT}.*{mixed}", times=None, spared=1)
    found = copying.run(vouched=vouched)
    assert isinstance(found[mixed], NotCopied)
    assert rule.befell >= 1
    assert copying.there().keys() == {other}
    copying.assert_true(found)
    copying.crossing.calm()
    copying.assert_all_copied(copying.run())


@pytest.mark.parametrize("size", [SMALL, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("after", [False, True], ids=["before the answer", "after the answer"])
def test_a_source_that_is_replaced_while_it_is_read_is_copied_as_it_is_or_not_at_all(
    copying: Copying, size: int, after: bool
) -> None:
    name, other = copying.add(size, SMALL)
    newer = packed(size, "newer")
    step = stores.meanwhile(lambda: copying.replace(name, newer), after=after)
    rule = copying.crossing.source.befall(step, target=f"{OBJECT}.*{name}")
    found = copying.run()
    if isinstance(found[name], NotCopied):
        _assert_failed(found[name], ObjectChangedError)
        assert name not in copying.there()
    copying.assert_true(found)
    assert rule.befell == 1
    assert isinstance(found[other], Copied)
    copying.assert_all_copied(copying.run())


def test_a_source_that_is_replaced_again_and_again_is_left_to_the_next_run(copying: Copying) -> None:
    name, other = copying.add(SMALL, SMALL)
    versions = iter(range(1000))
    step = stores.meanwhile(lambda: copying.replace(name, packed(SMALL, next(versions))), after=True)
    copying.crossing.source.befall(step, target=f"{OBJECT}.*{name}", times=None)
    found = copying.run()
    _assert_failed(found[name], ObjectChangedError, StorageUnavailableError)
    assert copying.there().keys() == {other}


def test_a_destination_that_says_it_has_what_it_has_not_is_not_believed(copying: Copying) -> None:
    lost, other = copying.add(SMALL, SMALL)
    rule = copying.crossing.destination.befall(stores.swallowing, "PUT", lost)
    found = copying.run()
    copying.assert_true(found)
    assert rule.befell == 1
    assert isinstance(found[other], Copied)
    copying.assert_all_copied(found | copying.run())


@pytest.mark.parametrize("size", [SMALL, LARGE], ids=["small", "large"])
def test_a_destination_that_checks_nothing_is_read_back(copying: Copying, size: int) -> None:
    """It takes what is sent with any checksum. What it stored as it was is believed only when it was read."""
    names = copying.add(size, SMALL)
    copying.crossing.destination.befall(Careless(copying.crossing.straight, bytes), "PUT POST", r"", times=None)
    before = len(copying.crossing.destination.passed)
    copying.assert_all_copied(copying.run())
    seen = copying.crossing.destination.passed[before:]
    read = {call.path for call in seen if call.method == "GET" and call.sent >= SMALL}
    assert {path.rpartition("/")[2].partition(".")[0] for path in read} >= set(names)


@pytest.mark.parametrize("size", [SMALL, LARGE], ids=["small", "large"])
def test_a_destination_that_stores_something_else_is_found_out_and_what_it_has_removed(
    copying: Copying, size: int
) -> None:
    spoilt, other = copying.add(size, SMALL)
    careless = Careless(copying.crossing.straight, lambda data: stores.flip(data) if len(data) > 1000 else data)
    copying.crossing.destination.befall(careless, "PUT POST", spoilt, times=None)
    checks_nothing = Careless(copying.crossing.straight, bytes)
    copying.crossing.destination.befall(checks_nothing, "PUT POST", times=None)
    found = copying.run()
    _assert_failed(found[spoilt], CorruptedUploadError)
    assert isinstance(found[other], Copied)
    assert copying.there().keys() == {other}
    copying.assert_true(found)
    copying.crossing.calm()
    copying.assert_all_copied(copying.run())


ENDING_DESTINATIONS = {
    "no permission": (s3_saying(403, "AccessDenied", "Access Denied"), "Allow the worker"),
    "no bucket": (s3_saying(404, "NoSuchBucket", "The specified bucket does not exist"), "bucket"),
    "507": (s3_saying(507, "InsufficientStorage", "disk"), "room|full|space"),
    "disk full": (s3_saying(500, "InternalError", "write: no space left on device"), "room|full|space"),
    "clock": (
        s3_saying(
            403, "RequestTimeTooSkewed", "The difference between the request time and the current time is too large."
        ),
        "clock",
    ),
    "always 500": (s3_saying(500, "InternalError"), ""),
    "always 503": (s3_saying(503, "SlowDown"), ""),
    "never a connection": (stores.refused_connection, ""),
}


@pytest.mark.parametrize(("step", "said"), ENDING_DESTINATIONS.values(), ids=ENDING_DESTINATIONS.keys())
def test_a_destination_that_takes_nothing_any_more_ends_the_run_early_and_the_next_goes_on(
    copying: Copying, step: Step, said: str
) -> None:
    copying.add(*[SMALL] * 20, LARGE)
    limits = replace(LIMITS, failures_in_a_row=4, tries=2)
    found: dict[str, Copied | NotCopied] = {}
    methods = "PUT POST" if said == "clock" else "GET HEAD PUT POST DELETE"  # HEAD is refused without a reason
    copying.crossing.destination.befall(step, methods, times=None, spared=12)
    with pytest.raises(DestinationFailedError, match=f"(?i){said}") as raised:
        copying.run_into(found, limits)
    _assert_no_secret(copying.crossing, raised.value)
    assert sum(isinstance(outcome, NotCopied) for outcome in found.values()) <= 20 // 2
    copying.crossing.calm()
    copying.assert_true(found, uploads=True)  # nobody could abort one there
    copying.run_into(found)
    copying.assert_all_copied(found)


def test_a_bucket_that_is_deleted_half_way_ends_the_run_early(embedded: Any, tmp_path: Any) -> None:
    crossing = Crossing(embedded.environment, tmp_path)
    copying = Copying(crossing)
    copying.add(*[SMALL] * 20)
    crossing.destination.befall(stores.meanwhile(crossing.delete_bucket), "PUT", "datasets/", spared=5)
    with pytest.raises(DestinationFailedError, match=crossing.bucket):
        copying.run()
    crossing.close()


ENDING_SOURCES = {
    "no permission": supabase_saying(403, "Unauthorized", "jwt expired"),
    "always 500": supabase_saying(500, "InternalError"),
    "always 544": supabase_saying(544, "DatabaseTimeout"),
    "never a connection": stores.refused_connection,
}


@pytest.mark.parametrize("step", ENDING_SOURCES.values(), ids=ENDING_SOURCES.keys())
def test_a_source_that_gives_nothing_any_more_ends_the_run_early_and_the_next_goes_on(
    copying: Copying, step: Step
) -> None:
    copying.add(*[SMALL] * 20, LARGE)
    limits = replace(LIMITS, failures_in_a_row=4, tries=2)
    found: dict[str, Copied | NotCopied] = {}
    copying.crossing.source.befall(step, "GET HEAD POST", times=None, spared=15)
    with pytest.raises(SourceFailedError) as raised:
        copying.run_into(found, limits)
    _assert_no_secret(copying.crossing, raised.value)
    copying.crossing.calm()
    copying.assert_true(found)
    copying.run_into(found)
    copying.assert_all_copied(found)


def _assert_failed(outcome: Copied | NotCopied, *kinds: type[TrainmasterError]) -> TrainmasterError:
    assert isinstance(outcome, NotCopied)
    assert isinstance(outcome.error, kinds), outcome.error
    return outcome.error


def _assert_no_secret(crossing: Crossing, error: BaseException) -> None:
    said = ""
    while error:
        said += f"{error!r} {error}"
        error = error.__cause__ or error.__context__  # type: ignore[assignment]
    for name in ("AWS_SECRET_ACCESS_KEY", "SUPABASE_SERVICE_ROLE_KEY"):
        assert crossing.straight[name] not in said
