"""What an earlier try left, and what is planned, of datasets on their way to S3."""

from __future__ import annotations

import gzip
import hashlib
import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from copied_shelves import (
    PARTS,
    Between,
    Call,
    applications_own,
    assert_holds,
    between,
    catalogued,
    current,
    dies,
    everything,
    first,
    first_time,
    packed,
    put,
    run,
    stored,
    uploaded,
)
from library_shelves import S3, SUPABASE, Shelves
from moved_datasets import set_copy

from trainmaster.errors import (
    NotConfiguredError,
)
from trainmaster.migration.copying import copy_now
from trainmaster.migration.plan import Pace
from trainmaster.migration.planning import pace_of, plan_migration
from trainmaster.migration.request import MigrateDatasetsRequest
from trainmaster.storage.library import dataset_path
from trainmaster.storage.removing import delete_dataset


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
        assert pace_of(shelves.library) == Pace(), "so little says nothing"
        for dataset in datasets:
            set_copy(shelves, dataset.id, S3, size_bytes=40_000_000)
        assert pace_of(shelves.library) == Pace(20e6, 2)
