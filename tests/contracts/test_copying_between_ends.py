"""Batches of datasets when an end of the copy fails, or users have buckets of their own."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import boto3
import pytest
from copied_shelves import (
    FAST,
    Call,
    applications_own,
    assert_nothing_came,
    between,
    bucket_of,
    current,
    empty,
    packed,
    run,
    unavailable,
    uploaded,
)
from library_shelves import Shelves
from sqlalchemy import update

from trainmaster.catalog.tables import dataset_copies
from trainmaster.errors import (
    NotConfiguredError,
)
from trainmaster.migration import attempt
from trainmaster.migration.batches import batches
from trainmaster.migration.copying import copy_now
from trainmaster.migration.planning import plan_migration
from trainmaster.migration.request import MigrateDatasetsRequest
from trainmaster.migration.shares import shared
from trainmaster.storage.copy import CopyLimits, copy_objects
from trainmaster.storage.library import Library
from trainmaster.storage.stores import Stores


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
