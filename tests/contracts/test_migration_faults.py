"""Whole runs between stores that fail: nothing wrong is ever catalogued, nothing is lost, and the next run completes what is left."""

from __future__ import annotations

import hashlib
import os
import re
import sys
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import misbehaving_store as stores
import pytest
from catalogues import Place, copy_of, insert_as_the_application, new_dataset
from crossing import PART, Crossing, packed
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st
from library_shelves import Shelves
from misbehaving_store import OBJECT, Careless, s3_saying, supabase_saying
from postgres import Postgres
from sqlalchemy import select

from benchmarks.soaking.passage import Step
from trainmaster.catalog.catalogue import Catalogue
from trainmaster.catalog.tables import dataset_hindrances, pending_objects, training_datasets
from trainmaster.migration.batches import batches
from trainmaster.migration.copying import copy_batch
from trainmaster.migration.request import MigrateDatasetsRequest
from trainmaster.migration.result import MigrationResult
from trainmaster.storage.copy import CopyLimits

LIMITS = CopyLimits(part_bytes=PART, in_flight_bytes=64 << 20, tries=3, pause_seconds=0.01, failures_in_a_row=4)
SMALL, LARGE = 3000, PART + 3000


class Depot:
    """A user's datasets on their way to S3, in a catalogue of their own."""

    def __init__(self, crossing: Crossing, folder: Path, catalogue: Catalogue | None = None) -> None:
        self.crossing, self.user_id = crossing, uuid.uuid4()
        self.shelves = Shelves(crossing.environment, folder, self.user_id)
        self.catalogue = catalogue or self.shelves.catalogue
        self.library = replace(self.shelves.library, catalogue=self.catalogue)
        self.data: dict[UUID, list[bytes]] = {}
        """All that was ever at the source, the newest last."""

    def add(self, data: bytes | None, *, vouched: bytes | None = None) -> UUID:
        """As the application has it; with a checksum of other bytes where these are vouched for."""
        id_ = uuid.uuid4()
        if vouched is None:
            dataset = replace(new_dataset(self.user_id, id=id_, copies=(copy_of(id_, self.user_id),)), copies=())
            insert_as_the_application(self.catalogue, dataset)
        else:
            sha256 = hashlib.sha256(vouched).hexdigest()
            copy = copy_of(id_, self.user_id, size_bytes=len(vouched), sha256=sha256)
            self.catalogue.datasets.insert(new_dataset(self.user_id, id=id_, copies=(copy,)), claims=[])
        if data is not None:
            self.send(id_, data)
        return id_

    def send(self, id_: UUID, data: bytes) -> None:
        self.crossing.send(self.source(id_), data)
        self.data.setdefault(id_, []).append(data)

    def source(self, id_: UUID) -> str:
        return f"{self.user_id}/private/{id_}.jsonl.gz"

    def destination(self, id_: UUID) -> str:
        return f"{self.user_id}/datasets/{id_}.jsonl.gz"

    def run(self, limits: CopyLimits = LIMITS, **asked: Any) -> MigrationResult:
        request = MigrateDatasetsRequest(**asked)
        found = (copy_batch(self.library, batch, limits, by="a test") for batch in batches(self.library, request))
        return MigrationResult.merged(found, seconds=1)

    def hindrances(self) -> dict[UUID, Any]:
        with self.catalogue.database.reading() as connection:
            return {row.dataset_id: row for row in connection.execute(select(dataset_hindrances))}

    def pending(self) -> set[str]:
        with self.catalogue.database.reading() as connection:
            return set(connection.execute(select(pending_objects.c.path)).scalars())

    def copied(self) -> set[UUID]:
        """What the catalogue has in S3; it is there, whole, as it once was at the source, and proven to be that."""
        there, found = self.there(), set()
        with self.catalogue.database.reading() as connection:
            ids = list(connection.execute(select(training_datasets.c.id)).scalars())
        for id_ in ids:
            row = self.catalogue.datasets.get(id_, self.user_id)
            assert row
            assert (row.storage_provider, row.storage_path) == ("supabase", self.source(id_))
            if copy := row.copy_at("s3"):
                found.add(id_)
                assert copy.path == self.destination(id_)
                assert there[copy.path] in self.data[id_]
                assert (copy.size_bytes, copy.sha256) == _measured(there[copy.path])
                assert [_phase(move) for move in self.catalogue.migrations.moves(id_)] == ["copy"]
        return found

    def there(self) -> dict[str, bytes]:
        return self.crossing.at_s3(f"{self.user_id}/")

    def assert_nothing_is_left(self) -> None:
        """Objects are vouched for, and of what was begun nothing is there."""
        assert self.there().keys() == {self.destination(id_) for id_ in self.copied()}
        assert self.crossing.uploads(f"{self.user_id}/") == []
        assert self.pending() == set()

    def assert_complete(self) -> None:
        assert self.copied() == self.data.keys()
        assert {self.destination(id_): data[-1] for id_, data in self.data.items()} == self.there()
        assert self.hindrances() == {}
        self.assert_nothing_is_left()


@pytest.fixture(scope="module")
def crossing(embedded: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crossing]:
    crossing = Crossing(embedded.environment, tmp_path_factory.mktemp("crossing"))
    yield crossing
    crossing.close()


@pytest.fixture
def depot(crossing: Crossing, tmp_path: Path) -> Iterator[Depot]:
    depot = Depot(crossing, tmp_path)
    yield depot
    crossing.calm()
    depot.catalogue.close()


def test_each_failure_is_of_its_kind_says_what_to_do_and_stops_no_other(depot: Depot) -> None:
    good = [depot.add(packed(SMALL, n)) for n in range(5)] + [depot.add(packed(LARGE))]
    vouched = packed(SMALL, "vouched")
    expected = {
        depot.add(None): ("source_missing", "is not there", "Restore the object"),
        depot.add(b'{"text": "plain"}\n' * 90): ("source_unsound", "does not begin as gzip", "Upload the dataset anew"),
        depot.add(packed(SMALL)[:-7]): ("source_unsound", "breaks off", "Upload the dataset anew"),
        depot.add(packed(LARGE)[:-7]): ("source_unsound", "breaks off", "Upload the dataset anew"),
        depot.add(packed(SMALL) + b"and more"): ("source_unsound", "something else after", "Upload the dataset anew"),
        depot.add(b""): ("source_unsound", "empty", "Upload the dataset anew"),
        depot.add(packed(SMALL, "other"), vouched=vouched): ("source_unsound", "SHA-256", "Upload the dataset anew"),
    }
    bare, silent, restless = depot.add(packed(SMALL)), depot.add(packed(SMALL)), depot.add(packed(SMALL))
    depot.crossing.lose_bytes(depot.source(bare))
    expected[bare] = ("source_missing", "has its row", "Restore the object")
    depot.crossing.source.befall(supabase_saying(503, "SlowDown"), target=f"{OBJECT}.*{silent}", times=None)
    expected[silent] = ("source_unavailable", "503", "next run")
    versions = iter(range(1000))
    step = stores.meanwhile(lambda: depot.send(restless, packed(SMALL, f"version {next(versions)}")), after=True)
    depot.crossing.source.befall(step, target=f"{OBJECT}.*{restless}", times=None)
    expected[restless] = ("source_(changed|unavailable)", str(restless), "next run")

    result = depot.run()
    told = {failure.dataset_id: failure for failure in result.failures}
    assert told.keys() == expected.keys(), {expected[id_] for id_ in expected.keys() - told.keys()}
    assert (result.status, result.copied, result.ended_early) == ("completed_with_failures", len(good), "")
    kept = depot.hindrances()
    for id_, (kind, reason, advice) in expected.items():
        assert re.fullmatch(kind, told[id_].kind), told[id_]
        assert told[id_].kind == kept[id_].kind
        assert reason in told[id_].reason == kept[id_].reason
        assert advice in told[id_].advice == kept[id_].advice
    assert depot.copied() == set(good)
    assert depot.there().keys() == {depot.destination(id_) for id_ in good}
    assert depot.crossing.uploads(f"{depot.user_id}/") == []

    depot.crossing.calm()
    for id_ in expected:
        depot.send(id_, vouched if "SHA-256" in expected[id_][1] else packed(SMALL, id_))
    result = depot.run()
    assert (result.status, result.copied) == ("completed", len(expected))
    depot.assert_complete()


def test_a_hopeless_dataset_is_tried_three_times_and_then_not_until_its_row_changes_or_somebody_asks(
    depot: Depot,
) -> None:
    missing, unsound = depot.add(None), depot.add(packed(SMALL)[:-7])
    for _ in range(3):
        assert depot.run().failures_count == 2
    before = len(depot.crossing.source.passed)
    assert depot.run().failures_count == 0
    assert not [call for call in depot.crossing.source.passed[before:] if str(depot.user_id) in call.path]
    assert depot.run(retry_given_up=True).failures_count == 2
    depot.send(unsound, packed(SMALL))
    with depot.catalogue.database.writing() as connection:
        row = training_datasets
        connection.execute(
            row.update().where(row.c.id == unsound).values(updated_at=datetime.now(UTC) + timedelta(seconds=1))
        )
    assert depot.run().copied == 1
    assert depot.hindrances().keys() == {missing}
    depot.assert_nothing_is_left()


ENDING = {
    "no permission": (s3_saying(403, "AccessDenied"), "Allow the worker"),
    "disk full": (s3_saying(500, "InternalError", "no space left on device"), "full"),
    "507": (s3_saying(507, "InsufficientStorage"), "full"),
    "clock": (s3_saying(403, "RequestTimeTooSkewed"), "clock"),
    "always 500": (s3_saying(500, "InternalError"), "in a row"),
}


@pytest.mark.parametrize(("step", "said"), ENDING.values(), ids=ENDING.keys())
def test_a_destination_that_fails_half_way_ends_the_run_early_and_the_next_completes_it(
    depot: Depot, step: Step, said: str
) -> None:
    for n in range(25):
        depot.add(packed(SMALL, n))
    depot.add(packed(LARGE))
    rule = depot.crossing.destination.befall(step, "PUT POST", f"{depot.user_id}", times=None, spared=7)
    # Or each success before would let one more be on its way.
    steady = replace(LIMITS, most_at_once=LIMITS.first_at_once)
    result = depot.run(steady)
    assert result.status == "ended_early"
    assert said in result.ended_early
    assert len(result.failures) <= LIMITS.failures_in_a_row + LIMITS.first_at_once
    assert {failure.kind for failure in result.failures} <= {"destination"}
    assert 0 < len(depot.copied()) < 26
    assert rule.befell <= LIMITS.tries * (LIMITS.failures_in_a_row + LIMITS.first_at_once) + 2
    depot.crossing.calm()
    assert depot.run().status == "completed"
    depot.assert_complete()


def test_a_bucket_that_is_deleted_half_way_ends_the_run_early_and_the_next_fills_a_new_one(
    embedded: Any, tmp_path: Path
) -> None:
    crossing = Crossing(embedded.environment, tmp_path)
    depot = Depot(crossing, tmp_path)
    for n in range(20):
        depot.add(packed(SMALL, n))
    crossing.destination.befall(stores.meanwhile(crossing.delete_bucket), "PUT", str(depot.user_id), spared=5)
    # One put at a time: SeaweedFS makes a bucket anew for one that it was at when the bucket was deleted.
    result = depot.run(replace(LIMITS, first_at_once=1, most_at_once=1))
    assert result.status == "ended_early"
    assert crossing.bucket in result.ended_early
    crossing.make_bucket()
    depot.library.stores._found.clear()
    assert depot.run().status == "completed"
    depot.assert_complete()
    depot.catalogue.close()
    crossing.close()


def test_a_source_that_refuses_us_ends_the_run_early_and_the_next_completes_it(depot: Depot) -> None:
    for n in range(25):
        depot.add(packed(SMALL, n))
    refusal = supabase_saying(403, "Unauthorized", "jwt expired")
    depot.crossing.source.befall(refusal, "GET HEAD", f"{depot.user_id}", times=None, spared=10)
    result = depot.run()
    assert result.status == "ended_early"
    assert "SUPABASE_SERVICE_ROLE_KEY" in result.ended_early
    assert depot.crossing.straight["SUPABASE_SERVICE_ROLE_KEY"] not in result.ended_early
    depot.crossing.calm()
    assert depot.run().status == "completed"
    depot.assert_complete()


@pytest.mark.parametrize("hours", [-5, 5])
def test_a_worker_whose_clock_is_wrong_takes_over_no_claim_and_loses_none(
    crossing: Crossing, postgres: Postgres, tmp_path: Path, hours: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Leases are by the database's clock."""
    database = postgres.migrated()
    depot = Depot(crossing, tmp_path, Place(database, tmp_path).open())
    held, free = depot.add(packed(SMALL, 1)), depot.add(packed(SMALL, 2))
    dataset = depot.catalogue.datasets.get(held, depot.user_id)
    assert dataset
    claim = depot.catalogue.pending.claim(
        provider="s3", bucket=depot.crossing.bucket, path=depot.destination(held), dataset_id=held,
        user_id=depot.user_id, holder="somebody else", lease=timedelta(minutes=5),
    )  # fmt: skip
    assert claim
    _set_clock(monkeypatch, timedelta(hours=hours))
    result = depot.run()
    assert (result.copied, result.under_way) == (1, 1)
    assert depot.copied() == {free}
    depot.catalogue.pending.release(claim)
    assert depot.run().copied == 1
    depot.assert_complete()
    depot.catalogue.close()
    postgres.drop(database)


FROM_SOURCE: dict[str, Step] = {
    "no connection": stores.refused_connection,
    "cut": stores.cut(1000),
    "ended": stores.ended(1000),
    "shortened": stores.shortened(9),
    "lengthened": stores.lengthened(9),
    "flipped": stores.flipped(),
    "another version": stores.replaced_by(packed(LARGE, "stale")),
    "whole": stores.whole_instead,
    "500": supabase_saying(500, "InternalError"),
    "503": supabase_saying(503, "SlowDown"),
    "404": supabase_saying(404, "not_found", "Object not found"),
    "403": supabase_saying(403, "Unauthorized"),
    "html": stores.answering(200, "<html></html>", Content_Type="text/html"),
}
TO_DESTINATION: dict[str, Step] = {
    "no connection": stores.refused_connection,
    "unread": stores.unread(1000),
    "unheard": stores.unheard,
    "flipped": stores.flipped_there(),
    "swallowed": stores.swallowing,
    "500": s3_saying(500, "InternalError"),
    "503": s3_saying(503, "SlowDown"),
    "403": s3_saying(403, "AccessDenied"),
    "full": s3_saying(500, "InternalError", "no space left on device"),
    "no bucket": s3_saying(404, "NoSuchBucket"),
    "empty answer": stores.answering(200),
}
CALLS = {
    "GET": "GET",
    "HEAD": "HEAD",
    "PUT": "PUT",
    "POST": "POST",
    "DELETE": "DELETE",
    "any": "GET HEAD PUT POST DELETE",
}
UNDONE = {"swallowed", "empty answer"}
"""Answered and not done. Who says that an upload was aborted, and keeps it, is found out by nobody."""


@dataclass(frozen=True)
class Fault:
    """What befalls which calls, at the source or at the destination, after how many of them, how often."""

    at_source: bool
    name: str
    methods: str
    spared: int
    times: int

    def befall(self, crossing: Crossing) -> None:
        passage = crossing.source if self.at_source else crossing.destination
        step = (FROM_SOURCE if self.at_source else TO_DESTINATION)[self.name]
        methods = CALLS[self.methods]
        if self.name in UNDONE:
            methods = methods.replace("DELETE", "")
        passage.befall(step, methods, times=self.times, spared=self.spared)


@dataclass(frozen=True)
class Weather:
    """What a run goes through. `careless`: the destination checks nothing, and stores other bytes than the first few it is sent."""

    faults: list[Fault]
    large: bool
    vouched: bool
    careless: bool


@st.composite
def faults(draw: st.DrawFn) -> Fault:
    at_source = draw(st.booleans())
    name = draw(st.sampled_from(sorted(FROM_SOURCE if at_source else TO_DESTINATION)))
    methods = "any" if at_source else draw(st.sampled_from(sorted(CALLS)))
    return Fault(at_source, name, methods, spared=draw(st.integers(0, 12)), times=draw(st.integers(1, 8)))


EXAMPLES = int(os.environ.get("FAULT_EXAMPLES", "8"))
"""Few, for each is two runs and a third; set FAULT_EXAMPLES to look for more."""
WEATHER = st.builds(Weather, st.lists(faults(), min_size=1, max_size=5), st.booleans(), st.booleans(), st.booleans())


@given(weather=WEATHER)
@example(
    weather=Weather([Fault(at_source=False, name="403", methods="DELETE", spared=0, times=1)], False, False, False)
)
@example(
    weather=Weather([Fault(at_source=False, name="swallowed", methods="any", spared=2, times=2)], True, False, False)
)
@settings(
    max_examples=EXAMPLES,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_whatever_goes_wrong_in_whatever_order_nothing_wrong_is_catalogued_and_the_next_run_completes_all(
    crossing: Crossing, tmp_path_factory: pytest.TempPathFactory, weather: Weather
) -> None:
    depot = Depot(crossing, tmp_path_factory.mktemp("depot"))
    try:
        for n in range(4):
            data = packed(SMALL, f"{depot.user_id}/{n}")
            depot.add(data, vouched=data if weather.vouched else None)
        if weather.large:
            depot.add(packed(LARGE, depot.user_id))
        for fault in weather.faults:
            fault.befall(crossing)
        if weather.careless:
            crossing.destination.befall(Spoiling(crossing.straight, 3), "PUT POST", times=None)
        for _ in range(2):
            depot.run()
            depot.copied()
        crossing.calm()
        depot.shelves.run_out()
        result = depot.run(retry_given_up=True)
        assert result.status == "completed", result.failures
        depot.assert_complete()
    finally:
        crossing.calm()
        depot.catalogue.close()


class Spoiling(Careless):
    """Stores other bytes than it is sent, so many times; probes, which are small, it takes as they are."""

    def __init__(self, environment: Mapping[str, str], times: int) -> None:
        super().__init__(environment, self._spoil_some)
        self._left = times

    def _spoil_some(self, data: bytes) -> bytes:
        if len(data) < SMALL or not self._left:
            return data
        self._left -= 1
        return stores.flip(data)


def _measured(data: bytes) -> tuple[int, str]:
    return len(data), hashlib.sha256(data).hexdigest()


def _phase(move: Any) -> str:
    return str(move.phase)


def _set_clock(monkeypatch: pytest.MonkeyPatch, ahead: timedelta) -> None:
    """Of all of Trainmaster in this process, and of nothing else."""

    class Shifted(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return datetime.now(tz) + ahead

    for name, module in list(sys.modules.items()):
        if name.startswith("trainmaster.") and getattr(module, "datetime", None) is datetime:
            monkeypatch.setattr(module, "datetime", Shifted)
