"""Supabase's copies deleted: late, only what is proven elsewhere, and never the last good copy, whoever dies or races."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from catalogues import at_once
from killed_phases import MOST_STEPS, KilledAt
from library_shelves import BAD, S3, SUPABASE, Shelves, chats
from moved_datasets import (
    BY,
    candidate,
    content,
    copy_all,
    copy_of,
    dropped_of,
    in_both,
    now,
    packed,
    promoted,
    put_in_supabase,
    request,
    rot,
    set_copy,
    tag_of,
    with_calls,
)
from sqlalchemy import update

from trainmaster.catalog.database import Database
from trainmaster.catalog.datasets import Dataset
from trainmaster.catalog.tables import training_datasets
from trainmaster.errors import NotConfiguredError, StorageUnavailableError
from trainmaster.migration.outcomes import PhaseResult
from trainmaster.migration.pruning import prune_datasets
from trainmaster.migration.rolling_back import roll_back_datasets
from trainmaster.storage.library import Library, dropped_path
from trainmaster.storage.links import download_link
from trainmaster.storage.removing import sweep
from trainmaster.storage.store import ObjectStore, StorageProvider
from trainmaster.storage.stores import Stores
from trainmaster.storage.uploading import upload


def prune(shelves: Shelves, library: Library | None = None, **choices: Any) -> PhaseResult:
    asked = request(shelves, "prune", **{"dry_run": False, **choices})
    return prune_datasets(library or shelves.library, asked, by=BY)


def assert_kept(shelves: Shelves, dataset: Dataset) -> None:
    assert content(shelves, copy_of(dataset, SUPABASE))
    assert copy_of(now(shelves, dataset.id), SUPABASE) == copy_of(dataset, SUPABASE)


class TestPruning:
    def test_supabases_copy_goes_with_what_was_dropped_and_readers_get_the_very_bytes_from_s3(
        self, shelves: Shelves
    ) -> None:
        dataset = promoted(shelves, *chats(9), BAD, max_bad_fraction=0.1)
        bytes_ = content(shelves, copy_of(dataset, SUPABASE))
        result = prune(shelves)
        assert (result.datasets, result.bytes, result.failed) == (1, len(bytes_), 0)
        assert {each.partition(":")[0] for each in shelves.objects()} == {"s3"}
        after = now(shelves, dataset.id)
        assert [copy.provider for copy in after.copies] == ["s3"]
        assert shelves.pending() == 0
        link = download_link(shelves.library, dataset.id, shelves.user_id)
        assert httpx.get(link.url, headers={"Accept-Encoding": "identity"}).content == bytes_
        assert [move.phase for move in shelves.catalogue.migrations.moves(dataset.id)] == ["promote", "prune"]
        assert (prune(shelves).datasets, prune(shelves).found) == (0, 1)

    def test_unless_told_otherwise_it_only_says_what_would_go_and_how_much_would_be_read_for_it(
        self, shelves: Shelves
    ) -> None:
        dataset = promoted(shelves)
        result = prune(shelves, dry_run=None)
        assert (result.rehearsed, result.datasets) == (True, 1)
        assert result.read == copy_of(dataset, S3).size_bytes
        assert [each.dataset_id for each in result.done] == [dataset.id]
        assert result.table()[0]["Outcome"] == "would be pruned"
        assert now(shelves, dataset.id) == dataset
        assert_kept(shelves, dataset)

    def test_a_copy_in_s3_that_was_not_verified_today_is_read_first(self, shelves: Shelves) -> None:
        dataset = promoted(shelves)
        result = prune(shelves)
        assert result.read == copy_of(dataset, S3).size_bytes
        verified = copy_of(now(shelves, dataset.id), S3)
        assert datetime.now(UTC) - verified.verified_at < timedelta(hours=1)
        assert verified.verified_by == BY

    def test_one_whose_version_was_verified_today_is_only_looked_at(self, shelves: Shelves) -> None:
        dataset = promoted(shelves)
        tag = tag_of(shelves, copy_of(dataset, S3))
        set_copy(shelves, dataset.id, S3, verified_at=datetime.now(UTC) - timedelta(hours=23), version=tag)
        result = prune(shelves)
        assert (result.datasets, result.read) == (1, 0)

    def test_one_of_which_no_version_was_noted_is_read_and_then_it_is(self, shelves: Shelves) -> None:
        dataset = promoted(shelves)
        copy = copy_of(dataset, S3)
        set_copy(shelves, dataset.id, S3, verified_at=datetime.now(UTC) - timedelta(hours=23), version=None)
        assert prune(shelves).read == copy.size_bytes
        assert copy_of(now(shelves, dataset.id), S3).version == tag_of(shelves, copy)

    def test_what_was_dropped_is_in_s3_before_it_goes(self, shelves: Shelves) -> None:
        dataset = promoted(shelves, *chats(9), BAD, max_bad_fraction=0.1)
        copy = copy_of(dataset, S3)
        bytes_ = dropped_of(shelves, copy_of(dataset, SUPABASE))
        shelves.store(S3).delete(dropped_path(copy.path))
        assert prune(shelves, dry_run=True).datasets == 1
        assert shelves.store(S3).stat(dropped_path(copy.path)) is None
        assert prune(shelves).datasets == 1
        assert {each.partition(":")[0] for each in shelves.objects()} == {"s3"}
        assert dropped_of(shelves, copy) == bytes_

    def test_what_was_dropped_was_copied_whatever_the_application_wrote_over_the_metadata(
        self, shelves: Shelves
    ) -> None:
        new = shelves.sound(shelves.request([*chats(9), BAD], max_bad_fraction=0.1))
        upload(shelves.library, new, [SUPABASE])
        with shelves.catalogue.database.writing() as connection:
            row = update(training_datasets).where(training_datasets.c.id == new.id)
            connection.execute(row.values(metadata={"tags": ["x"]}))
        [batch] = copy_all(shelves)
        assert (batch.copied, batch.failures) == (1, ())
        theirs, ours = copy_of(now(shelves, new.id), SUPABASE), copy_of(now(shelves, new.id), S3)
        assert dropped_of(shelves, ours) == dropped_of(shelves, theirs)

    def test_the_clock_of_the_worker_says_neither_that_a_grace_period_is_over_nor_what_was_verified_today(
        self, shelves: Shelves, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        dataset = promoted(shelves, days_ago=31)
        set_copy(shelves, dataset.id, S3, verified_at=datetime.now(UTC), version=tag_of(shelves, copy_of(dataset, S3)))
        then = datetime.now(UTC) - timedelta(days=2)
        monkeypatch.setattr(Database, "now", lambda _self, _connection: then)
        assert dict(prune(shelves).left) == {"grace_period": 1}
        assert prune(shelves, grace_days=28, dry_run=True).read == copy_of(dataset, S3).size_bytes

    def test_what_was_verified_in_the_future_proves_nothing(self, shelves: Shelves) -> None:
        dataset = promoted(shelves)
        tag = tag_of(shelves, copy_of(dataset, S3))
        set_copy(shelves, dataset.id, S3, verified_at=datetime.now(UTC) + timedelta(days=3), version=tag)
        assert prune(shelves).read == copy_of(dataset, S3).size_bytes

    def test_an_object_that_was_gone_already_is_as_good_as_deleted(self, shelves: Shelves) -> None:
        dataset = promoted(shelves)
        shelves.store(SUPABASE).delete(copy_of(dataset, SUPABASE).path)
        result = prune(shelves)
        assert (result.datasets, result.failed) == (1, 0)
        assert now(shelves, dataset.id).copy_at(SUPABASE) is None


class TestWhatIsKept:
    def test_what_readers_have_not_got_from_s3_for_long_enough(self, shelves: Shelves) -> None:
        early, never = promoted(shelves, days_ago=29), in_both(shelves)
        result = prune(shelves, grace_days=30)
        assert dict(result.left) == {"grace_period": 1, "not_promoted": 1}
        [reason] = [each.reason for each in result.left_out if each.kind == "grace_period"]
        assert "its grace period ends" in reason
        assert prune(shelves, grace_days=28).datasets == 1
        assert now(shelves, early.id).copy_at(SUPABASE) is None
        assert_kept(shelves, never)

    def test_what_readers_got_from_s3_from_the_beginning_without_a_promotion(self, shelves: Shelves) -> None:
        dataset = in_both(shelves, first=S3)
        result = prune(shelves, grace_days=0)
        assert dict(result.left) == {"not_promoted": 1}
        assert content(shelves, copy_of(dataset, SUPABASE))

    @pytest.mark.parametrize("befalls", ["rotten", "gone", "shorter"])
    def test_what_is_not_whole_in_s3_any_more(self, befalls: str, shelves: Shelves) -> None:
        dataset, other = promoted(shelves), promoted(shelves)
        copy = copy_of(dataset, S3)
        if befalls == "gone":
            shelves.store(S3).delete(copy.path)
        elif befalls == "shorter":
            shelves.s3.put_object(Bucket=copy.bucket, Key=copy.path, Body=content(shelves, copy)[:-1])
        else:
            rot(shelves, copy)
        result = prune(shelves)
        [failure] = result.failures
        assert (failure.dataset_id, failure.kind) == (dataset.id, "damaged")
        assert "run migrate-datasets with phase rollback for this dataset, then with phase copy" in failure.advice
        assert_kept(shelves, dataset)
        assert now(shelves, other.id).copy_at(SUPABASE) is None
        again = prune(shelves)
        assert (again.datasets, dict(again.left)) == (0, {"damaged": 1})

    def test_what_rotted_since_it_was_verified_today_if_its_version_tells(self, shelves: Shelves) -> None:
        dataset = promoted(shelves)
        copy = copy_of(dataset, S3)
        there = shelves.store(S3).stat(copy.path)
        assert there
        set_copy(shelves, dataset.id, S3, verified_at=datetime.now(UTC), version=there.etag)
        rot(shelves, copy)
        assert [each.kind for each in prune(shelves).failures] == ["damaged"]
        assert_kept(shelves, dataset)

    def test_what_rotted_since_it_was_verified_today_and_no_version_was_noted(self, shelves: Shelves) -> None:
        dataset = promoted(shelves)
        set_copy(shelves, dataset.id, S3, verified_at=datetime.now(UTC), version=None)
        rot(shelves, copy_of(dataset, S3))
        assert [each.kind for each in prune(shelves).failures] == ["damaged"]
        assert_kept(shelves, dataset)

    @pytest.mark.parametrize("of_the_same_size", [True, False])
    def test_what_was_dropped_where_s3_has_something_else(self, of_the_same_size: bool, shelves: Shelves) -> None:
        dataset = promoted(shelves, *chats(9), BAD, max_bad_fraction=0.1)
        copy = copy_of(dataset, S3)
        bytes_ = dropped_of(shelves, copy_of(dataset, SUPABASE))
        other = bytes_[::-1] if of_the_same_size else bytes_[:-1]
        shelves.s3.put_object(Bucket=copy.bucket, Key=dropped_path(copy.path), Body=other)
        result = prune(shelves)
        [left] = result.left_out
        assert (result.datasets, left.kind) == (0, "dropped_differ")
        assert "other dropped examples" in left.reason
        assert_kept(shelves, dataset)
        assert (dropped_of(shelves, copy_of(dataset, SUPABASE)), dropped_of(shelves, copy)) == (bytes_, other)
        shelves.store(S3).delete(dropped_path(copy.path))
        assert prune(shelves).datasets == 1
        assert dropped_of(shelves, copy) == bytes_

    @pytest.mark.parametrize("version", ["the-tag-then", None])
    def test_what_the_application_put_of_the_same_size_with_the_checksum_of_what_was_there(
        self, version: str | None, shelves: Shelves
    ) -> None:
        dataset = promoted(shelves)
        copy = copy_of(dataset, SUPABASE)
        before = content(shelves, copy)
        newer = before[:4] + b"\1\2\3\4" + before[8:]
        set_copy(shelves, dataset.id, SUPABASE, version=version)
        put_in_supabase(shelves, copy.path, newer, sha256=copy.sha256)
        assert [each.kind for each in prune(shelves).failures] == ["source_changed"]
        assert content(shelves, copy) == newer

    def test_what_was_replaced_in_supabase_since_it_was_copied(self, shelves: Shelves) -> None:
        dataset, newer = promoted(shelves), packed(*chats(7, "newer"))
        put_in_supabase(shelves, copy_of(dataset, SUPABASE).path, newer)
        result = prune(shelves)
        [failure] = result.failures
        assert failure.kind == "source_changed"
        assert "Copy it again" in failure.advice
        assert content(shelves, copy_of(dataset, SUPABASE)) == newer
        hindrance = candidate(shelves, dataset.id).hindrance
        assert hindrance
        assert (hindrance.kind, hindrance.advice) == ("source_changed", failure.advice)

    def test_what_has_the_same_size_and_another_version(self, shelves: Shelves) -> None:
        dataset = promoted(shelves)
        copy = copy_of(dataset, SUPABASE)
        before = content(shelves, copy)
        put_in_supabase(shelves, copy.path, before[:-1] + bytes([before[-1] ^ 1]))
        assert [each.kind for each in prune(shelves).failures] == ["source_changed"]

    def test_when_supabase_cannot_be_asked(self, shelves: Shelves) -> None:
        dataset = promoted(shelves)
        nowhere = shelves.settings.model_copy(update={"supabase_url": None})
        library = replace(shelves.library, stores=Stores(nowhere, lambda: shelves.s3))
        result = prune(shelves, library)
        assert [each.kind for each in result.failures] == ["not_configured"]
        assert_kept(shelves, dataset)


def test_what_cannot_be_deleted_now_is_left_to_the_sweep(shelves: Shelves) -> None:
    dataset = promoted(shelves)

    def delete(_real: ObjectStore, _key: str) -> bool:
        raise NotConfiguredError("Supabase did not let us remove it")

    result = prune(shelves, with_calls(shelves, delete=delete))
    assert (result.datasets, result.done[0].kind) == (1, "left_to_sweep")
    assert content(shelves, copy_of(dataset, SUPABASE))
    assert now(shelves, dataset.id).copy_at(SUPABASE) is None
    shelves.run_out()
    sweep(shelves.library)
    assert {each.partition(":")[0] for each in shelves.objects()} == {"s3"}
    assert shelves.pending() == 0


@pytest.mark.parametrize("is_known", [True, False])
def test_what_was_put_there_after_it_could_not_be_deleted_is_nobodys_to_sweep(is_known: bool, shelves: Shelves) -> None:
    dataset, newer = promoted(shelves), packed(*chats(4, "newer"))
    copy = copy_of(dataset, SUPABASE)
    set_copy(shelves, dataset.id, SUPABASE, version=tag_of(shelves, copy) if is_known else None)

    def delete(_real: ObjectStore, _key: str) -> bool:
        raise StorageUnavailableError("503")

    assert prune(shelves, with_calls(shelves, delete=delete)).done[0].kind == "left_to_sweep"
    put_in_supabase(shelves, copy.path, newer)
    shelves.run_out()
    sweep(shelves.library)
    assert content(shelves, copy) == newer
    assert shelves.pending() == 0


def test_whose_quotes_a_version_was_noted_in_does_not_matter(shelves: Shelves) -> None:
    dataset = promoted(shelves)
    copy = copy_of(dataset, SUPABASE)
    tag = tag_of(shelves, copy)
    other = tag.strip('"') if tag.startswith('"') else f'"{tag}"'
    set_copy(shelves, dataset.id, SUPABASE, version=other)
    assert prune(shelves).datasets == 1
    assert shelves.store(SUPABASE).stat(copy.path) is None


def assert_whole_where_readers_are_sent(shelves: Shelves, dataset: Dataset) -> None:
    row = now(shelves, dataset.id)
    named = copy_of(row, StorageProvider(row.storage_provider))
    assert content(shelves, named)
    for copy in row.copies:
        assert len(content(shelves, copy)) == copy.size_bytes


def test_a_pruning_killed_at_any_step_happened_or_did_not_or_is_finished_by_the_sweep(
    killed_at: KilledAt, shelves: Shelves
) -> None:
    asked, deaths = request(shelves, "prune", dry_run=False), 0
    for step in range(1, MOST_STEPS, 2):  # before each: after one is as before the next
        dataset = promoted(shelves, *chats(5), BAD, max_bad_fraction=0.5)
        was_killed = killed_at(shelves, asked, step)
        assert_whole_where_readers_are_sent(shelves, dataset)
        shelves.run_out()
        sweep(shelves.library)
        assert_whole_where_readers_are_sent(shelves, dataset)
        pruned = now(shelves, dataset.id).copy_at(SUPABASE) is None
        there = {each for each in shelves.objects() if each.startswith("supabase:") and str(dataset.id) in each}
        assert len(there) == (0 if pruned else 2)
        assert shelves.pending() == 0
        prune(shelves)
        assert now(shelves, dataset.id).copy_at(SUPABASE) is None
        if not was_killed:
            break
        deaths += 1
    assert deaths == (step - 1) / 2 >= 5


def test_prunings_that_race_delete_once_and_lose_nothing(shelves: Shelves) -> None:
    made = [promoted(shelves) for _ in range(6)]
    results = at_once(3, lambda _: prune(shelves))
    assert sum(each.datasets for each in results) == 6
    assert sum(each.failed for each in results) == 0
    for dataset in made:
        assert now(shelves, dataset.id).copy_at(SUPABASE) is None
        assert_whole_where_readers_are_sent(shelves, dataset)
    assert (len(shelves.objects()), shelves.pending()) == (6, 0)


def test_a_pruning_that_races_with_rollbacks_never_takes_what_readers_are_sent_to(shelves: Shelves) -> None:
    made = [promoted(shelves) for _ in range(8)]
    short = replace(shelves.library, lease=timedelta(seconds=20))

    def either(n: int) -> PhaseResult:
        if n % 2:
            return prune(shelves, short)
        return roll_back_datasets(short, request(shelves, "rollback"), by=BY)

    results = at_once(4, either)
    assert sum(each.failed for each in results) == 0
    for dataset in made:
        assert_whole_where_readers_are_sent(shelves, dataset)
    shelves.run_out()
    sweep(shelves.library)
    for dataset in made:
        assert_whole_where_readers_are_sent(shelves, dataset)
    copies = {f"{copy.provider}://{copy.path}" for each in made for copy in now(shelves, each.id).copies}
    assert shelves.objects() == copies
    assert shelves.pending() == 0
