"""Readers sent to S3: only where the bytes still are what was verified, and with Supabase to fall back on."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from library_shelves import S3, SUPABASE, Shelves, chats
from moved_datasets import (
    BY,
    candidate,
    content,
    copy_of,
    in_both,
    now,
    packed,
    put_in_s3,
    put_in_supabase,
    request,
    rot,
    set_copy,
    with_calls,
)
from sqlalchemy import delete, update

from trainmaster.catalog.tables import dataset_copies, training_datasets
from trainmaster.errors import NotConfiguredError
from trainmaster.migration.outcomes import PhaseResult
from trainmaster.migration.promoting import promote_datasets
from trainmaster.storage.ends.protocols import Source
from trainmaster.storage.links import download_link
from trainmaster.storage.uploading import upload
from trainmaster.training.channels import is_in_s3


def promote(shelves: Shelves, **choices: Any) -> PhaseResult:
    return promote_datasets(shelves.library, request(shelves, "promote", **choices), by=BY)


class TestPromoting:
    def test_readers_get_s3_and_fall_back_on_supabase(self, shelves: Shelves) -> None:
        dataset = in_both(shelves)
        result = promote(shelves)
        assert (result.datasets, result.bytes, result.failed) == (1, copy_of(dataset, S3).size_bytes, 0)
        after = now(shelves, dataset.id)
        assert (after.storage_provider, after.storage_path) == ("s3", copy_of(dataset, S3).path)
        assert is_in_s3(after)
        assert download_link(shelves.library, dataset.id, shelves.user_id).provider is S3
        listed = shelves.catalogue.datasets.page(shelves.user_id, training_provider="sagemaker")
        assert [each.storage_provider for each in listed.datasets] == ["s3"]

        shelves.store(S3).delete(after.storage_path)
        link = download_link(shelves.library, dataset.id, shelves.user_id)
        assert link.provider is SUPABASE
        bytes_ = httpx.get(link.url, headers={"Accept-Encoding": "identity"}).content
        assert bytes_ == content(shelves, copy_of(dataset, SUPABASE))

    def test_the_catalogue_says_who_did_it_and_when(self, shelves: Shelves) -> None:
        dataset, before = in_both(shelves), datetime.now(UTC) - timedelta(seconds=1)
        promote(shelves)
        [move] = shelves.catalogue.migrations.moves(dataset.id)
        assert (move.phase, move.by) == ("promote", BY)
        promoted_at = candidate(shelves, dataset.id).promoted_at
        assert promoted_at == move.at
        assert promoted_at > before

    def test_again_changes_nothing(self, shelves: Shelves) -> None:
        dataset = in_both(shelves)
        promote(shelves)
        first = now(shelves, dataset.id)
        again = promote(shelves)
        assert (again.datasets, again.found, again.failed) == (0, 1, 0)
        assert now(shelves, dataset.id) == first
        assert len(shelves.catalogue.migrations.moves(dataset.id)) == 1

    def test_a_rehearsal_says_what_would_become_of_each_and_changes_nothing(self, shelves: Shelves) -> None:
        whole, lost, elsewhere = in_both(shelves), in_both(shelves), shelves.sound(shelves.request(chats()))
        upload(shelves.library, elsewhere, [SUPABASE])
        shelves.store(S3).delete(copy_of(lost, S3).path)
        rows = [now(shelves, each) for each in (whole.id, lost.id, elsewhere.id)]
        result = promote(shelves, dry_run=True)
        assert [(each.dataset_id, each.name) for each in result.done] == [(whole.id, "my chats")]
        assert [each.kind for each in result.failures] == ["damaged"]
        assert [(each.dataset_id, each.kind) for each in result.left_out] == [(elsewhere.id, "not_copied")]
        assert result.left_out[0].advice.startswith("Run migrate-datasets with phase copy")
        assert "1 dataset (" in result.sentence()
        assert "would be promoted" in result.sentence()
        assert {line["Outcome"] for line in result.table()} == {"would be promoted", "failed", "left out"}
        assert [now(shelves, each.id) for each in rows] == rows
        assert candidate(shelves, lost.id).hindrance is None

    def test_a_limit_is_kept_and_the_next_run_goes_on(self, shelves: Shelves) -> None:
        made = {in_both(shelves).id for _ in range(3)}
        first = promote(shelves, limit=2)
        assert (first.datasets, bool(first.left_off), first.ended_early) == (2, True, "")
        assert promote(shelves, limit=2).datasets == 1
        assert {now(shelves, each).storage_provider for each in made} == {"s3"}

    def test_only_the_datasets_that_were_asked_for(self, embedded: Any, tmp_path: Path, shelves: Shelves) -> None:
        mine, other = in_both(shelves), in_both(shelves)
        assert promote(shelves, dataset_ids=[str(mine.id)]).datasets == 1
        assert now(shelves, other.id).storage_provider == "supabase"
        strangers = Shelves(embedded.environment, tmp_path / "strangers")
        assert promote(strangers).datasets == 0
        strangers.catalogue.close()

    def test_outside_of_its_window_it_begins_nothing(self, shelves: Shelves) -> None:
        dataset, hour = in_both(shelves), datetime.now(UTC).hour
        closed = f"{(hour + 2) % 24:02}:00-{(hour + 3) % 24:02}:00"
        result = promote(shelves, window=closed)
        assert result.datasets == 0
        assert f"the time window {closed} UTC is closed" in result.sentence()
        assert now(shelves, dataset.id) == dataset

    def test_what_an_earlier_version_copied_without_recording_its_source_is_read_and_recorded(
        self, shelves: Shelves
    ) -> None:
        dataset = in_both(shelves)
        forget_source(shelves, dataset.id)
        assert promote(shelves).datasets == 1
        after = now(shelves, dataset.id)
        assert after.storage_provider == "s3"
        theirs = copy_of(after, SUPABASE)
        assert (theirs.path, theirs.sha256) == (dataset.storage_path, copy_of(dataset, S3).sha256)
        assert theirs.version

    def test_but_not_where_the_row_names_somebody_elses_object_by_now(self, shelves: Shelves) -> None:
        dataset, theirs = in_both(shelves), f"{uuid4()}/private/{uuid4()}.jsonl.gz"
        put_in_supabase(shelves, theirs, content(shelves, copy_of(dataset, SUPABASE)))
        forget_source(shelves, dataset.id)
        with shelves.catalogue.database.writing() as connection:
            connection.execute(update(training_datasets).values(storage_path=theirs))
        assert [each.kind for each in promote(shelves).failures] == ["conflict"]
        assert now(shelves, dataset.id).copy_at(SUPABASE) is None


def forget_source(shelves: Shelves, dataset_id: UUID) -> None:
    of = (dataset_copies.c.dataset_id == dataset_id, dataset_copies.c.provider == "supabase")
    with shelves.catalogue.database.writing() as connection:
        connection.execute(delete(dataset_copies).where(*of))


class TestWhatIsNotPromoted:
    @pytest.mark.parametrize("befalls", ["gone", "shorter", "rotten"])
    def test_an_object_that_is_not_what_was_verified_is_said_and_stops_no_other(
        self, befalls: str, shelves: Shelves
    ) -> None:
        spoilt, sound = in_both(shelves), in_both(shelves)
        copy = copy_of(spoilt, S3)
        store = shelves.store(S3)
        there = store.stat(copy.path)
        assert there
        set_copy(shelves, spoilt.id, S3, version=there.etag)
        if befalls == "gone":
            store.delete(copy.path)
        elif befalls == "shorter":
            put_in_s3(shelves, copy, content(shelves, copy)[:-9])
        else:
            rot(shelves, copy)
        result = promote(shelves)
        assert (result.datasets, result.failed) == (1, 1)
        [failure] = result.failures
        assert (failure.dataset_id, failure.kind) == (spoilt.id, "damaged")
        assert "the next run with phase copy copies it again" in failure.advice
        assert now(shelves, sound.id).storage_provider == "s3"
        after = now(shelves, spoilt.id)
        assert (after.storage_provider, after.copy_at(S3)) == ("supabase", None)
        hindrance = candidate(shelves, spoilt.id).hindrance
        assert hindrance
        assert (hindrance.kind, hindrance.reason) == ("damaged", failure.reason)

    def test_bytes_put_again_under_the_same_name_are_read_and_found_to_be_the_same(self, shelves: Shelves) -> None:
        dataset = in_both(shelves)
        set_copy(shelves, dataset.id, S3, version="the one before")
        assert promote(shelves).datasets == 1

    def test_a_source_that_was_replaced_since_is_not_hidden_from_readers(self, shelves: Shelves) -> None:
        dataset = in_both(shelves)
        put_in_supabase(shelves, dataset.storage_path, packed(*chats(9, "newer")))
        result = promote(shelves)
        [failure] = result.failures
        assert failure.kind == "source_changed"
        assert "phase rollback for this dataset" in failure.advice
        assert now(shelves, dataset.id) == dataset
        hindrance = candidate(shelves, dataset.id).hindrance
        assert hindrance
        assert hindrance.kind == "source_changed"

    def test_a_source_that_is_gone_is_one_more_reason(self, shelves: Shelves) -> None:
        dataset = in_both(shelves)
        shelves.store(SUPABASE).delete(dataset.storage_path)
        assert promote(shelves).datasets == 1

    def test_a_row_that_changes_meanwhile_is_left_to_the_next_run(self, shelves: Shelves) -> None:
        dataset = in_both(shelves)

        def look(real: Source, key: str) -> Any:
            with shelves.catalogue.database.writing() as connection:
                later = now(shelves, dataset.id).updated_at + timedelta(seconds=1)
                connection.execute(update(training_datasets).values(name="renamed", updated_at=later))
            return real.look(key)

        result = promote_datasets(with_calls(shelves, look=look), request(shelves, "promote"), by=BY)
        assert (result.datasets, result.failed, dict(result.left)) == (0, 0, {"changed_meanwhile": 1})
        assert (now(shelves, dataset.id).name, now(shelves, dataset.id).storage_provider) == ("renamed", "supabase")
        assert promote(shelves).datasets == 1


def test_a_store_that_fails_altogether_ends_it_early(shelves: Shelves) -> None:
    made = [in_both(shelves) for _ in range(2)]
    for n in range(30):
        copied_row(shelves, made[0].id, n)
    asked: list[str] = []

    def look(_real: Source, key: str) -> Any:
        asked.append(key)
        raise NotConfiguredError("the bucket is gone")

    result = promote_datasets(with_calls(shelves, look=look), request(shelves, "promote"), by=BY)
    assert result.datasets == 0
    assert result.failed == len(asked) < 32
    assert "the bucket is gone" in result.ended_early
    assert {now(shelves, each.id).storage_provider for each in made} == {"supabase"}


def copied_row(shelves: Shelves, of: UUID, number: int) -> None:
    """A row like another's, with a copy of its own in S3, or so the catalogue says."""
    with shelves.catalogue.database.writing() as connection:
        row = connection.execute(training_datasets.select().where(training_datasets.c.id == of)).one()
        id_ = UUID(int=number + 1)
        connection.execute(training_datasets.insert().values({**row._mapping, "id": id_}))
        copy = connection.execute(dataset_copies.select().where(dataset_copies.c.provider == "s3")).first()
        assert copy
        values = {**copy._mapping, "dataset_id": id_, "path": f"{shelves.user_id}/datasets/{id_}.jsonl.gz"}
        connection.execute(dataset_copies.insert().values(values))
