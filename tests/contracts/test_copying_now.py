"""Datasets copied while somebody waits for them, and those that cannot be."""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest
from catalogues import at_once, insert_as_the_application
from copied_shelves import (
    FAST,
    Call,
    applications_own,
    assert_nothing_came,
    between,
    current,
    first,
    first_time,
    never,
    packed,
    put,
    taken,
    touch,
    unavailable,
    uploaded,
)
from library_shelves import BAD, S3, SUPABASE, Shelves, chats

from trainmaster.errors import (
    CorruptedUploadError,
    DatasetMissingError,
    DatasetRefusedError,
    ObjectChangedError,
    ObjectMissingError,
    StorageUnavailableError,
    UploadUnderWayError,
)
from trainmaster.migration.batches import batches
from trainmaster.migration.copying import copy_batch, copy_now
from trainmaster.migration.planning import plan_migration
from trainmaster.migration.request import MigrateDatasetsRequest
from trainmaster.storage.removing import delete_dataset


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
