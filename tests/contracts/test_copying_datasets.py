"""Datasets copied from Supabase to S3: verified, once, without moving readers, and nothing half-way when something fails."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import boto3
import pytest
from catalogues import at_once, insert_as_the_application
from library_shelves import BAD, S3, SUPABASE, Shelves, chats
from sqlalchemy import select, update

from trainmaster.catalog.candidates import Candidate, Selection
from trainmaster.catalog.catalogue import Catalogue
from trainmaster.catalog.datasets import Copy, Dataset
from trainmaster.catalog.tables import dataset_copies, metadata, training_datasets
from trainmaster.errors import (
    CatalogueUnavailableError,
    CorruptedUploadError,
    DatasetMissingError,
    DatasetRefusedError,
    NotConfiguredError,
    ObjectChangedError,
    ObjectMissingError,
    StorageUnavailableError,
    UploadUnderWayError,
)
from trainmaster.migration import attempt
from trainmaster.migration.batches import Batch, Named, batches
from trainmaster.migration.copying import copy_batch, copy_now, limits_of
from trainmaster.migration.plan import Pace
from trainmaster.migration.planning import pace_of, plan_migration
from trainmaster.migration.request import MigrateDatasetsRequest
from trainmaster.migration.result import BatchResult
from trainmaster.migration.shares import shared
from trainmaster.migration.window import Window
from trainmaster.storage.copy import CopyLimits, copy_objects
from trainmaster.storage.library import Library, dataset_path
from trainmaster.storage.removing import delete_dataset
from trainmaster.storage.stores import Stores
from trainmaster.storage.uploading import upload

FAST = CopyLimits(tries=2, pause_seconds=0.01)
PARTS = CopyLimits(part_bytes=5 << 20, tries=1, pause_seconds=0.01)
WITHIN = 90.0
Call = Callable[..., Any]


@pytest.fixture
def shelves(embedded: Any, tmp_path: Path) -> Iterator[Shelves]:
    shelves = Shelves(embedded.environment, tmp_path)
    yield shelves
    shelves.catalogue.close()


def uploaded(shelves: Shelves, *lines: str, **choices: Any) -> Dataset:
    """One that is in Supabase alone."""
    new = shelves.sound(shelves.request(lines or chats(marker=uuid4().hex), **choices))
    upload(shelves.library, new, [SUPABASE])
    row = shelves.catalogue.datasets.get(new.id, shelves.user_id)
    assert row
    return row


def applications_own(shelves: Shelves, content: bytes, user_id: UUID | None = None) -> Dataset:
    """One the application stored itself: its row, its object, and nothing recorded of what is in it."""
    id_, now, user_id = uuid4(), datetime.now(UTC), user_id or shelves.user_id
    path = dataset_path(SUPABASE, user_id, id_)
    put(shelves, path, content)
    dataset = Dataset(id_, user_id, "theirs", "chatml", "supabase", path, now, now)
    insert_as_the_application(shelves.catalogue, dataset)
    return dataset


def put(shelves: Shelves, path: str, content: bytes, provider: Any = SUPABASE) -> None:
    """An object, in place of what is there."""
    store, sha256 = shelves.store(provider), hashlib.sha256(content).hexdigest()
    store.delete(path)
    store.put(path, io.BytesIO(content), size=len(content), sha256=sha256, content_type="application/gzip")


def packed(marker: object = "") -> bytes:
    return gzip.compress(f"{marker}{uuid4()}".encode())


def batch_of(*datasets: Dataset | UUID, window: str = "") -> Batch:
    ids = [one if isinstance(one, UUID) else one.id for one in datasets]
    return Batch(1, tuple(Named(id_, "x") for id_ in ids), 0, Window.parse(window, "UTC"))


def run(shelves: Shelves, *datasets: Dataset | UUID, library: Library | None = None, **choices: Any) -> BatchResult:
    limits = choices.pop("limits", FAST)
    return copy_batch(library or shelves.library, batch_of(*datasets), limits, by="a test", **choices)


def current(shelves: Shelves, dataset: Dataset) -> Candidate:
    [found] = shelves.catalogue.migrations.candidates(Selection(dataset_ids=[dataset.id]))
    return found


class Between:
    """An end of a copy of which some calls go elsewhere: each is given the real call and its arguments."""

    def __init__(self, real: Any, instead: dict[str, Call]) -> None:
        self._real, self._instead = real, instead

    def __getattr__(self, name: str) -> Any:
        real, other = getattr(self._real, name), self._instead.get(name)
        return (lambda *args, **kwargs: other(real, *args, **kwargs)) if other else real


def between(
    library: Library, *, source: dict[str, Call] | None = None, destination: dict[str, Call] | None = None
) -> Library:
    """A library of whose ends these calls go elsewhere."""
    stores = library.stores
    ends = {
        "source": lambda *args: Between(stores.source(*args), source or {}),
        "destination": lambda *args: Between(stores.destination(*args), destination or {}),
    }
    others = SimpleNamespace(home=stores.home, at=stores.at, is_shared=stores.is_shared, **ends)
    return replace(library, stores=others)  # type: ignore[arg-type]


def never(_real: Call, *_args: Any, **_kwargs: Any) -> Any:
    raise AssertionError("bytes were moved")


def unavailable(_real: Call, *_args: Any, **_kwargs: Any) -> Any:
    raise StorageUnavailableError("It is out of reach.")


def first(happens: Call) -> Call:
    """Something happens before a call goes on."""

    def call(real: Call, *args: Any, **kwargs: Any) -> Any:
        happens()
        return real(*args, **kwargs)

    return call


def assert_nothing_came(shelves: Shelves, dataset: Dataset) -> None:
    """S3 has nothing, the row is as it was, and nobody holds anything."""
    assert [each for each in shelves.objects() if each.startswith("s3:")] == []
    assert shelves.pending() == 0
    row = shelves.catalogue.datasets.get(dataset.id, dataset.user_id)
    assert row is None or row.copy_at("s3") is None


class TestCopyingNow:
    def test_a_copy_has_the_very_bytes_and_readers_stay_where_they_are(self, shelves: Shelves) -> None:
        before = uploaded(shelves)
        [after] = copy_now(shelves.library, [before])
        theirs, ours = after.copy_at("supabase"), after.copy_at("s3")
        assert theirs
        assert ours
        assert (ours.sha256, ours.size_bytes) == (theirs.sha256, theirs.size_bytes)
        assert ours.path == f"{shelves.user_id}/datasets/{before.id}.jsonl.gz"
        assert ours.verified_by.startswith("trainmaster migrate ")
        assert (after.storage_provider, after.storage_path) == ("supabase", before.storage_path)
        assert after.updated_at == before.updated_at
        with shelves.store(S3).get(ours.path) as chunks:
            assert hashlib.sha256(b"".join(chunks)).hexdigest() == ours.sha256
        assert shelves.pending() == 0

    def test_what_was_dropped_is_copied_too_and_goes_with_the_dataset(self, shelves: Shelves) -> None:
        dataset = uploaded(shelves, *chats(9), BAD, max_bad_fraction=0.1)
        copy_now(shelves.library, [dataset])
        assert len([each for each in shelves.objects() if each.endswith(".dropped.jsonl.gz")]) == 2
        delete_dataset(shelves.library, dataset.id, shelves.user_id)
        assert shelves.objects() == set()

    def test_what_was_dropped_and_is_gone_holds_no_dataset_up(self, shelves: Shelves) -> None:
        dataset = uploaded(shelves, *chats(9), BAD, max_bad_fraction=0.1)
        shelves.store(SUPABASE).delete(dataset.storage_path.replace(".jsonl", ".dropped.jsonl"))
        assert copy_now(shelves.library, [dataset])[0].copy_at("s3")

    def test_a_dataset_is_not_there_before_what_was_dropped_from_it(self, shelves: Shelves) -> None:
        dataset = uploaded(shelves, *chats(9), BAD, max_bad_fraction=0.1)

        def put(real: Call, key: str, *args: Any, **kwargs: Any) -> Any:
            return unavailable(real) if "dropped" in key else real(key, *args, **kwargs)

        with pytest.raises(StorageUnavailableError):
            copy_now(between(shelves.library, destination={"put": put}), [dataset], limits=FAST)
        assert [each for each in shelves.objects() if each.startswith("s3:")] == []
        assert copy_now(shelves.library, [dataset])[0].copy_at("s3")

    def test_of_what_the_application_stored_itself_both_copies_are_recorded(self, shelves: Shelves) -> None:
        content = gzip.compress("".join(f"{line}\n" for line in chats(200)).encode())
        dataset = applications_own(shelves, content)
        [done] = copy_now(shelves.library, [dataset])
        assert {(copy.provider, copy.path) for copy in done.copies} == {
            ("s3", f"{shelves.user_id}/datasets/{dataset.id}.jsonl.gz"), ("supabase", dataset.storage_path),
        }  # fmt: skip
        assert {(copy.sha256, copy.size_bytes) for copy in done.copies} == {
            (hashlib.sha256(content).hexdigest(), len(content))
        }
        assert all(copy.version for copy in done.copies)

    def test_again_moves_no_byte(self, shelves: Shelves) -> None:
        dataset = uploaded(shelves)
        first_time = copy_now(shelves.library, [dataset])
        spied = between(
            shelves.library, source={"read": never, "look": never}, destination={"put": never, "look": never}
        )
        assert copy_now(spied, [dataset]) == first_time

    def test_of_many_at_once_one_copies_and_the_others_wait_for_it(self, shelves: Shelves) -> None:
        dataset, sent = uploaded(shelves), list[str]()

        def put(real: Call, key: str, *args: Any, **kwargs: Any) -> Any:
            if "datasets/" in key and str(dataset.id) in key:
                sent.append(key)
            return real(key, *args, **kwargs)

        spied = between(shelves.library, destination={"put": put})
        done = at_once(4, lambda _: copy_now(spied, [dataset]))
        assert len(sent) == 1
        assert [each[0].copy_at("s3") for each in done] == [done[0][0].copy_at("s3")] * 4
        assert (len(shelves.objects()), shelves.pending()) == (2, 0)

    def test_who_waits_too_long_for_another_is_told(self, shelves: Shelves) -> None:
        dataset = uploaded(shelves)
        taken(shelves, dataset)
        with pytest.raises(UploadUnderWayError, match=f"copying dataset {dataset.id}"):
            copy_now(shelves.library, [dataset], wait_seconds=0)

    def test_a_row_that_is_changed_meanwhile_is_copied_anew(self, shelves: Shelves) -> None:
        dataset, times = uploaded(shelves), list[int]()

        def put(real: Call, *args: Any, **kwargs: Any) -> Any:
            times.append(1)
            if len(times) == 1:
                touch(shelves, dataset)
            return real(*args, **kwargs)

        [done] = copy_now(between(shelves.library, destination={"put": put}), [dataset])
        assert done.copy_at("s3")
        assert len(times) == 2


def touch(shelves: Shelves, dataset: Dataset) -> None:
    """As the application does it when somebody renames a dataset."""
    with shelves.catalogue.database.writing() as connection:
        row = update(training_datasets).where(training_datasets.c.id == dataset.id)
        connection.execute(row.values(name="renamed", updated_at=datetime.now(UTC)))


def taken(shelves: Shelves, dataset: Dataset, holder: str = "somebody else") -> Any:
    """A claim of somebody else's."""
    at = shelves.store(S3).bucket, dataset_path(S3, dataset.user_id, dataset.id)
    wanted = [(current(shelves, dataset), "s3", *at)]
    [claim] = shelves.catalogue.migrations.claim(wanted, holder=holder, lease=timedelta(minutes=5)).held  # type: ignore[arg-type]
    return claim


class TestRefusals:
    @pytest.mark.parametrize(
        ("content", "said"),
        [
            (gzip.compress(b"{}\n" * 9000)[:-20], "break"),
            (gzip.compress(b"{}\n") + b"tail", "after the end"),
            (gzip.compress(b"{}\n" * 99)[:-8] + b"\0" * 8, "gzip"),
            (b'{"messages": []}\n', "does not begin as gzip does"),
            (b"", "is empty; a dataset is stored as whole gzip"),
        ],
        ids=["cut", "tail", "checksum", "plain", "empty"],
    )
    def test_what_is_no_whole_gzip_is_refused(self, content: bytes, said: str, shelves: Shelves) -> None:
        dataset = applications_own(shelves, content)
        with pytest.raises(DatasetRefusedError, match=said):
            copy_now(shelves.library, [dataset])
        assert_nothing_came(shelves, dataset)
        hindrance = current(shelves, dataset).hindrance
        assert hindrance
        assert (hindrance.kind, hindrance.failures) == ("source_unsound", 1)

    def test_other_bytes_than_were_catalogued_are_refused(self, shelves: Shelves) -> None:
        dataset = uploaded(shelves)
        put(shelves, dataset.storage_path, packed())
        with pytest.raises(CorruptedUploadError, match="it is not what was"):
            copy_now(shelves.library, [dataset])
        assert_nothing_came(shelves, dataset)
        assert current(shelves, dataset).hindrance.kind == "source_unsound"  # type: ignore[union-attr]

    def test_a_source_that_is_gone_is_said_and_given_up_after_three_times(self, shelves: Shelves) -> None:
        dataset = uploaded(shelves)
        shelves.store(SUPABASE).delete(dataset.storage_path)
        with pytest.raises(ObjectMissingError, match=str(dataset.id)):
            copy_now(shelves.library, [dataset])
        assert_nothing_came(shelves, dataset)
        mine = MigrateDatasetsRequest(user_id=str(shelves.user_id))
        for _ in range(2):
            [batch] = batches(shelves.library, mine)
            [failure] = copy_batch(shelves.library, batch, FAST, by="a test").failures
            assert (failure.kind, failure.advice.split()[0]) == ("source_missing", "Restore")
        assert list(batches(shelves.library, mine)) == []
        assert len(list(batches(shelves.library, mine.model_copy(update={"retry_given_up": True})))) == 1
        assert plan_migration(shelves.library, mine).given_up.first[0].dataset_id == dataset.id
        touch(shelves, dataset)
        assert len(list(batches(shelves.library, mine))) == 1

    def test_a_source_that_is_replaced_while_it_is_read_is_not_copied(self, shelves: Shelves) -> None:
        dataset = applications_own(shelves, packed())
        replacing = first(lambda: put(shelves, dataset.storage_path, packed("other")))
        with pytest.raises(ObjectChangedError):
            copy_now(between(shelves.library, destination={"put": replacing}), [dataset])
        assert_nothing_came(shelves, dataset)

    def test_a_dataset_that_is_deleted_meanwhile_leaves_nothing(self, shelves: Shelves) -> None:
        dataset = uploaded(shelves)
        deleting = first(lambda: delete_dataset(shelves.library, dataset.id, shelves.user_id))
        with pytest.raises(DatasetMissingError):
            copy_now(between(shelves.library, source={"look": first_time(deleting)}), [dataset])
        assert (shelves.objects(), shelves.pending()) == (set(), 0)

    def test_a_dataset_that_was_never_there_is_missing(self, shelves: Shelves) -> None:
        dataset = uploaded(shelves)
        delete_dataset(shelves.library, dataset.id, shelves.user_id)
        with pytest.raises(DatasetMissingError):
            copy_now(shelves.library, [dataset])
        assert (shelves.objects(), shelves.pending()) == (set(), 0)

    def test_a_row_that_names_somebody_elses_object_is_refused(self, shelves: Shelves) -> None:
        theirs = f"{uuid4()}/private/x.jsonl.gz"
        dataset = replace(applications_own(shelves, packed()), id=uuid4(), storage_path=theirs)
        insert_as_the_application(shelves.catalogue, dataset)
        with pytest.raises(DatasetRefusedError, match="names no object of its user"):
            copy_now(shelves.library, [dataset])
        assert_nothing_came(shelves, dataset)
        assert current(shelves, dataset).hindrance is None


def first_time(call: Call) -> Call:
    """Later times the call goes on as it is."""
    times = list[int]()

    def once(real: Call, *args: Any, **kwargs: Any) -> Any:
        times.append(1)
        return call(real, *args, **kwargs) if len(times) == 1 else real(*args, **kwargs)

    return once


class TestBatches:
    def test_each_dataset_of_a_batch_comes_to_what_is_its_own(self, shelves: Shelves) -> None:
        sound = [applications_own(shelves, packed(n)) for n in range(3)]
        there, others, deleted = (applications_own(shelves, packed(n)) for n in "abc")
        run(shelves, there)
        taken(shelves, others)
        delete_dataset(shelves.library, deleted.id, shelves.user_id)
        gone, plain = applications_own(shelves, packed()), applications_own(shelves, b"text")
        shelves.store(SUPABASE).delete(gone.storage_path)
        result = run(shelves, *sound, there, others, deleted, gone, plain)
        assert (result.copied, result.found, result.under_way, result.gone, result.left) == (3, 1, 1, 1, 0)
        assert {(one.dataset_id, one.kind) for one in result.failures} == {
            (gone.id, "source_missing"), (plain.id, "source_unsound"),
        }  # fmt: skip
        assert result.datasets == 8
        assert (result.ended_early, result.stopped) == ("", False)
        copies = [current(shelves, one).s3 for one in sound]
        assert result.bytes == sum(copy.size_bytes for copy in copies if copy)
        assert result.bytes_read >= result.bytes
        assert {copy.verified_by for copy in copies if copy} == {"a test"}
        assert [move.by for move in shelves.catalogue.migrations.moves(sound[0].id)] == ["a test"]

    def test_copies_are_catalogued_in_groups(self, shelves: Shelves, monkeypatch: pytest.MonkeyPatch) -> None:
        datasets, groups = [applications_own(shelves, packed(n)) for n in range(30)], list[int]()
        real = shelves.catalogue.migrations.copied

        def copied(settled: Sequence[Any], **by: Any) -> Any:
            groups.append(len(settled))
            return real(settled, **by)

        monkeypatch.setattr(shelves.catalogue.migrations, "copied", copied)
        assert run(shelves, *datasets).copied == sum(groups) == 30
        assert len(groups) < 30

    def test_what_a_try_that_died_left_whole_is_adopted_without_reading_the_source(
        self, shelves: Shelves, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        dataset = applications_own(shelves, packed())
        with monkeypatch.context() as patch:
            patch.setattr(shelves.catalogue.migrations, "copied", catalogue_away)
            with pytest.raises(CatalogueUnavailableError):
                run(shelves, dataset)
        assert current(shelves, dataset).s3 is None
        result = run(shelves, dataset, library=between(shelves.library, source={"read": never}))
        assert (result.copied, result.adopted, result.bytes_read) == (1, 1, 0)
        assert current(shelves, dataset).s3
        assert shelves.pending() == 0

    def test_a_large_object_is_taken_up_where_a_try_before_broke_off(self, shelves: Shelves) -> None:
        dataset, sent = applications_own(shelves, gzip.compress(os.urandom(17 << 20), 0)), list[int]()

        def put_part(real: Call, key: str, upload_id: str, number: int, *args: Any, **kwargs: Any) -> Any:
            sent.append(number)
            return unavailable(real) if number == 4 else real(key, upload_id, number, *args, **kwargs)

        result = run(
            shelves, dataset, library=between(shelves.library, destination={"put_part": put_part}), limits=PARTS
        )
        assert [one.kind for one in result.failures] == ["destination"]
        assert sorted(sent) == [1, 2, 3, 4]
        read = list[int]()

        def reading(real: Call, path: str, start: int, *args: Any, **kwargs: Any) -> Any:
            read.append(start)
            return real(path, start, *args, **kwargs)

        result = run(shelves, dataset, library=between(shelves.library, source={"read": reading}), limits=PARTS)
        assert [one.reason for one in result.failures] == []
        assert result.copied == 1
        assert read == [15 << 20]
        assert uploads_left(shelves) == []

    def test_a_row_that_is_changed_while_it_is_copied_is_copied_by_the_next_run(self, shelves: Shelves) -> None:
        dataset = uploaded(shelves)
        touching = first(lambda: touch(shelves, dataset))
        result = run(shelves, dataset, library=between(shelves.library, destination={"put": touching}))
        assert [(one.kind, one.name) for one in result.failures] == [("source_changed", "renamed")]
        assert_nothing_came(shelves, dataset)
        assert run(shelves, dataset).copied == 1
        assert current(shelves, dataset).hindrance is None

    def test_what_somebody_else_took_over_is_his(self, shelves: Shelves) -> None:
        dataset = uploaded(shelves)

        def takes_over() -> None:
            shelves.run_out()
            taken(shelves, dataset)

        library = between(shelves.library, source={"look": first_time(first(takes_over))})
        result = run(shelves, dataset, library=library)
        assert (result.copied, result.under_way, result.failures) == (0, 1, ())
        assert current(shelves, dataset).s3 is None
        assert shelves.pending() == 1
        assert shelves.store(S3).stat(dataset_path(S3, shelves.user_id, dataset.id))  # he may have put it

    def test_batches_that_overlap_copy_each_dataset_once(self, shelves: Shelves) -> None:
        datasets, sent = [applications_own(shelves, packed(n)) for n in range(20)], list[str]()

        def put(real: Call, key: str, *args: Any, **kwargs: Any) -> Any:
            sent.append(key)
            return real(key, *args, **kwargs)

        spied = between(shelves.library, destination={"put": put})
        results = at_once(3, lambda n: run(shelves, *datasets[5 * n :], *datasets[: 5 * n], library=spied))
        assert sum(result.copied for result in results) == 20
        assert sorted(sent) == sorted(dataset_path(S3, shelves.user_id, one.id) for one in datasets)
        assert all(result.failures == () for result in results)
        assert shelves.pending() == 0

    def test_a_claim_is_kept_for_as_long_as_it_is_worked_on(
        self, shelves: Shelves, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Somebody else waits until the lease would have run out without renewal, and does not get it."""
        dataset, renewed, told = uploaded(shelves), threading.Event(), list[BatchResult]()
        real = shelves.catalogue.migrations.renew

        def renew(holder: str, lease: timedelta) -> int:
            count = real(holder, lease)
            renewed.set()
            return count

        def put(real: Call, *args: Any, **kwargs: Any) -> Any:
            assert renewed.wait(WITHIN)
            told.append(run(shelves, dataset))
            return real(*args, **kwargs)

        monkeypatch.setattr(shelves.catalogue.migrations, "renew", renew)
        short = replace(between(shelves.library, destination={"put": put}), lease=timedelta(seconds=8))
        assert run(shelves, dataset, library=short).copied == 1
        assert [one.under_way for one in told] == [1]

    def test_a_store_that_fails_one_dataset_stops_no_other(self, shelves: Shelves) -> None:
        datasets = [applications_own(shelves, packed(n)) for n in range(4)]

        def reading(real: Call, path: str, *args: Any, **kwargs: Any) -> Any:
            return unavailable(real) if path == datasets[0].storage_path else real(path, *args, **kwargs)

        result = run(shelves, *datasets, library=between(shelves.library, source={"read": reading}))
        assert (result.copied, result.ended_early) == (3, "")
        assert [(one.dataset_id, one.kind) for one in result.failures] == [(datasets[0].id, "source_unavailable")]
        assert run(shelves, *datasets).copied == 1

    def test_a_size_below_nothing_that_the_application_noted_fails_nobody(self, shelves: Shelves) -> None:
        datasets = [applications_own(shelves, packed(n)) for n in range(6)]
        with shelves.catalogue.database.writing() as connection:
            row = update(training_datasets).where(training_datasets.c.id == datasets[0].id)
            connection.execute(row.values(file_size_bytes=-(10**9)))
        [batch] = batches(shelves.library, MigrateDatasetsRequest(user_id=str(shelves.user_id)))
        assert batch.bytes >= 0
        plan = plan_migration(shelves.library, MigrateDatasetsRequest(user_id=str(shelves.user_id)))
        assert plan.bytes >= 0
        assert plan.unknown_sizes >= 1
        result = copy_batch(shelves.library, batch, FAST, by="a test")
        assert (result.copied, result.failures) == (6, ())

    def test_a_batch_whose_window_has_closed_is_not_begun(self, shelves: Shelves) -> None:
        dataset, hour = uploaded(shelves), datetime.now(UTC).hour
        closed = batch_of(dataset, window=f"{(hour + 2) % 24:02}:00-{(hour + 3) % 24:02}:00")
        result = copy_batch(shelves.library, closed, FAST, by="a test")
        assert (result.left, result.window_closed, result.copied) == (1, True, 0)
        assert_nothing_came(shelves, dataset)

    def test_a_batch_that_is_told_to_stop_gives_the_rest_back_at_once(self, shelves: Shelves) -> None:
        datasets, stop = [applications_own(shelves, packed(n)) for n in range(12)], threading.Event()

        def looking(real: Call, *args: Any, **kwargs: Any) -> Any:
            stop.set()
            return real(*args, **kwargs)

        one = replace(FAST, most_at_once=1)
        library = between(shelves.library, source={"look": looking})
        result = run(shelves, *datasets, library=library, limits=one, stop=stop)
        assert result.stopped
        assert result.copied + result.left == 12
        again = run(shelves, *datasets)
        assert (again.copied, again.found, again.under_way) == (result.left, result.copied, 0)

    def test_limits_are_shared_by_the_batches_of_a_run(self) -> None:
        assert limits_of(MigrateDatasetsRequest(workers=1)) == CopyLimits()
        four = limits_of(MigrateDatasetsRequest(workers=4, megabytes_per_second=10))
        assert (four.in_flight_bytes, four.bytes_per_second, four.most_at_once) == (64 << 20, 2_500_000, 16)
        many = limits_of(MigrateDatasetsRequest(workers=64, megabytes_per_second=0.000001))
        assert (many.in_flight_bytes, many.bytes_per_second, many.most_at_once) == (32 << 20, 1, 1)
        assert many.part_bytes >= 5 << 20


def catalogue_away(*_: Any, **__: Any) -> Any:
    raise CatalogueUnavailableError("The catalogue is out of reach.")


def uploads_left(shelves: Shelves) -> list[Any]:
    found = shelves.s3.list_multipart_uploads(Bucket=shelves.store(S3).bucket, Prefix=f"{shelves.user_id}/")
    return list(found.get("Uploads", []))


class TestEnds:
    def test_a_bucket_that_is_gone_ends_it_and_the_rest_is_free_at_once(self, shelves: Shelves) -> None:
        datasets, puts = [applications_own(shelves, packed(n)) for n in range(12)], list[str]()

        def put(real: Call, key: str, *args: Any, **kwargs: Any) -> Any:
            puts.append(key)
            if len(puts) > 3:
                raise NotConfiguredError("S3 bucket 'b' does not exist. Create it.")
            return real(key, *args, **kwargs)

        one = replace(FAST, most_at_once=1)
        result = run(shelves, *datasets, library=between(shelves.library, destination={"put": put}), limits=one)
        assert len(puts) == 4
        assert "S3 bucket 'b' does not exist. Create it." in result.ended_early
        assert (result.copied, result.left, result.failures) == (3, 9, ())
        again = run(shelves, *datasets)
        assert (again.copied, again.found, again.under_way) == (9, 3, 0)

    def test_what_went_with_its_bucket_is_not_catalogued(self, shelves: Shelves) -> None:
        bucket, puts = f"going-{uuid4().hex[:8]}", list[str]()
        settings = shelves.settings.model_copy(update={"dataset_bucket": bucket})
        library = replace(shelves.library, stores=Stores(settings, lambda: shelves.s3))
        datasets = [applications_own(shelves, packed(n)) for n in range(9)]

        def put(real: Call, key: str, *args: Any, **kwargs: Any) -> Any:
            puts.append(key)
            if len(puts) == 4:
                empty(shelves, bucket)
                shelves.s3.delete_bucket(Bucket=bucket)
            return real(key, *args, **kwargs)

        shelves.s3.create_bucket(Bucket=bucket)
        one = replace(FAST, most_at_once=1)
        result = run(shelves, *datasets, library=between(library, destination={"put": put}), limits=one)
        assert bucket in result.ended_early
        catalogued = [one for one in datasets if current(shelves, one).s3]
        assert len(catalogued) == result.copied < 4  # those catalogued while the bucket was there
        shelves.s3.create_bucket(Bucket=bucket)
        assert run(shelves, *datasets, library=library).copied == 9 - result.copied
        empty(shelves, bucket)
        shelves.s3.delete_bucket(Bucket=bucket)

    def test_a_source_that_is_away_ends_it_after_some_and_not_after_all(self, shelves: Shelves) -> None:
        datasets = [applications_own(shelves, packed(n)) for n in range(30)]
        limits = replace(FAST, failures_in_a_row=3, most_at_once=1)
        result = run(shelves, *datasets, library=between(shelves.library, source={"read": unavailable}), limits=limits)
        assert "failed 3 objects in a row" in result.ended_early
        assert [one.kind for one in result.failures] == ["source_unavailable"] * 3
        assert result.left == 27
        assert run(shelves, *datasets).copied == 30

    def test_a_bucket_of_supabase_that_is_gone_fails_those_alone_whose_copies_were_in_it(
        self, shelves: Shelves
    ) -> None:
        others = [applications_own(shelves, packed(n)) for n in range(3)]
        moved = uploaded(shelves)
        with shelves.catalogue.database.writing() as connection:
            rows = update(dataset_copies).where(dataset_copies.c.dataset_id == moved.id)
            connection.execute(rows.values(bucket="an-old-bucket"))
        result = run(shelves, moved, *others)
        assert (result.copied, result.ended_early, result.left) == (3, "", 0)
        [failure] = result.failures
        assert (failure.dataset_id, failure.kind) == (moved.id, "not_set_up")
        assert "an-old-bucket" in failure.reason

    def test_without_the_one_bucket_of_everybody_nothing_begins(self, shelves: Shelves) -> None:
        dataset = uploaded(shelves)
        settings = shelves.settings.model_copy(update={"dataset_bucket": f"nothing-{uuid4().hex[:8]}"})
        library = replace(shelves.library, stores=Stores(settings, lambda: shelves.s3))
        result = run(shelves, dataset, library=library)
        assert "does not exist" in result.ended_early
        assert (result.left, result.failures) == (1, ())
        with pytest.raises(NotConfiguredError, match="does not exist"):
            copy_now(library, [dataset])
        with pytest.raises(NotConfiguredError, match="does not exist"):
            plan_migration(library, MigrateDatasetsRequest(user_id=str(shelves.user_id)))
        assert_nothing_came(shelves, dataset)


class TestBucketsOfTheirOwn:
    @pytest.fixture
    def library(self, shelves: Shelves) -> Library:
        settings = shelves.settings.model_copy(update={"dataset_bucket": "of-{user_id}"})
        return replace(shelves.library, stores=Stores(settings, lambda: shelves.s3))

    def test_who_has_none_is_left_out_and_stops_nobody(self, shelves: Shelves, library: Library) -> None:
        with bucket_of(shelves, shelves.user_id), bucket_of(shelves, other := uuid4()):
            mine, theirs = applications_own(shelves, packed()), applications_own(shelves, packed(), other)
            homeless = applications_own(shelves, packed(), uuid4())
            result = run(shelves, mine, theirs, homeless, library=library)
            assert (result.copied, result.ended_early) == (2, "")
            [failure] = result.failures
            assert (failure.dataset_id, failure.kind) == (homeless.id, "not_set_up")
            assert f"'of-{homeless.user_id}' does not exist" in failure.reason
            assert [current(shelves, one).s3.bucket for one in (mine, theirs)] == [  # type: ignore[union-attr]
                f"of-{shelves.user_id}", f"of-{other}",
            ]  # fmt: skip
            with pytest.raises(NotConfiguredError, match="does not exist"):
                copy_now(library, [homeless])

    def test_as_many_are_copied_into_at_once_as_there_is_memory_for(
        self, shelves: Shelves, library: Library, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        limits, given, users = replace(FAST, in_flight_bytes=64 << 20), list[CopyLimits](), [uuid4() for _ in range(4)]

        def spied(*args: Any, limits: CopyLimits, **kwargs: Any) -> Any:
            given.append(limits)
            return copy_objects(*args, limits=limits, **kwargs)

        monkeypatch.setattr(attempt, "copy_objects", spied)
        with ExitStack() as buckets:
            for user in users:
                buckets.enter_context(bucket_of(shelves, user))
            datasets = [applications_own(shelves, packed(), user) for user in users]
            assert run(shelves, *datasets, library=library, limits=limits).copied == 4
        assert given == [shared(limits, 2)] * 4  # which hold 32 MiB each, the least there is
        assert sum(one.in_flight_bytes for one in given[:2]) == limits.in_flight_bytes

    @pytest.mark.parametrize("when", ["made", "asked"])
    def test_without_credentials_there_is_one_error_and_no_user_is_to_blame(
        self, when: str, shelves: Shelves, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
            monkeypatch.delenv(name, raising=False)
        for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
            monkeypatch.setenv(name, str(tmp_path / "none"))
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        settings = shelves.settings.model_copy(update={"dataset_bucket": "of-{user_id}"})
        client = (lambda: boto3.client("s3", region_name="eu-central-1")) if when == "asked" else None
        library = replace(shelves.library, stores=Stores(settings, client))
        datasets = [applications_own(shelves, packed()), applications_own(shelves, packed(), uuid4())]
        result = run(shelves, *datasets, library=library)
        assert "no AWS credentials were found" in result.ended_early
        assert (result.left, result.failures) == (2, ())
        assert current(shelves, datasets[0]).hindrance is None
        with pytest.raises(NotConfiguredError, match="no AWS credentials were found"):
            plan_migration(library, MigrateDatasetsRequest())
        with pytest.raises(NotConfiguredError, match="no AWS credentials were found"):
            list(batches(library, MigrateDatasetsRequest()))

    def test_one_that_vanishes_meanwhile_stops_nobody_else(self, shelves: Shelves, library: Library) -> None:
        with bucket_of(shelves, shelves.user_id), bucket_of(shelves, other := uuid4()):
            mine = applications_own(shelves, packed())
            theirs = [applications_own(shelves, packed(), other) for _ in range(3)]
            library.stores.destination(other)
            shelves.s3.delete_bucket(Bucket=f"of-{other}")
            result = run(shelves, mine, *theirs, library=library)
            assert (result.copied, result.ended_early, result.left) == (1, "", 0)
            assert {(one.dataset_id, one.kind) for one in result.failures} == {(one.id, "not_set_up") for one in theirs}


@contextmanager
def bucket_of(shelves: Shelves, user_id: UUID) -> Iterator[None]:
    bucket = f"of-{user_id}"
    shelves.s3.create_bucket(Bucket=bucket)
    yield
    found = {each["Name"] for each in shelves.s3.list_buckets()["Buckets"]}
    if bucket in found:
        empty(shelves, bucket)
        shelves.s3.delete_bucket(Bucket=bucket)


def empty(shelves: Shelves, bucket: str) -> None:
    for each in shelves.s3.list_objects_v2(Bucket=bucket).get("Contents", []):
        shelves.s3.delete_object(Bucket=bucket, Key=each["Key"])


class TestLeftovers:
    def test_what_was_proven_in_s3_outlives_a_source_that_vanishes_while_it_is_copied(self, shelves: Shelves) -> None:
        dataset = applications_own(shelves, content := packed())
        vanishing = first(lambda: shelves.store(SUPABASE).delete(dataset.storage_path))
        result = run(shelves, dataset, library=between(shelves.library, destination={"put": vanishing}))
        assert (result.copied, result.failures) == (1, ())
        assert_holds(shelves, dataset, content)

    @pytest.mark.parametrize("size", [1 << 10, 6 << 20], ids=["small", "in parts"])
    @pytest.mark.parametrize("is_catalogued", [True, False], ids=["catalogued", "the application's"])
    def test_what_a_dead_try_left_whole_becomes_the_copy_of_a_dataset_that_supabase_lost(
        self, size: int, is_catalogued: bool, shelves: Shelves
    ) -> None:
        content = gzip.compress(os.urandom(size), 0)
        dataset = applications_own(shelves, content)
        if is_catalogued:
            catalogued(shelves, dataset, content)
        dies(shelves, dataset)
        shelves.store(SUPABASE).delete(dataset.storage_path)
        result = run(shelves, dataset, limits=PARTS)
        assert (result.copied, result.adopted, result.bytes_read, result.failures) == (1, 1, 0, ())
        assert_holds(shelves, dataset, content)
        assert current(shelves, dataset).hindrance is None

    def test_what_is_not_proven_to_be_a_lost_datasets_is_neither_catalogued_nor_removed(self, shelves: Shelves) -> None:
        dataset = applications_own(shelves, packed())
        dies(shelves, dataset)
        key = dataset_path(S3, shelves.user_id, dataset.id)
        shelves.s3.put_object(Bucket=shelves.store(S3).bucket, Key=key, Body=gzip.compress(b"nobody knows what"))
        shelves.store(SUPABASE).delete(dataset.storage_path)
        result = run(shelves, dataset)
        assert [one.kind for one in result.failures] == ["source_missing"]
        assert current(shelves, dataset).s3 is None
        assert shelves.store(S3).stat(key)
        assert run(shelves, dataset).under_way == 0  # nobody holds it

    def test_a_lost_dataset_that_s3_cannot_be_asked_about_is_tried_again(self, shelves: Shelves) -> None:
        dataset = applications_own(shelves, content := packed())
        dies(shelves, dataset)
        shelves.store(SUPABASE).delete(dataset.storage_path)
        stores = shelves.library.stores

        def source(provider: Any, bucket: str) -> Any:
            return Between(stores.source(provider, bucket), {"read": unreadable} if provider == S3 else {})

        def unreadable(_real: Call, *_args: Any, **_kwargs: Any) -> Any:
            raise NotConfiguredError("We may not.")

        others = SimpleNamespace(
            home=stores.home, at=stores.at, is_shared=True, destination=stores.destination, source=source
        )
        result = run(shelves, dataset, library=replace(shelves.library, stores=others))  # type: ignore[type-var]
        assert [one.kind for one in result.failures] == ["destination"]
        assert run(shelves, dataset).adopted == 1
        assert_holds(shelves, dataset, content)

    def test_of_a_lost_dataset_that_is_deleted_meanwhile_nothing_is_left(self, shelves: Shelves) -> None:
        dataset = applications_own(shelves, packed())
        dies(shelves, dataset)
        shelves.store(SUPABASE).delete(dataset.storage_path)
        deleting = first(lambda: delete_dataset(shelves.library, dataset.id, shelves.user_id))
        result = run(shelves, dataset, library=between(shelves.library, source={"look": first_time(deleting)}))
        assert (result.gone, result.failures) == (1, ())
        assert (shelves.objects(), shelves.pending()) == (set(), 0)

    def test_what_another_program_keeps_writing_is_not_removed(self, shelves: Shelves) -> None:
        dataset = applications_own(shelves, packed())
        bucket, key = shelves.store(S3).bucket, dataset_path(S3, shelves.user_id, dataset.id)

        def put(real: Call, *args: Any, **kwargs: Any) -> Any:
            shelves.s3.put_object(Bucket=bucket, Key=key, Body=b"another program's")
            return real(*args, **kwargs)

        result = run(shelves, dataset, library=between(shelves.library, destination={"put": put}))
        assert [one.kind for one in result.failures] == ["conflict"]
        assert shelves.s3.get_object(Bucket=bucket, Key=key)["Body"].read() == b"another program's"
        assert shelves.pending() == 0

    def test_what_a_dead_try_left_of_an_older_source_is_replaced(self, shelves: Shelves) -> None:
        dataset, old = uploaded(shelves), gzip.compress(b"old")
        put(shelves, dataset_path(S3, shelves.user_id, dataset.id), old, S3)
        copy = copy_now(shelves.library, [dataset])[0].copy_at("s3")
        assert copy
        found = shelves.store(S3).stat(copy.path)
        assert found
        assert found.sha256 == copy.sha256 != hashlib.sha256(old).hexdigest()


def dies(shelves: Shelves, dataset: Dataset) -> None:
    """A try that has put the object and is killed before it is catalogued."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shelves.catalogue.migrations, "copied", catalogue_away)
        with pytest.raises(CatalogueUnavailableError):
            run(shelves, dataset, limits=PARTS)
    assert shelves.store(S3).stat(dataset_path(S3, shelves.user_id, dataset.id))
    assert shelves.pending() == 1


def catalogued(shelves: Shelves, dataset: Dataset, content: bytes) -> None:
    """What is in Supabase of it, as if it had been uploaded."""
    sha256, at = hashlib.sha256(content).hexdigest(), shelves.store(SUPABASE).bucket
    copy = Copy("supabase", at, dataset.storage_path, len(content), sha256, datetime.now(UTC), "a test")
    shelves.catalogue.datasets.add_copy(dataset.id, dataset.user_id, copy)


def assert_holds(shelves: Shelves, dataset: Dataset, content: bytes) -> None:
    """S3 has these bytes, and the catalogue says so."""
    copy = current(shelves, dataset).s3
    assert copy
    assert (copy.size_bytes, copy.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    with shelves.store(S3).get(copy.path) as chunks:
        assert b"".join(chunks) == content
    assert shelves.pending() == 0


class TestPlanning:
    def test_a_plan_changes_nothing(self, shelves: Shelves) -> None:
        datasets = [applications_own(shelves, packed(n)) for n in range(3)]
        run(shelves, datasets[0])
        run(shelves, applications_own(shelves, b"text"))
        request = MigrateDatasetsRequest(dry_run=True, user_id=str(shelves.user_id))
        before = everything(shelves.catalogue), stored(shelves)
        plan = plan_migration(shelves.library, request)
        assert (everything(shelves.catalogue), stored(shelves)) == before
        assert (plan.to_copy.datasets, plan.copied.datasets, plan.failed_before.amount.datasets) == (3, 1, 1)
        assert plan.text().endswith("A dry run: nothing was changed.\n")

    def test_the_pace_is_that_of_what_was_copied_lately(
        self, shelves: Shelves, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert pace_of(shelves.library) == Pace()
        datasets = [applications_own(shelves, packed(n)) for n in range(3)]
        began, times = datetime.now(UTC), iter([0, 2, 4])
        for dataset in datasets:
            at = began + timedelta(seconds=next(times))
            with monkeypatch.context() as patch:
                patch.setattr(shelves.catalogue.database, "now", lambda _, at=at: at)
                run(shelves, dataset)
        copied = [current(shelves, one).s3.size_bytes for one in datasets[1:]]  # type: ignore[union-attr]
        assert pace_of(shelves.library) == Pace(sum(copied) / 4, 2)


def everything(catalogue: Catalogue) -> dict[str, Any]:
    with catalogue.database.reading() as connection:
        return {
            table.name: sorted(map(repr, connection.execute(select(table)).all())) for table in metadata.sorted_tables
        }


def stored(shelves: Shelves) -> set[Any]:
    prefix = f"{shelves.user_id}/"
    return {
        (at, one.key, one.size, one.etag, one.modified)
        for at in (SUPABASE, S3)
        for one in shelves.store(at).list(prefix)
    }
