"""Batches of datasets copied from Supabase to S3: each once, without moving readers."""

from __future__ import annotations

import gzip
import os
import threading
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from catalogues import at_once
from copied_shelves import (
    FAST,
    PARTS,
    Call,
    applications_own,
    assert_nothing_came,
    between,
    catalogue_away,
    current,
    first,
    first_time,
    never,
    packed,
    run,
    taken,
    touch,
    unavailable,
    uploaded,
    uploads_left,
)
from library_shelves import S3, SUPABASE, Shelves
from sqlalchemy import update
from waiting import until

from trainmaster.catalog.tables import training_datasets
from trainmaster.errors import (
    CatalogueUnavailableError,
)
from trainmaster.migration.batches import batches
from trainmaster.migration.copying import copy_batch, limits_of
from trainmaster.migration.planning import plan_migration
from trainmaster.migration.request import MigrateDatasetsRequest
from trainmaster.migration.result import BatchResult
from trainmaster.storage.copy import CopyLimits
from trainmaster.storage.library import dataset_path
from trainmaster.storage.removing import delete_dataset


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

    def test_a_claim_is_kept_for_as_long_as_it_is_worked_on(self, shelves: Shelves) -> None:
        """For as long again, and somebody else does not get it."""
        dataset, told = uploaded(shelves), list[BatchResult]()

        def put(real: Call, *args: Any, **kwargs: Any) -> Any:
            [had] = shelves.leases()
            until(lambda: shelves.leases()[0] > had)
            told.append(run(shelves, dataset))
            return real(*args, **kwargs)

        lease = timedelta(seconds=16)  # renewed every 4: a machine may stand still for 12
        short = replace(between(shelves.library, destination={"put": put}), lease=lease)
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
