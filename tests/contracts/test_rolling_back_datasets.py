"""Readers sent back to Supabase, with bytes that are there, or are put back first; and datasets copied again that have to be."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any
from uuid import UUID

import httpx
import pytest
from catalogues import at_once
from killed_phases import MOST_STEPS, KilledAt
from library_shelves import BAD, S3, SUPABASE, Shelves, chats
from moved_datasets import (
    BY,
    applications_own,
    candidate,
    content,
    copy_all,
    copy_of,
    dropped_of,
    in_both,
    noise,
    now,
    packed,
    promoted,
    put_in_supabase,
    request,
    rot,
    set_copy,
    tag_of,
    verification,
    with_calls,
)

from trainmaster.catalog.catalogue import Catalogue
from trainmaster.catalog.datasets import Dataset
from trainmaster.errors import CorruptedUploadError
from trainmaster.migration.outcomes import PhaseResult
from trainmaster.migration.promoting import promote_datasets
from trainmaster.migration.pruning import prune_datasets
from trainmaster.migration.rolling_back import roll_back_datasets
from trainmaster.migration.verifying import verify_copies
from trainmaster.storage.library import dropped_path
from trainmaster.storage.links import download_link
from trainmaster.storage.removing import sweep
from trainmaster.storage.store import ObjectStore


def roll_back(shelves: Shelves, **choices: Any) -> PhaseResult:
    return roll_back_datasets(shelves.library, request(shelves, "rollback", **choices), by=BY)


def pruned(shelves: Shelves, *lines: str, **choices: Any) -> Dataset:
    dataset = promoted(shelves, *lines, **choices)
    asked = request(shelves, "prune", dry_run=False, dataset_ids=[str(dataset.id)])
    assert prune_datasets(shelves.library, asked, by="an earlier test").datasets == 1
    return now(shelves, dataset.id)


def downloaded(shelves: Shelves, dataset_id: UUID) -> bytes:
    link = download_link(shelves.library, dataset_id, shelves.user_id)
    assert link.provider is SUPABASE
    return httpx.get(link.url, headers={"Accept-Encoding": "identity"}).content


class TestRollingBack:
    def test_readers_get_supabase_again_and_both_copies_stay(self, shelves: Shelves) -> None:
        dataset = in_both(shelves)
        assert promote_datasets(shelves.library, request(shelves, "promote"), by=BY).datasets == 1
        result = roll_back(shelves)
        assert (result.datasets, result.failed, result.read) == (1, 0, 0)
        after = now(shelves, dataset.id)
        assert (after.storage_provider, after.storage_path) == ("supabase", dataset.storage_path)
        assert after.copies == dataset.copies
        assert downloaded(shelves, dataset.id) == content(shelves, copy_of(dataset, S3))
        assert [move.phase for move in shelves.catalogue.migrations.moves(dataset.id)] == ["promote", "rollback"]
        assert candidate(shelves, dataset.id).promoted_at is None

    def test_again_changes_nothing(self, shelves: Shelves) -> None:
        dataset = promoted(shelves)
        roll_back(shelves)
        first = now(shelves, dataset.id)
        again = roll_back(shelves)
        assert (again.datasets, again.found) == (0, 1)
        assert roll_back(shelves, dataset_ids=[str(dataset.id)]).found == 1
        assert now(shelves, dataset.id) == first

    def test_a_rehearsal_says_what_would_be_put_back_and_changes_nothing(self, shelves: Shelves) -> None:
        here, gone = promoted(shelves), pruned(shelves)
        rows, objects = [now(shelves, here.id), now(shelves, gone.id)], shelves.objects()
        result = roll_back(shelves, dry_run=True)
        assert (result.datasets, result.read) == (2, copy_of(gone, S3).size_bytes)
        assert "would be rolled back" in result.sentence()
        assert [now(shelves, each.id) for each in rows] == rows
        assert shelves.objects() == objects

    def test_what_was_pruned_is_put_back_first_with_what_was_dropped(self, shelves: Shelves) -> None:
        dataset = pruned(shelves, *chats(9), BAD, max_bad_fraction=0.1)
        bytes_ = content(shelves, copy_of(dataset, S3))
        result = roll_back(shelves)
        assert (result.datasets, result.read) == (1, len(bytes_))
        after = now(shelves, dataset.id)
        theirs = copy_of(after, SUPABASE)
        assert after.storage_path == theirs.path == f"{shelves.user_id}/private/{dataset.id}.jsonl.gz"
        assert (theirs.sha256, theirs.verified_by) == (copy_of(dataset, S3).sha256, BY)
        assert theirs.version
        assert downloaded(shelves, dataset.id) == bytes_
        assert len([each for each in shelves.objects() if each.endswith(".dropped.jsonl.gz")]) == 2
        assert shelves.pending() == 0

    def test_one_larger_than_a_single_request_takes_is_put_back_in_pieces(self, shelves: Shelves) -> None:
        dataset = pruned(shelves, *noise(7))
        bytes_ = content(shelves, copy_of(dataset, S3))
        assert len(bytes_) > 6_000_000
        assert roll_back(shelves).datasets == 1
        assert downloaded(shelves, dataset.id) == bytes_

    def test_what_vanished_from_supabase_is_put_back_too(self, shelves: Shelves) -> None:
        dataset = promoted(shelves)
        shelves.store(SUPABASE).delete(copy_of(dataset, SUPABASE).path)
        assert roll_back(shelves).datasets == 1
        assert downloaded(shelves, dataset.id) == content(shelves, copy_of(dataset, S3))
        assert shelves.pending() == 0

    def test_the_history_of_what_vanished_says_nothing_of_a_pruning(self, shelves: Shelves) -> None:
        dataset = promoted(shelves)
        shelves.store(SUPABASE).delete(copy_of(dataset, SUPABASE).path)
        roll_back(shelves)
        moves = [move.phase for move in shelves.catalogue.migrations.moves(dataset.id)]
        assert moves == ["promote", "rollback"]

    def test_what_arrived_otherwise_in_supabase_is_taken_back(self, shelves: Shelves) -> None:
        dataset = promoted(shelves)
        copy = copy_of(dataset, SUPABASE)
        set_copy(shelves, dataset.id, SUPABASE, version=tag_of(shelves, copy))
        shelves.store(SUPABASE).delete(copy.path)

        def put(_real: ObjectStore, key: str, *_: Any, **__: Any) -> bool:
            put_in_supabase(shelves, key, packed("wrong"))
            raise CorruptedUploadError("other bytes arrived")

        asked = request(shelves, "rollback")
        [failure] = roll_back_datasets(with_calls(shelves, put=put), asked, by=BY).failures
        assert "other bytes arrived" in failure.reason
        assert (shelves.store(SUPABASE).stat(copy.path), shelves.pending()) == (None, 0)
        assert roll_back(shelves).datasets == 1
        assert downloaded(shelves, dataset.id) == content(shelves, copy_of(dataset, S3))

    def test_what_readers_got_from_s3_from_the_beginning_stays_unless_it_is_named(self, shelves: Shelves) -> None:
        dataset = in_both(shelves, first=S3)
        assert dict(roll_back(shelves).left) == {"not_promoted": 1}
        assert now(shelves, dataset.id) == dataset
        assert roll_back(shelves, dataset_ids=[str(dataset.id)]).datasets == 1
        assert now(shelves, dataset.id).storage_provider == "supabase"

    def test_rollbacks_that_race_put_back_once(self, shelves: Shelves) -> None:
        made = [pruned(shelves) for _ in range(4)]
        results = at_once(3, lambda _: roll_back(shelves))
        assert sum(each.failed for each in results) == 0
        while any(now(shelves, each.id).storage_provider == "s3" for each in made):
            roll_back(shelves)  # whoever found another at it left it to the next run
        for dataset in made:
            assert downloaded(shelves, dataset.id) == content(shelves, copy_of(dataset, S3))
            moves = [move.phase for move in shelves.catalogue.migrations.moves(dataset.id)]
            assert moves.count("rollback") == 1
        assert (len(shelves.objects()), shelves.pending()) == (8, 0)

    def test_one_killed_at_any_step_left_readers_with_whole_bytes_and_succeeds_when_repeated(
        self, killed_at: KilledAt, shelves: Shelves
    ) -> None:
        asked, deaths = request(shelves, "rollback"), 0
        for step in range(1, MOST_STEPS):
            dataset = pruned(shelves)
            was_killed = killed_at(shelves, asked, step)
            for copy in now(shelves, dataset.id).copies:
                assert len(content(shelves, copy)) == copy.size_bytes
            shelves.run_out()
            if step % 2:  # else the repeated one finds what was left, and goes on from there
                sweep(shelves.library)
                catalogued = {f"{copy.provider}://{copy.path}" for copy in now(shelves, dataset.id).copies}
                assert {each for each in shelves.objects() if f"{dataset.id}.jsonl" in each} == catalogued
            roll_back(shelves)
            assert downloaded(shelves, dataset.id) == content(shelves, copy_of(dataset, S3))
            assert shelves.pending() == 0
            if not was_killed:
                break
            deaths += 1
        assert deaths == step - 1 >= 8


def test_the_whole_circle_on_either_database(catalogue: Catalogue, shelves: Shelves) -> None:
    shelves.catalogue.close()
    shelves.catalogue = catalogue
    shelves.library = replace(shelves.library, catalogue=catalogue)
    dataset, bytes_ = applications_own(shelves, packed(*chats(5))), packed(*chats(5))
    copy_all(shelves)
    assert promote_datasets(shelves.library, request(shelves, "promote"), by=BY).datasets == 1
    asked = request(shelves, "prune", dry_run=False, grace_days=0)
    assert prune_datasets(shelves.library, asked, by=BY).datasets == 1
    assert {each.partition(":")[0] for each in shelves.objects()} == {"s3"}
    assert verify_copies(shelves.library, verification(shelves), by=BY).read == 1
    assert roll_back(shelves).datasets == 1
    assert downloaded(shelves, dataset.id) == bytes_
    moves = [move.phase for move in catalogue.migrations.moves(dataset.id)]
    assert moves == ["copy", "promote", "prune", "rollback"]


class TestWhatIsNotRolledBack:
    def test_other_bytes_in_supabase_since_are_not_what_readers_get_unless_the_dataset_is_named(
        self, shelves: Shelves
    ) -> None:
        dataset = promoted(shelves)
        put_in_supabase(shelves, copy_of(dataset, SUPABASE).path, packed(*chats(7, "newer")))
        result = roll_back(shelves)
        assert [each.kind for each in result.failures] == ["source_changed"]
        assert now(shelves, dataset.id) == dataset

    def test_something_else_where_the_bytes_are_to_be_put_is_left_alone_by_everybody(self, shelves: Shelves) -> None:
        dataset = pruned(shelves)
        path, theirs = f"{shelves.user_id}/private/{dataset.id}.jsonl.gz", packed(*chats(7, "theirs"))
        put_in_supabase(shelves, path, theirs)
        result = roll_back(shelves)
        [failure] = result.failures
        assert failure.kind == "conflict"
        assert "remove that object in Supabase and run this again" in failure.advice
        shelves.run_out()
        sweep(shelves.library)
        with shelves.store(SUPABASE).get(path) as chunks:
            assert b"".join(chunks) == theirs
        assert now(shelves, dataset.id) == dataset
        shelves.store(SUPABASE).delete(path)
        assert roll_back(shelves).datasets == 1

    def test_rotten_bytes_are_not_put_back(self, shelves: Shelves) -> None:
        dataset = pruned(shelves)
        rot(shelves, copy_of(dataset, S3))
        result = roll_back(shelves)
        [failure] = result.failures
        assert failure.kind == "damaged"
        assert "No other copy is known to be good" in failure.advice
        assert {each.partition(":")[0] for each in shelves.objects()} == {"s3"}
        after = now(shelves, dataset.id)
        assert (after.storage_provider, len(after.copies), shelves.pending()) == ("s3", 1, 0)


class TestCopyingAgain:
    """What it says to do about a copy that rotted, and about a source that was replaced: a rollback, and another copy."""

    def copied(self, shelves: Shelves, *phases: str) -> Dataset:
        """The application's own, copied and so on."""
        dataset = applications_own(shelves, packed(*chats(5, "first")))
        [batch] = copy_all(shelves, dataset_ids=[str(dataset.id)])
        assert (batch.copied, batch.failures) == (1, ())
        if "promote" in phases:
            result = promote_datasets(shelves.library, request(shelves, "promote"), by=BY)
            assert (result.datasets, result.read) == (1, 0)  # the versions noted when it was copied are those it has
        return now(shelves, dataset.id)

    def assert_copied_again(self, shelves: Shelves, dataset_id: UUID, bytes_: bytes) -> None:
        shelves.run_out()
        sweep(shelves.library)
        after = now(shelves, dataset_id)
        assert [content(shelves, copy) for copy in after.copies] == [bytes_, bytes_]
        assert candidate(shelves, dataset_id).hindrance is None
        assert (len(shelves.objects()), shelves.pending()) == (2, 0)
        assert verify_copies(shelves.library, verification(shelves), by=BY).damaged_count == 0
        assert promote_datasets(shelves.library, request(shelves, "promote"), by=BY).failed == 0
        assert now(shelves, dataset_id).storage_provider == "s3"

    def test_a_rotten_copy_that_readers_got_is_made_anew_from_supabases(self, shelves: Shelves) -> None:
        dataset = self.copied(shelves, "promote")
        bytes_ = content(shelves, copy_of(dataset, SUPABASE))
        rot(shelves, copy_of(dataset, S3))
        [found] = verify_copies(shelves.library, verification(shelves), by=BY).damaged
        assert "phase rollback for this dataset, then with phase copy" in found.advice
        assert roll_back(shelves, dataset_ids=[str(dataset.id)]).datasets == 1
        assert downloaded(shelves, dataset.id) == bytes_
        [batch] = copy_all(shelves, dataset_ids=[str(dataset.id)])
        assert (batch.copied, batch.failures) == (1, ())
        self.assert_copied_again(shelves, dataset.id, bytes_)

    def test_a_rotten_copy_that_readers_did_not_get_is_made_anew_by_the_next_copy(self, shelves: Shelves) -> None:
        dataset = self.copied(shelves)
        bytes_ = content(shelves, copy_of(dataset, SUPABASE))
        rot(shelves, copy_of(dataset, S3))
        assert verify_copies(shelves.library, verification(shelves), by=BY).damaged_count == 1
        [batch] = copy_all(shelves)
        assert (batch.copied, batch.failures) == (1, ())
        self.assert_copied_again(shelves, dataset.id, bytes_)

    @pytest.mark.parametrize("phases", [(), ("promote",)], ids=["copied", "promoted"])
    def test_a_source_that_was_replaced_is_what_counts_once_somebody_says_so(
        self, phases: tuple[str, ...], shelves: Shelves
    ) -> None:
        dataset, newer = self.copied(shelves, *phases), packed(*chats(8, "second"))
        put_in_supabase(shelves, dataset.storage_path if not phases else copy_of(dataset, SUPABASE).path, newer)
        prune = prune_datasets(shelves.library, request(shelves, "prune", dry_run=False, grace_days=0), by=BY)
        promotion = promote_datasets(shelves.library, request(shelves, "promote"), by=BY)
        [failure] = [*prune.failures, *promotion.failures]
        assert failure.kind == "source_changed"
        assert "phase rollback for this dataset (its id in dataset_ids) and take_newer" in failure.advice

        [failure] = roll_back(shelves, dataset_ids=[str(dataset.id)]).failures
        assert failure.kind == "source_changed"
        assert now(shelves, dataset.id) == dataset
        assert content(shelves, copy_of(dataset, S3)) == packed(*chats(5, "first"))
        rehearsal = roll_back(shelves, dataset_ids=[str(dataset.id)], take_newer=True, dry_run=True)
        assert "newer than the copy in S3" in rehearsal.done[0].reason
        assert now(shelves, dataset.id) == dataset
        result = roll_back(shelves, dataset_ids=[str(dataset.id)], take_newer=True)
        assert (result.datasets, result.failed) == (1, 0)
        assert downloaded(shelves, dataset.id) == newer
        after = now(shelves, dataset.id)
        assert [copy.provider for copy in after.copies] == ["supabase"]
        assert (after.file_size_bytes, after.total_examples) == (len(newer), None)
        assert after.metadata == {"normalised": {"sha256": hashlib.sha256(newer).hexdigest(), "size": len(newer)}}
        assert {each.partition(":")[0] for each in shelves.objects()} == {"supabase"}
        [batch] = copy_all(shelves, dataset_ids=[str(dataset.id)])
        assert (batch.copied, batch.failures) == (1, ())
        self.assert_copied_again(shelves, dataset.id, newer)

    def test_a_source_that_was_replaced_by_mistake_is_undone_once_it_is_removed(self, shelves: Shelves) -> None:
        dataset = self.copied(shelves, "promote")
        path = copy_of(dataset, SUPABASE).path
        put_in_supabase(shelves, path, packed(*chats(1, "oops")))
        [failure] = roll_back(shelves, dataset_ids=[str(dataset.id)]).failures
        assert "remove the object in Supabase, and phase rollback puts S3's back there" in failure.advice
        shelves.store(SUPABASE).delete(path)
        assert roll_back(shelves).datasets == 1
        assert downloaded(shelves, dataset.id) == packed(*chats(5, "first"))

    def test_what_was_dropped_outlives_a_rotten_copy_that_is_let_go(self, shelves: Shelves) -> None:
        dataset = promoted(shelves, *chats(9), BAD, max_bad_fraction=0.1)
        ours, theirs = copy_of(dataset, S3), copy_of(dataset, SUPABASE)
        bytes_ = dropped_of(shelves, ours)
        rot(shelves, ours)
        assert verify_copies(shelves.library, verification(shelves), by=BY).damaged_count == 1
        shelves.store(SUPABASE).delete(dropped_path(theirs.path))
        assert roll_back(shelves).datasets == 1
        shelves.run_out()
        sweep(shelves.library)
        assert {each.partition(":")[0] for each in shelves.objects()} == {"supabase"}
        assert dropped_of(shelves, theirs) == bytes_

    def test_a_source_that_was_replaced_by_something_broken_takes_nothing_away(self, shelves: Shelves) -> None:
        dataset = self.copied(shelves)
        put_in_supabase(shelves, dataset.storage_path, packed(*chats(8, "second"))[:-9])
        result = roll_back(shelves, dataset_ids=[str(dataset.id)], take_newer=True)
        [failure] = result.failures
        assert failure.kind == "source_unsound"
        assert failure.reason.endswith("; a dataset is stored as whole gzip.")
        assert failure.advice.startswith("Upload the dataset anew, under the same name; where S3 has a copy of it")
        assert now(shelves, dataset.id) == dataset
        assert content(shelves, copy_of(dataset, S3)) == packed(*chats(5, "first"))

    def test_killed_between_letting_go_and_removing_it_is_finished_by_the_sweep(
        self, killed_at: KilledAt, shelves: Shelves
    ) -> None:
        newer = packed(*chats(8, "second"))
        for step in range(1, MOST_STEPS, 2):  # before each: after one is as before the next
            dataset = self.copied(shelves)
            put_in_supabase(shelves, dataset.storage_path, newer)
            asked = request(shelves, "rollback", dataset_ids=[str(dataset.id)], take_newer=True)
            was_killed = killed_at(shelves, asked, step)
            shelves.run_out()
            sweep(shelves.library)
            after = now(shelves, dataset.id)
            expected = 1 if step > 1 else 2  # the first step is before anything was let go
            assert len(after.copies) == expected
            assert len([each for each in shelves.objects() if str(dataset.id) in each]) == expected
            assert content(shelves, copy_of(dataset, SUPABASE)) == newer
            if not was_killed:
                break
        assert step >= 6
