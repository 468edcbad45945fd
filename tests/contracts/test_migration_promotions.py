"""Which copy readers get, which copies may go, and what is known of damaged ones: on SQLite and on PostgreSQL alike."""

from __future__ import annotations

import hashlib
import io
import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from catalogues import LEASE, NOW, at_once, new_dataset
from library_shelves import BAD, S3, SUPABASE, Shelves, chats
from moving_datasets import claimed, copies, in_both, in_supabase, of_the_application, promoted, seen, settled
from sqlalchemy import insert, text, update
from sqlalchemy.exc import DBAPIError

from trainmaster.catalog.candidates import Candidate, Selection
from trainmaster.catalog.catalogue import Catalogue
from trainmaster.catalog.datasets import Copy
from trainmaster.catalog.promotions import Verified
from trainmaster.catalog.settling import Outcome
from trainmaster.catalog.tables import dataset_copies, dataset_moves, training_datasets
from trainmaster.errors import NameConflictError, ObjectMissingError
from trainmaster.storage.removing import sweep
from trainmaster.storage.store import StorageProvider
from trainmaster.storage.uploading import upload


@pytest.fixture
def user() -> uuid.UUID:
    return uuid.uuid4()


def again(catalogue: Catalogue, one: Candidate) -> Candidate:
    [now] = seen(catalogue, one.id)
    return now


def copy_at(one: Candidate, provider: StorageProvider) -> Copy:
    copy = one.copy_at(provider)
    assert copy
    return copy


def prune(catalogue: Catalogue, one: Candidate) -> Any:
    return catalogue.migrations.withdraw(one, holder="the pruning", lease=LEASE, by="a test")


class TestReaders:
    def test_they_are_sent_to_s3_and_back_and_it_is_noted_who_did_it(
        self, catalogue: Catalogue, user: uuid.UUID
    ) -> None:
        before = in_both(catalogue, user, 3)
        assert catalogue.migrations.promote(before, by="Olga") == [Outcome.MOVED] * 3
        for one in before:
            now = again(catalogue, one)
            assert now.s3
            assert (now.storage_provider, now.storage_path) == ("s3", now.s3.path)
            assert now.updated_at > one.updated_at
            assert now.promoted_at
            assert now.supabase == one.supabase
            assert catalogue.migrations.roll_back([now], by="Ivan") == [Outcome.MOVED]
            back = again(catalogue, one)
            assert (back.storage_provider, back.storage_path) == ("supabase", one.storage_path)
            assert back.promoted_at is None
            done = [(move.phase, move.by, move.detail) for move in catalogue.migrations.moves(one.id)]
            assert one.supabase
            assert done == [
                ("copy", "a test", now.s3.uri), ("promote", "Olga", now.s3.uri), ("rollback", "Ivan", one.supabase.uri)
            ]  # fmt: skip

    def test_each_of_a_batch_fares_by_itself(self, catalogue: Catalogue, user: uuid.UUID) -> None:
        good, changed, deleted, damaged = in_both(catalogue, user, 4)
        [there_already], [alone] = promoted(catalogue, user), in_supabase(catalogue, user)
        with catalogue.database.writing() as connection:
            row = update(training_datasets).where(training_datasets.c.id == changed.id)
            connection.execute(row.values(name="renamed", updated_at=datetime.now(UTC)))
        catalogue.datasets.delete(deleted.id, user, holder="a test", lease=NOW, buckets={})
        catalogue.migrations.promote([damaged], by="a test")
        catalogue.migrations.damaged(damaged.id, copy_at(damaged, S3), "bits", "again", by="a test")
        with (
            catalogue.database.writing() as connection
        ):  # its Supabase copy was there, so it goes on; but not by itself
            row = update(training_datasets).where(training_datasets.c.id == damaged.id)
            connection.execute(row.values(storage_provider="supabase"))
        chosen = [changed, good, there_already, alone, deleted, again(catalogue, damaged)]
        outcomes = catalogue.migrations.promote(chosen, by="a test")
        assert [str(one) for one in outcomes] == ["changed", "moved", "moved", "missing", "changed", "missing"]
        assert again(catalogue, there_already) == there_already

    def test_of_many_at_once_one_moves_each_dataset(self, catalogue: Catalogue, user: uuid.UUID) -> None:
        found = in_both(catalogue, user, 20)
        orders = [found, found[::-1]]
        results = at_once(6, lambda n: catalogue.migrations.promote(orders[n % 2], by=f"thread {n}"))
        moved = [outcome for one in results for outcome in one if outcome is Outcome.MOVED]
        assert len(moved) == 20
        assert all([move.phase for move in catalogue.migrations.moves(one.id)] == ["copy", "promote"] for one in found)

    def test_since_when_they_get_s3_is_since_the_last_promotion_of_this_row(
        self, catalogue: Catalogue, user: uuid.UUID
    ) -> None:
        [one] = promoted(catalogue, user)
        first = one.promoted_at
        catalogue.migrations.roll_back([one], by="a test")
        catalogue.migrations.promote([again(catalogue, one)], by="a test")
        last = catalogue.migrations.moves(one.id)[-1].at
        assert again(catalogue, one).promoted_at == last
        assert first
        assert last > first
        catalogue.datasets.delete(one.id, user, holder="a test", lease=NOW, buckets={})
        catalogue.datasets.insert(new_dataset(user, ("s3", "supabase"), id=one.id))  # the same content uploaded again
        assert again(catalogue, one).promoted_at is None
        assert len(catalogue.migrations.moves(one.id)) == 4

    def test_a_clock_that_is_behind_makes_no_two_versions_of_a_row_alike(
        self, catalogue: Catalogue, user: uuid.UUID
    ) -> None:
        ahead = datetime.now(UTC) + timedelta(days=3)
        dataset = catalogue.datasets.insert(new_dataset(user, ("supabase", "s3"), updated_at=ahead))
        [one] = seen(catalogue, dataset.id)
        catalogue.migrations.promote([one], by="a test")
        assert again(catalogue, one).updated_at == ahead + timedelta(microseconds=1)
        assert catalogue.migrations.promote([one], by="a test") == [Outcome.CHANGED]


class TestPruning:
    def test_supabases_copy_is_withdrawn_and_its_object_held_for_removal(
        self, catalogue: Catalogue, user: uuid.UUID
    ) -> None:
        [one] = promoted(catalogue, user)
        claim = prune(catalogue, one)
        assert one.supabase
        assert (claim.uri, claim.dataset_id, claim.holder) == (one.supabase.uri, one.id, "the pruning")
        assert again(catalogue, one) == replace(one, supabase=None)
        assert catalogue.migrations.moves(one.id)[-1].phase == "prune"
        assert catalogue.pending.renew(claim, LEASE)
        assert prune(catalogue, one) is None
        assert catalogue.migrations.roll_back([again(catalogue, one)], by="a test") == [Outcome.MISSING]

    def test_of_many_at_once_one_gets_the_object(self, catalogue: Catalogue, user: uuid.UUID) -> None:
        [one] = promoted(catalogue, user)
        results = at_once(6, lambda n: catalogue.migrations.withdraw(one, holder=f"{n}", lease=LEASE, by="a test"))
        assert sum(claim is not None for claim in results) == 1

    def test_what_changed_since_it_was_looked_at_is_left_alone(self, catalogue: Catalogue, user: uuid.UUID) -> None:
        [rolled_back, verified, deleted] = promoted(catalogue, user, 3)
        catalogue.migrations.roll_back([rolled_back], by="a test")
        catalogue.migrations.verified([Verified(verified.id, "supabase", datetime.now(UTC), "somebody")])
        catalogue.datasets.delete(deleted.id, user, holder="a test", lease=NOW, buckets={})
        assert [prune(catalogue, one) for one in (rolled_back, verified, deleted)] == [None] * 3
        assert again(catalogue, rolled_back).supabase
        assert again(catalogue, verified).supabase

    def test_it_is_refused_while_readers_would_miss_it(self, catalogue: Catalogue, user: uuid.UUID) -> None:
        [not_promoted], [damaged] = in_both(catalogue, user), promoted(catalogue, user)
        catalogue.migrations.damaged(damaged.id, copy_at(damaged, S3), "bits", "again", by="a test")
        for one, why in ((not_promoted, "readers do not get"), (again(catalogue, damaged), "is damaged")):
            with pytest.raises(ObjectMissingError, match=why):
                prune(catalogue, one)
            assert again(catalogue, one).supabase

    def test_it_is_refused_while_another_dataset_has_its_bytes_there(
        self, catalogue: Catalogue, user: uuid.UUID
    ) -> None:
        [one] = promoted(catalogue, user)
        assert one.supabase
        of_the_application(catalogue, user, storage_path=one.supabase.path)
        with pytest.raises(NameConflictError, match="another dataset names the same object"):
            prune(catalogue, one)
        assert again(catalogue, one) == one

    def test_pruned_it_can_be_copied_back_and_rolled_back(self, catalogue: Catalogue, user: uuid.UUID) -> None:
        [one] = promoted(catalogue, user)
        there = one.supabase
        assert there
        catalogue.migrations.release([prune(catalogue, one)])
        now = again(catalogue, one)
        back = catalogue.migrations.claim(
            [(now, there.provider, there.bucket, there.path)], holder="the way back", lease=LEASE
        )
        [claim] = back.held
        outcome = catalogue.migrations.copied([replace(settled(claim, now), copies=[there])], by="a test")
        assert outcome == [Outcome.COPIED]
        assert catalogue.migrations.roll_back([again(catalogue, one)], by="a test") == [Outcome.MOVED]
        assert again(catalogue, one).storage_path == there.path


class TestVerifying:
    def test_a_copy_found_whole_says_when_and_by_whom_and_no_older_news_covers_that(
        self, catalogue: Catalogue, user: uuid.UUID
    ) -> None:
        found = in_both(catalogue, user, 2)
        now = datetime.now(UTC)
        catalogue.migrations.verified([Verified(one.id, "s3", now, "run 2") for one in found])
        catalogue.migrations.verified([Verified(one.id, "s3", now - timedelta(days=1), "run 1") for one in found])
        copies_now = [again(catalogue, one).s3 for one in found]
        assert [(copy.verified_at, copy.verified_by) for copy in copies_now if copy] == [(now, "run 2")] * 2
        catalogue.migrations.verified([])

    def test_a_damaged_copy_nobody_reads_goes_so_that_it_is_made_anew(
        self, catalogue: Catalogue, user: uuid.UUID
    ) -> None:
        [one] = in_both(catalogue, user)
        catalogue.migrations.damaged(
            one.id, copy_at(one, S3), "It has other bytes.", "Copy it again.", by="the verification"
        )
        now = again(catalogue, one)
        assert (now.s3, now.supabase) == (None, one.supabase)
        assert now.hindrance
        assert (now.hindrance.kind, now.hindrance.reason) == ("damaged", "It has other bytes.")
        assert catalogue.migrations.moves(one.id)[-1].phase == "verify-failed"
        held = claimed(catalogue, [now]).held  # what lies there is free for the next to replace
        assert catalogue.migrations.copied(copies(held, [now]), by="a test") == [Outcome.COPIED]
        assert again(catalogue, one).hindrance is None

    def test_a_damaged_copy_that_readers_get_stays_until_they_are_sent_back(
        self, catalogue: Catalogue, user: uuid.UUID
    ) -> None:
        [one] = promoted(catalogue, user)
        catalogue.migrations.damaged(one.id, copy_at(one, S3), "bits", "Roll it back.", by="a test")
        catalogue.migrations.hindered([(one.id, "destination", "full", "wait", one.updated_at)])
        now = again(catalogue, one)
        assert now.s3 == one.s3
        assert now.hindrance
        assert now.hindrance.kind == "damaged"  # and not what is less than that
        assert catalogue.migrations.roll_back([now], by="a test") == [Outcome.MOVED]
        assert again(catalogue, one).s3 is None
        assert again(catalogue, one).storage_provider == "supabase"

    def test_one_found_whole_after_all_is_damaged_no_more(self, catalogue: Catalogue, user: uuid.UUID) -> None:
        [one] = promoted(catalogue, user)
        catalogue.migrations.damaged(one.id, copy_at(one, S3), "bits", "Roll it back.", by="a test")
        catalogue.migrations.verified([Verified(one.id, "s3", datetime.now(UTC), "the next")])
        assert again(catalogue, one).hindrance is None

    def test_a_reading_that_began_before_damage_was_found_says_nothing_against_it(
        self, catalogue: Catalogue, user: uuid.UUID
    ) -> None:
        [one], began = promoted(catalogue, user), catalogue.migrations.now()
        assert catalogue.migrations.damaged(one.id, copy_at(one, S3), "bits", "Roll it back.", by="a quick run")
        catalogue.migrations.verified([Verified(one.id, "s3", began, "a slow run", "a version")])
        now = again(catalogue, one)
        assert now.hindrance
        assert (now.hindrance.kind, now.s3) == ("damaged", one.s3)

    @pytest.mark.parametrize("changes", [{"sha256": "7" * 64}, {"size_bytes": 8}, {"version": "2"}, {"path": "other"}])
    def test_damage_of_a_copy_that_was_made_anew_meanwhile_is_not_the_new_ones(
        self, changes: dict[str, Any], catalogue: Catalogue, user: uuid.UUID
    ) -> None:
        [one] = in_both(catalogue, user)
        looked_at = replace(copy_at(one, S3), **changes)
        assert not catalogue.migrations.damaged(one.id, looked_at, "bits", "again", by="a test")
        assert again(catalogue, one) == one
        assert [move.phase for move in catalogue.migrations.moves(one.id)] == ["copy"]

    def test_damage_of_a_copy_that_was_only_verified_meanwhile_is_damage(
        self, catalogue: Catalogue, user: uuid.UUID
    ) -> None:
        [one] = promoted(catalogue, user)
        catalogue.migrations.verified([Verified(one.id, "s3", catalogue.migrations.now(), "another")])
        assert catalogue.migrations.damaged(one.id, copy_at(one, S3), "bits", "again", by="a test")

    def test_a_damaged_copy_is_not_let_go_where_that_is_said(self, catalogue: Catalogue, user: uuid.UUID) -> None:
        [one] = in_both(catalogue, user)
        assert catalogue.migrations.damaged(one.id, copy_at(one, S3), "bits", "again", by="a test", let_go=False)
        now = again(catalogue, one)
        assert now.hindrance
        assert (now.hindrance.kind, now.s3) == ("damaged", one.s3)

    def test_the_version_that_was_read_is_kept_and_one_that_is_not_known_takes_none_away(
        self, catalogue: Catalogue, user: uuid.UUID
    ) -> None:
        [one] = promoted(catalogue, user)
        for version in ("as read", None):
            catalogue.migrations.verified([Verified(one.id, "s3", catalogue.migrations.now(), "a test", version)])
            assert copy_at(again(catalogue, one), S3).version == "as read"

    def test_the_only_copy_stays_however_damaged(self, catalogue: Catalogue, user: uuid.UUID) -> None:
        [one] = promoted(catalogue, user)
        catalogue.migrations.release([prune(catalogue, one)])
        catalogue.migrations.damaged(one.id, copy_at(one, S3), "bits", "Upload it again.", by="a test")
        assert again(catalogue, one).s3 == one.s3
        assert catalogue.migrations.roll_back([again(catalogue, one)], by="a test") == [Outcome.MISSING]

    def test_damage_of_what_is_gone_or_in_supabase_takes_nothing_away(
        self, catalogue: Catalogue, user: uuid.UUID
    ) -> None:
        [one] = in_both(catalogue, user)
        catalogue.migrations.damaged(uuid.uuid4(), copy_at(one, S3), "bits", "again", by="a test")
        catalogue.migrations.damaged(one.id, copy_at(one, SUPABASE), "bits", "again", by="a test")
        now = again(catalogue, one)
        assert (now.s3, now.supabase) == (one.s3, one.supabase)
        assert now.hindrance
        assert now.hindrance.kind == "source_unsound"


@pytest.mark.parametrize("change", ["delete from dataset_moves", "update dataset_moves set phase = 'prune'"])
def test_what_was_done_is_never_changed_or_deleted(catalogue: Catalogue, user: uuid.UUID, change: str) -> None:
    with catalogue.database.writing() as connection:
        values = {"dataset_id": user, "phase": "copy", "at": datetime.now(UTC), "by": "me"}
        connection.execute(insert(dataset_moves).values(values))
    with pytest.raises(DBAPIError, match="append-only"), catalogue.database.writing() as connection:
        connection.execute(text(change))


def test_what_a_pruning_that_died_left_is_swept_with_what_lies_beside_it(embedded: Any, tmp_path: Path) -> None:
    shelves = Shelves(embedded.environment, tmp_path)
    new = shelves.sound(shelves.request([*chats(9), BAD], max_bad_fraction=0.1))
    upload(shelves.library, new, [S3, SUPABASE])
    assert len(shelves.objects()) == 4
    [one] = seen(shelves.catalogue, new.id)
    assert prune(shelves.catalogue, one)
    assert sweep(shelves.library).objects == []  # whoever holds it may be at work still
    shelves.run_out()
    assert one.supabase
    assert sweep(shelves.library).objects == [one.supabase.uri]
    assert {each.partition(":")[0] for each in shelves.objects()} == {"s3"}
    assert len(shelves.objects()) == 2
    assert shelves.pending() == 0
    shelves.catalogue.close()


def test_what_replaced_the_object_a_dead_prune_left_is_not_swept(embedded: Any, tmp_path: Path) -> None:
    shelves = Shelves(embedded.environment, tmp_path)
    new = shelves.sound(shelves.request(chats(3)))
    upload(shelves.library, new, [S3, SUPABASE])
    [one] = seen(shelves.catalogue, new.id)
    assert one.supabase
    path, bucket = one.supabase.path, one.supabase.bucket
    tag = shelves.library.stores.source(SUPABASE, bucket).look(path).tag
    with shelves.catalogue.database.writing() as connection:
        theirs = (dataset_copies.c.dataset_id == one.id, dataset_copies.c.provider == "supabase")
        connection.execute(update(dataset_copies).where(*theirs).values(version=tag))
    [one] = seen(shelves.catalogue, new.id)
    assert prune(shelves.catalogue, one)
    shelves.store(SUPABASE).delete(path)
    newer = b"what the application put there since"
    there = {"size": len(newer), "sha256": hashlib.sha256(newer).hexdigest(), "content_type": "text/plain"}
    shelves.store(SUPABASE).put(path, io.BytesIO(newer), **there)
    shelves.run_out()
    assert sweep(shelves.library).objects == []
    with shelves.store(SUPABASE).get(path) as chunks:
        assert b"".join(chunks) == newer
    assert shelves.pending() == 0
    shelves.catalogue.close()


def test_an_upload_that_was_begun_and_left_is_ended_by_the_sweep(embedded: Any, tmp_path: Path) -> None:
    shelves = Shelves(embedded.environment, tmp_path)
    one = of_the_application(shelves.catalogue, shelves.user_id)
    place = (one, "s3", shelves.store(S3).bucket, f"{shelves.user_id}/datasets/{one.id}.jsonl.gz")
    [claim] = shelves.catalogue.migrations.claim([place], holder="dead", lease=LEASE).held
    begun = shelves.s3.create_multipart_upload(Bucket=claim.bucket, Key=claim.path)
    shelves.s3.upload_part(
        Bucket=claim.bucket, Key=claim.path, UploadId=begun["UploadId"], PartNumber=1, Body=b"x" * 1000
    )
    shelves.catalogue.migrations.begun(claim, upload_id=begun["UploadId"], part_size=1000, source_version="v1")
    shelves.run_out()
    sweep(shelves.library)
    assert shelves.pending() == 0
    left = shelves.s3.list_multipart_uploads(Bucket=claim.bucket, Prefix=claim.path).get("Uploads", [])
    assert left == []
    shelves.catalogue.close()


def test_nothing_is_verified_later_than_the_database_says_it_is_now(catalogue: Catalogue, user: uuid.UUID) -> None:
    ahead = datetime.now(UTC) + timedelta(days=300)
    found = in_supabase(catalogue, user)
    [settled] = copies(claimed(catalogue, found).held, found)
    early = replace(settled, copies=[replace(copy, verified_at=ahead) for copy in settled.copies])
    assert catalogue.migrations.copied([early], by="a test") == [Outcome.COPIED]
    [copied] = seen(catalogue, found[0].id)
    assert copied.s3
    assert copied.s3.verified_at < ahead - timedelta(days=299)
    catalogue.migrations.verified([Verified(copied.id, "s3", ahead, "a fast clock")])
    [verified] = seen(catalogue, copied.id)
    assert verified.s3
    assert (verified.s3.verified_by, verified.s3.verified_at < ahead - timedelta(days=299)) == ("a fast clock", True)


def test_a_copy_that_a_fast_clock_stamped_is_read_again_and_gets_the_right_time(
    catalogue: Catalogue, user: uuid.UUID
) -> None:
    [copied] = in_both(catalogue, user)
    stamped = update(dataset_copies).where(dataset_copies.c.dataset_id == copied.id, dataset_copies.c.provider == "s3")
    with catalogue.database.writing() as connection:
        connection.execute(stamped.values(verified_at=datetime.now(UTC) + timedelta(days=300)))
    now, of_user = datetime.now(UTC), Selection(user_id=user)
    assert [one.id for one in catalogue.migrations.to_verify(of_user, verified_before=now, limit=5)] == [copied.id]
    catalogue.migrations.verified([Verified(copied.id, "s3", now, "a right clock")])
    [verified] = seen(catalogue, copied.id)
    assert verified.s3
    assert verified.s3.verified_at == now
    assert list(catalogue.migrations.to_verify(of_user, verified_before=now, limit=5)) == []
