"""What every catalogue keeps to, on SQLite and on PostgreSQL alike."""

from __future__ import annotations

import uuid
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from catalogues import BUCKETS, LEASE, NOW, Place, at_once, claim, copy_of, held, insert_as_the_application, new_dataset
from sqlalchemy import insert

from trainmaster.catalog.catalogue import Catalogue
from trainmaster.catalog.tables import dataset_copies
from trainmaster.errors import (
    DatasetMissingError,
    DatasetRefusedError,
    LeaseLostError,
    NameConflictError,
    UploadUnderWayError,
)


@pytest.fixture
def user() -> uuid.UUID:
    return uuid.uuid4()


class TestInserting:
    def test_a_dataset_comes_back_as_it_was_given(self, catalogue: Catalogue, user: uuid.UUID) -> None:
        east = timezone(timedelta(hours=5, minutes=45))
        dataset = new_dataset(
            user,
            ("s3", "supabase"),
            name="Кошки 🐈 'n\" \\ %",
            description="line\nline",
            file_size_bytes=7_000_000_000,
            total_examples=3_000_000_000,
            avg_input_length=0.1,
            avg_output_length=1234567.891,
            metadata={"nested": [1, None, {"ü": 0.1}], "null": None, "back\\u0000slash": "\\u0000"},
            created_at=datetime(2026, 10, 25, 2, 30, 0, 123456, tzinfo=east),
        )
        assert catalogue.datasets.insert(dataset) == dataset
        found = catalogue.datasets.get(dataset.id, user)
        assert found == dataset
        assert found.created_at.tzinfo == UTC

    def test_what_is_not_known_is_none(self, catalogue: Catalogue, user: uuid.UUID) -> None:
        dataset = new_dataset(user)
        catalogue.datasets.insert(dataset)
        found = catalogue.datasets.get(dataset.id, user)
        assert found
        assert (found.metadata, found.description, found.total_examples, found.config_id) == (None, None, None, None)

    def test_the_same_again_is_left_as_it_is(self, catalogue: Catalogue, user: uuid.UUID) -> None:
        dataset = new_dataset(user)
        catalogue.datasets.insert(dataset)
        later = datetime.now(UTC)
        again = replace(dataset, created_at=later, updated_at=later, description="described anew")
        assert catalogue.datasets.insert(again) == dataset
        assert catalogue.datasets.page(user).datasets == [dataset]

    def test_the_same_again_gives_up_the_claim_it_came_with(self, catalogue: Catalogue, user: uuid.UUID) -> None:
        dataset = new_dataset(user)
        had = held(catalogue, dataset)
        insert_as_the_application(catalogue, dataset)
        with catalogue.database.writing() as connection:
            connection.execute(insert(dataset_copies).values(dataset_id=dataset.id, **asdict(dataset.copies[0])))
        catalogue.datasets.insert(dataset, claims=[had])
        assert catalogue.pending.release(had) is False

    @pytest.mark.parametrize("changed", [{"name": "dogs"}, {"format": "dpo"}])
    def test_another_dataset_under_the_same_id_is_refused(
        self, catalogue: Catalogue, user: uuid.UUID, changed: dict[str, str]
    ) -> None:
        dataset = new_dataset(user)
        catalogue.datasets.insert(dataset)
        with pytest.raises(NameConflictError, match=str(dataset.id)):
            catalogue.datasets.insert(replace(dataset, **changed))  # type: ignore[arg-type]
        assert catalogue.datasets.get(dataset.id, user) == dataset

    def test_other_bytes_or_another_user_under_the_same_id_are_refused(
        self, catalogue: Catalogue, user: uuid.UUID
    ) -> None:
        dataset = new_dataset(user)
        catalogue.datasets.insert(dataset)
        for other in (
            replace(dataset, copies=[replace(dataset.copies[0], sha256="f" * 64)]),
            replace(dataset, user_id=uuid.uuid4()),
        ):
            with pytest.raises(NameConflictError):
                catalogue.datasets.insert(other)

    def test_an_object_of_another_dataset_is_refused(self, catalogue: Catalogue, user: uuid.UUID) -> None:
        dataset = new_dataset(user)
        catalogue.datasets.insert(dataset)
        thief = replace(dataset, id=uuid.uuid4(), name="mine now")
        with pytest.raises(NameConflictError, match="mine now"):
            catalogue.datasets.insert(thief)
        assert catalogue.datasets.get(thief.id, user) is None

    def test_of_many_inserting_the_same_at_once_all_get_the_one_row(
        self, catalogue: Catalogue, user: uuid.UUID
    ) -> None:
        dataset = new_dataset(user)
        assert at_once(8, lambda _: catalogue.datasets.insert(dataset)) == [dataset] * 8

    def test_a_claim_is_settled_with_the_row_or_not_at_all(self, catalogue: Catalogue, user: uuid.UUID) -> None:
        dataset = new_dataset(user)
        had = held(catalogue, dataset)
        with pytest.raises(DatasetRefusedError):
            catalogue.datasets.insert(
                replace(dataset, file_size_bytes=1, copies=[replace(dataset.copies[0], size_bytes=-1)]), claims=[had]
            )
        assert catalogue.datasets.get(dataset.id, user) is None
        assert catalogue.pending.renew(had, LEASE).holder == had.holder

        catalogue.datasets.insert(dataset, claims=[had])
        assert catalogue.pending.release(had) is False

    def test_nothing_is_catalogued_once_the_claim_was_taken_over(self, catalogue: Catalogue, user: uuid.UUID) -> None:
        dataset = new_dataset(user)
        mine = held(catalogue, dataset, lease=NOW)
        theirs = held(catalogue, dataset, "theirs")
        with pytest.raises(LeaseLostError, match=mine.path):
            catalogue.datasets.insert(dataset, claims=[mine])
        assert catalogue.datasets.get(dataset.id, user) is None
        catalogue.datasets.insert(dataset, claims=[theirs])

    def test_nothing_is_catalogued_while_somebody_else_is_at_its_object(
        self, catalogue: Catalogue, user: uuid.UUID
    ) -> None:
        """He may be about to remove it: a deletion of the dataset, or a sweep."""
        dataset = new_dataset(user, ("supabase", "s3"))
        catalogue.datasets.insert(dataset)
        catalogue.datasets.delete(dataset.id, user, holder="the deletion", lease=LEASE, buckets={})
        with pytest.raises(UploadUnderWayError, match=r"runs out in \d+ s"):
            catalogue.datasets.insert(dataset)
        assert catalogue.datasets.get(dataset.id, user) is None

        other = new_dataset(user, ("supabase", "s3"))
        catalogue.datasets.insert(replace(other, copies=[other.copies[1]]))
        assert claim(catalogue, other, "the sweep", provider="s3")
        with pytest.raises(UploadUnderWayError):
            catalogue.datasets.add_copy(other.id, user, other.copies[0])
        assert catalogue.datasets.get(other.id, user) == replace(other, copies=(other.copies[1],))

    def test_of_a_deletion_and_an_insert_at_once_none_leaves_a_row_whose_object_is_to_go(
        self, catalogue: Catalogue, user: uuid.UUID
    ) -> None:
        for _ in range(10):
            dataset = new_dataset(user)
            catalogue.datasets.insert(dataset)
            steps = [
                lambda dataset=dataset: catalogue.datasets.delete(
                    dataset.id, user, holder="the deletion", lease=LEASE, buckets={}
                ),
                lambda dataset=dataset: catalogue.datasets.insert(dataset),
            ]
            (left,), inserted = at_once(2, lambda n, steps=steps: steps[n]())
            assert inserted == dataset or isinstance(inserted, UploadUnderWayError)
            assert catalogue.datasets.get(dataset.id, user) is None
            assert catalogue.pending.release(left) is True

    def test_a_lease_that_ran_out_unnoticed_is_still_good(self, catalogue: Catalogue, user: uuid.UUID) -> None:
        dataset = new_dataset(user)
        had = held(catalogue, dataset, lease=NOW)
        assert catalogue.datasets.insert(dataset, claims=[had]) == dataset

    def test_killed_before_the_commit_it_leaves_the_claim_and_no_row(
        self, catalogue_place: Place, catalogue: Catalogue, user: uuid.UUID
    ) -> None:
        dataset = new_dataset(user)
        had = held(catalogue, dataset)
        other = catalogue_place.start(KILLED_WHILE_INSERTING, str(dataset.id), str(user))
        assert other.stdout
        assert other.stdout.readline() == "about to commit\n"
        other.kill()
        other.wait()
        other.stdout.close()
        assert catalogue.datasets.get(dataset.id, user) is None
        assert catalogue.datasets.insert(dataset, claims=[had]) == dataset

    @pytest.mark.parametrize("bad", ["a\0b", "a\ud800b"])
    def test_text_one_database_cannot_keep_none_takes(self, catalogue: Catalogue, user: uuid.UUID, bad: str) -> None:
        for changed in ({"name": bad}, {"description": bad}, {"metadata": {"file": [bad]}}, {"metadata": {bad: 1}}):
            with pytest.raises(DatasetRefusedError, match="cannot keep"):
                catalogue.datasets.insert(new_dataset(user, **changed))
        with pytest.raises(DatasetRefusedError, match="cannot keep"):
            catalogue.datasets.insert(new_dataset(user, metadata={"nan": float("nan")}))
        assert catalogue.datasets.page(user).datasets == []


class TestOneUsersDatasets:
    def test_nobody_else_finds_reads_changes_or_deletes_one(self, catalogue: Catalogue, user: uuid.UUID) -> None:
        dataset, stranger = new_dataset(user, ("supabase", "s3")), uuid.uuid4()
        catalogue.datasets.insert(dataset)
        datasets = catalogue.datasets
        assert datasets.get(dataset.id, stranger) is None
        assert datasets.page(stranger).datasets == []
        with pytest.raises(DatasetMissingError):
            datasets.delete(dataset.id, stranger, holder="x", lease=LEASE, buckets=BUCKETS)
        with pytest.raises(DatasetMissingError):
            datasets.add_copy(dataset.id, stranger, dataset.copies[0])
        assert datasets.get(dataset.id, user) == dataset


class TestCopies:
    def test_a_second_copy_is_recorded_and_its_claim_settled(self, catalogue: Catalogue, user: uuid.UUID) -> None:
        dataset = new_dataset(user)
        catalogue.datasets.insert(dataset)
        second = copy_of(dataset.id, user, "s3")
        both = replace(dataset, copies=(second, *dataset.copies))
        had = claim(catalogue, both, provider="s3")
        assert had
        assert catalogue.datasets.add_copy(dataset.id, user, second, claim=had) == both
        assert catalogue.pending.release(had) is False

    def test_recorded_again_it_is_verified_again(self, catalogue: Catalogue, user: uuid.UUID) -> None:
        dataset = new_dataset(user)
        catalogue.datasets.insert(dataset)
        again = replace(dataset.copies[0], verified_by="a sweep", verified_at=datetime.now(UTC))
        assert catalogue.datasets.add_copy(dataset.id, user, again).copies == (again,)

    @pytest.mark.parametrize("changed", [{"path": "elsewhere"}, {"sha256": "f" * 64}, {"size_bytes": 1}])
    def test_another_object_or_other_bytes_are_no_copy(
        self, catalogue: Catalogue, user: uuid.UUID, changed: dict[str, Any]
    ) -> None:
        dataset = new_dataset(user)
        catalogue.datasets.insert(dataset)
        with pytest.raises(NameConflictError):
            catalogue.datasets.add_copy(dataset.id, user, replace(dataset.copies[0], **changed))

    def test_no_copy_is_recorded_once_the_claim_was_taken_over(self, catalogue: Catalogue, user: uuid.UUID) -> None:
        dataset = new_dataset(user, ("supabase", "s3"))
        catalogue.datasets.insert(replace(dataset, copies=[dataset.copies[1]]))
        had = claim(catalogue, dataset, provider="s3", lease=NOW)
        assert had
        assert claim(catalogue, dataset, "theirs", provider="s3")
        with pytest.raises(LeaseLostError):
            catalogue.datasets.add_copy(dataset.id, user, dataset.copies[0], claim=had)
        found = catalogue.datasets.get(dataset.id, user)
        assert found
        assert found.copy_at("s3") is None


class TestDeleting:
    def test_its_objects_become_pending_held_by_who_deletes(self, catalogue: Catalogue, user: uuid.UUID) -> None:
        dataset = new_dataset(user, ("supabase", "s3"))
        catalogue.datasets.insert(dataset)
        claims = catalogue.datasets.delete(dataset.id, user, holder="me", lease=LEASE, buckets={})
        assert {(one.provider, one.path) for one in claims} == {(one.provider, one.path) for one in dataset.copies}
        assert catalogue.datasets.get(dataset.id, user) is None
        with pytest.raises(UploadUnderWayError):
            claim(catalogue, dataset, "an upload of the same")
        assert [catalogue.pending.release(one) for one in claims] == [True, True]
        assert catalogue.datasets.insert(dataset, claims=[held(catalogue, dataset)]) == dataset

    def test_what_a_crash_leaves_is_found_when_the_lease_has_run_out(
        self, catalogue: Catalogue, user: uuid.UUID
    ) -> None:
        dataset = new_dataset(user)
        catalogue.datasets.insert(dataset)
        left = catalogue.datasets.delete(dataset.id, user, holder="me", lease=NOW, buckets={})
        assert [one for one in catalogue.pending.expired(1000) if one.user_id == user] == left
        assert held(catalogue, dataset, "the sweep")
        assert catalogue.pending.release(left[0]) is False

    def test_an_object_the_application_stored_itself_is_not_forgotten(
        self, catalogue: Catalogue, user: uuid.UUID
    ) -> None:
        dataset = replace(new_dataset(user), copies=())
        insert_as_the_application(catalogue, dataset)
        (left,) = catalogue.datasets.delete(dataset.id, user, holder="me", lease=LEASE, buckets=BUCKETS)
        assert (left.provider, left.bucket, left.path) == ("supabase", "training-datasets", dataset.storage_path)

    def test_a_row_that_names_another_user_s_object_takes_only_itself_away(
        self, catalogue: Catalogue, user: uuid.UUID
    ) -> None:
        """The application lets people write rows of their own, and our key may remove whatever they name."""
        theirs = new_dataset(uuid.uuid4())
        catalogue.datasets.insert(theirs)
        for path in (theirs.storage_path, f"{user}/../{theirs.storage_path}", f"{user}x/private/a.jsonl.gz"):
            row = replace(new_dataset(user), copies=(), storage_path=path)
            insert_as_the_application(catalogue, row)
            assert not row.names_its_own
            assert catalogue.datasets.delete(row.id, user, holder="me", lease=LEASE, buckets=BUCKETS) == []
            assert catalogue.datasets.get(row.id, user) is None

    def test_who_had_claimed_its_object_before_holds_it_no_more(self, catalogue: Catalogue, user: uuid.UUID) -> None:
        dataset = new_dataset(user)
        theirs = held(catalogue, dataset, "theirs")
        insert_as_the_application(catalogue, replace(dataset, copies=()))
        catalogue.datasets.delete(dataset.id, user, holder="me", lease=LEASE, buckets=BUCKETS)
        with pytest.raises(LeaseLostError):
            catalogue.pending.renew(theirs, LEASE)

    def test_a_copy_made_meanwhile_is_pending_or_refused(self, catalogue: Catalogue, user: uuid.UUID) -> None:
        for _ in range(5):
            dataset = new_dataset(user, ("supabase", "s3"))
            catalogue.datasets.insert(replace(dataset, copies=[dataset.copies[1]]))
            copied = claim(catalogue, dataset, "the copy", provider="s3")
            steps = [
                lambda dataset=dataset: catalogue.datasets.delete(
                    dataset.id, user, holder="the deletion", lease=LEASE, buckets={}
                ),
                lambda dataset=dataset, copied=copied: catalogue.datasets.add_copy(
                    dataset.id, user, dataset.copies[0], claim=copied
                ),
            ]
            deleted, added = at_once(2, lambda n, steps=steps: steps[n]())
            if isinstance(added, DatasetMissingError):
                assert [one.provider for one in deleted] == ["supabase"]
                assert catalogue.pending.release(copied) is True  # type: ignore[arg-type]
            else:
                assert {one.provider for one in deleted} == {"supabase", "s3"}


KILLED_WHILE_INSERTING = """
import time, uuid
from catalogues import new_dataset, held
from sqlalchemy import Engine, event

dataset = new_dataset(uuid.UUID(sys.argv[4]), id=uuid.UUID(sys.argv[3]))
had = held(catalogue, dataset)

@event.listens_for(Engine, "commit")
def wait_to_be_killed(connection):
    print("about to commit", flush=True)
    time.sleep(600)

catalogue.datasets.insert(dataset, claims=[had])
"""
