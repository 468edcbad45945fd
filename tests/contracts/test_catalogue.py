"""What every catalogue keeps to, on SQLite and on PostgreSQL alike."""

from __future__ import annotations

import json
import random
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from catalogues import BUCKETS, LEASE, Place, claim, copy_of, held, new_dataset
from postgres import Postgres
from sqlalchemy import insert, select
from sqlalchemy.exc import IntegrityError

from trainmaster.catalog.catalogue import Catalogue
from trainmaster.catalog.datasets import TRAINING_PROVIDERS, Dataset
from trainmaster.catalog.tables import cloud_deployments, training_configs, training_datasets
from trainmaster.errors import (
    DatasetMissingError,
    DatasetRefusedError,
    LeaseLostError,
    NameConflictError,
    ObjectMissingError,
    UnknownChoiceError,
    UploadUnderWayError,
)

NOW = timedelta(0)
"""A lease that has run out as soon as it is had."""


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """One database for the module: what a test makes is a new user's."""
    folder = tmp_path_factory.mktemp("catalogue")
    if request.param == "sqlite":
        yield Place(None, folder)
        return
    postgres: Postgres = request.getfixturevalue("postgres")
    url = postgres.migrated()
    yield Place(url, folder)
    postgres.drop(url)


@pytest.fixture(scope="module")
def catalogue(place: Place) -> Iterator[Catalogue]:
    opened = place.open()
    yield opened
    opened.close()


@pytest.fixture
def user() -> uuid.UUID:
    return uuid.uuid4()


def at_once(count: int, call: Callable[[int], Any]) -> list[Any]:
    """What `count` threads that start together come to; what one raises is among it."""
    gate = threading.Barrier(count)

    def one(n: int) -> Any:
        gate.wait()
        try:
            return call(n)
        except (UploadUnderWayError, NameConflictError, LeaseLostError, DatasetMissingError) as error:
            return error

    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(one, range(count)))


def insert_as_the_application(catalogue: Catalogue, dataset: Dataset) -> None:
    """A row without copies, as the application writes its own."""
    values = {column.name: getattr(dataset, column.name) for column in training_datasets.columns}
    with catalogue.database.writing() as connection:
        connection.execute(insert(training_datasets).values(values))


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
        catalogue.datasets.add_copy(dataset.id, user, dataset.copies[0])
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

    def test_a_lease_that_ran_out_unnoticed_is_still_good(self, catalogue: Catalogue, user: uuid.UUID) -> None:
        dataset = new_dataset(user)
        had = held(catalogue, dataset, lease=NOW)
        assert catalogue.datasets.insert(dataset, claims=[had]) == dataset

    def test_killed_before_the_commit_it_leaves_the_claim_and_no_row(
        self, place: Place, catalogue: Catalogue, user: uuid.UUID
    ) -> None:
        dataset = new_dataset(user)
        had = held(catalogue, dataset)
        other = place.start(KILLED_WHILE_INSERTING, str(dataset.id), str(user))
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
        assert datasets.flip(dataset.id, stranger, "s3", dataset.updated_at) is None
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


class TestFlipping:
    def test_the_row_names_the_other_copy(self, catalogue: Catalogue, user: uuid.UUID) -> None:
        dataset = new_dataset(user, ("supabase", "s3"))
        catalogue.datasets.insert(dataset)
        flipped = catalogue.datasets.flip(dataset.id, user, "s3", dataset.updated_at)
        assert flipped
        assert (flipped.storage_provider, flipped.storage_path) == ("s3", copy_of(dataset.id, user, "s3").path)
        assert flipped.updated_at > dataset.updated_at
        assert flipped == catalogue.datasets.get(dataset.id, user)
        assert (
            replace(
                flipped, **{name: getattr(dataset, name) for name in ("storage_provider", "storage_path", "updated_at")}
            )
            == dataset
        )

    def test_a_row_changed_since_is_not_flipped(self, catalogue: Catalogue, user: uuid.UUID) -> None:
        ahead = datetime.now(UTC) + timedelta(hours=1)  # of a worker whose clock is ahead of the database's
        dataset = replace(new_dataset(user, ("supabase", "s3")), updated_at=ahead)
        catalogue.datasets.insert(dataset)
        flipped = catalogue.datasets.flip(dataset.id, user, "s3", ahead)
        assert flipped
        assert flipped.updated_at > ahead
        assert catalogue.datasets.flip(dataset.id, user, "supabase", ahead) is None

    def test_of_many_at_once_one_flips(self, catalogue: Catalogue, user: uuid.UUID) -> None:
        dataset = new_dataset(user, ("supabase", "s3"))
        catalogue.datasets.insert(dataset)
        results = at_once(8, lambda _: catalogue.datasets.flip(dataset.id, user, "s3", dataset.updated_at))
        assert len([one for one in results if one]) == 1

    def test_without_a_copy_there_nothing_is_flipped(self, catalogue: Catalogue, user: uuid.UUID) -> None:
        dataset = new_dataset(user)
        catalogue.datasets.insert(dataset)
        with pytest.raises(ObjectMissingError, match="no copy in s3"):
            catalogue.datasets.flip(dataset.id, user, "s3", dataset.updated_at)
        assert catalogue.datasets.get(dataset.id, user) == dataset


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

    def test_who_had_claimed_its_object_before_holds_it_no_more(self, catalogue: Catalogue, user: uuid.UUID) -> None:
        dataset = new_dataset(user)
        theirs = held(catalogue, dataset, "theirs")
        catalogue.datasets.insert(dataset)
        catalogue.datasets.delete(dataset.id, user, holder="me", lease=LEASE, buckets={})
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


class TestPages:
    def test_newest_first_and_among_the_equally_new_every_one_once(self, catalogue: Catalogue, user: uuid.UUID) -> None:
        start, choice = datetime(2026, 1, 1, tzinfo=UTC), random.Random(7)  # noqa: S311
        made = [
            new_dataset(user, created_at=start + timedelta(microseconds=choice.choice([0, 1, 1, 1_000_000])))
            for _ in range(23)
        ]
        for dataset in made:
            catalogue.datasets.insert(dataset)
        expected = sorted(made, key=lambda one: (one.created_at, one.id), reverse=True)
        for limit in (1, 4, 22, 23, 24):
            assert pages(catalogue, user, limit) == expected

    def test_what_is_inserted_or_deleted_meanwhile_moves_nothing(self, catalogue: Catalogue, user: uuid.UUID) -> None:
        start = datetime(2026, 1, 1, tzinfo=UTC)
        made = [new_dataset(user, created_at=start) for _ in range(12)]
        for dataset in made:
            catalogue.datasets.insert(dataset)
        expected = sorted(made, key=lambda one: one.id, reverse=True)
        page, seen = catalogue.datasets.page(user, limit=3), []
        while True:
            seen += page.datasets
            catalogue.datasets.insert(new_dataset(user, created_at=start + timedelta(seconds=1)))
            catalogue.datasets.delete(
                seen[-1].id, user, holder="x", lease=LEASE, buckets={}
            )  # the very one it stands at
            if page.cursor is None:
                break
            page = catalogue.datasets.page(user, limit=3, cursor=page.cursor)
        assert seen == expected

    def test_inserted_by_others_all_the_while_every_old_one_is_seen_once(
        self, catalogue: Catalogue, user: uuid.UUID
    ) -> None:
        made = [new_dataset(user) for _ in range(20)]
        for dataset in made:
            catalogue.datasets.insert(dataset)
        done = threading.Event()

        def insert_on() -> None:
            while not done.is_set():
                catalogue.datasets.insert(new_dataset(user))

        with ThreadPoolExecutor(2) as threads:
            others = [threads.submit(insert_on) for _ in range(2)]
            seen = [one.id for one in pages(catalogue, user, 2)]
            done.set()
            for other in others:
                other.result()
        assert len(seen) == len(set(seen))
        assert {one.id for one in made} <= set(seen)

    def test_training_sees_only_what_is_where_it_reads(self, catalogue: Catalogue, user: uuid.UUID) -> None:
        in_s3, in_supabase, in_both = (new_dataset(user, where) for where in (["s3"], ["supabase"], ["supabase", "s3"]))
        for dataset in (in_s3, in_supabase, in_both):
            catalogue.datasets.insert(dataset)
        application_own = replace(new_dataset(user), copies=())
        insert_as_the_application(catalogue, application_own)
        there = {"s3": {in_s3.id, in_both.id}, "supabase": {in_supabase.id, in_both.id, application_own.id}}
        expected = {"runpod", "lambda", "local", "colab", "huggingface"}, {"sagemaker", "aws"}
        assert {name for name in TRAINING_PROVIDERS if TRAINING_PROVIDERS[name] == "supabase"} == expected[0]
        assert {name for name in TRAINING_PROVIDERS if TRAINING_PROVIDERS[name] == "s3"} == expected[1]
        for name, provider in TRAINING_PROVIDERS.items():
            for asked in ({"training_provider": name}, {"provider": provider}, {"training_provider": name.upper()}):
                assert {one.id for one in catalogue.datasets.page(user, **asked).datasets} == there[provider]  # type: ignore[arg-type]

    def test_by_format_and_by_any_part_of_the_name(self, catalogue: Catalogue, user: uuid.UUID) -> None:
        names = ["Cats 100%", "cats_v2", "CATSxv2", "Größe", "back\\slash"]
        for n, name in enumerate(names):
            catalogue.datasets.insert(new_dataset(user, name=name, format="dpo" if n % 2 else "chatml"))

        def found(**asked: str) -> set[str]:
            return {one.name for one in catalogue.datasets.page(user, **asked).datasets}  # type: ignore[arg-type]

        assert found(name="CATS") == set(names[:3])
        assert found(name="100%") == {"Cats 100%"}
        assert found(name="ts_v") == {"cats_v2"}
        assert found(name="größ") == {"Größe"}
        assert found(name="k\\s") == {"back\\slash"}
        assert found(name="") == set(names)
        assert found(name="' or 1=1 --") == set()
        assert found(format="dpo") == {"cats_v2", "Größe"}
        assert found(format="dpo", name="cats") == {"cats_v2"}
        assert found(format="nothing of the kind") == set()

    def test_what_there_is_not_is_refused_with_what_there_is(self, catalogue: Catalogue, user: uuid.UUID) -> None:
        with pytest.raises(
            UnknownChoiceError, match=r"'vast'.*runpod, lambda, local, colab, huggingface, sagemaker, aws"
        ):
            catalogue.datasets.page(user, training_provider="vast")
        with pytest.raises(UnknownChoiceError, match=r"'gcs'.*supabase, s3"):
            catalogue.datasets.page(user, provider="gcs")
        for limit in (0, -1, 201):
            with pytest.raises(UnknownChoiceError, match="1 to 200"):
                catalogue.datasets.page(user, limit=limit)

    @pytest.mark.parametrize(
        "cursor", ["", "x", "ü", "AAAA", "MjAyNi0wMS0wMXxub3QtYS11dWlk", "\0", "=" * 5, "fA", "a" * 10_000]
    )
    def test_a_cursor_that_is_none_is_refused(self, catalogue: Catalogue, user: uuid.UUID, cursor: str) -> None:
        with pytest.raises(UnknownChoiceError, match="Start without a cursor") as refusal:
            catalogue.datasets.page(user, cursor=cursor)
        assert len(str(refusal.value)) < 300


class TestClaiming:
    def test_of_many_threads_one_gets_an_object(self, catalogue: Catalogue, user: uuid.UUID) -> None:
        dataset = new_dataset(user)
        results = at_once(12, lambda n: claim(catalogue, dataset, f"thread {n}"))
        refused = [one for one in results if isinstance(one, UploadUnderWayError)]
        (won,) = [one for one in results if one not in refused]
        assert len(refused) == 11
        assert all(f"since {won.started_at:%Y-%m-%d %H:%M:%S} UTC" in str(one) for one in refused)

    def test_of_many_threads_one_takes_an_abandoned_object_over(self, catalogue: Catalogue, user: uuid.UUID) -> None:
        dataset = new_dataset(user)
        held(catalogue, dataset, "dead", lease=NOW)
        results = at_once(12, lambda n: claim(catalogue, dataset, f"thread {n}"))
        assert sum(isinstance(one, UploadUnderWayError) for one in results) == 11

    def test_of_many_processes_one_gets_each_object(self, place: Place, user: uuid.UUID) -> None:
        processes = [place.start(CLAIM_EVERYTHING, str(user), f"process {n}") for n in range(3)]
        for process in processes:
            assert process.stdout
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            assert process.stdin
            process.stdin.write("go\n")
            process.stdin.flush()
        won = [name for process in processes for name in json.loads(process.communicate(timeout=60)[0])]
        assert sorted(won) == sorted(str(n) for n in range(20))

    def test_who_holds_it_gets_it_anew(self, catalogue: Catalogue, user: uuid.UUID) -> None:
        dataset = new_dataset(user)
        first = held(catalogue, dataset)
        assert held(catalogue, dataset).lease_until > first.lease_until

    def test_renewed_it_is_held_for_longer(self, catalogue: Catalogue, user: uuid.UUID) -> None:
        dataset = new_dataset(user)
        had = held(catalogue, dataset, lease=NOW)
        renewed = catalogue.pending.renew(had, LEASE)
        assert renewed.lease_until - had.lease_until >= LEASE
        with pytest.raises(UploadUnderWayError):
            claim(catalogue, dataset, "theirs")

    def test_taken_over_it_can_be_neither_renewed_nor_released(self, catalogue: Catalogue, user: uuid.UUID) -> None:
        dataset = new_dataset(user)
        mine = held(catalogue, dataset, lease=NOW)
        theirs = held(catalogue, dataset, "theirs")
        with pytest.raises(LeaseLostError):
            catalogue.pending.renew(mine, LEASE)
        assert catalogue.pending.release(mine) is False
        assert catalogue.pending.release(theirs) is True
        assert catalogue.pending.release(theirs) is False

    def test_a_catalogued_object_cannot_be_claimed_so_no_sweep_removes_it(
        self, catalogue: Catalogue, user: uuid.UUID
    ) -> None:
        dataset, application_own = new_dataset(user), new_dataset(user)
        catalogue.datasets.insert(dataset)
        insert_as_the_application(catalogue, application_own)
        for one in (dataset, application_own):
            assert claim(catalogue, one, lease=NOW) is None
            assert [left for left in catalogue.pending.expired(1000) if left.dataset_id == one.id] == []

    def test_a_claim_forgotten_after_all_does_not_outlive_the_next(self, catalogue: Catalogue, user: uuid.UUID) -> None:
        dataset = new_dataset(user)
        held(catalogue, dataset, "dead", lease=NOW)
        catalogue.datasets.insert(dataset)
        assert claim(catalogue, dataset, "the sweep") is None
        assert [left for left in catalogue.pending.expired(1000) if left.dataset_id == dataset.id] == []

    def test_the_same_path_elsewhere_is_another_object(self, catalogue: Catalogue, user: uuid.UUID) -> None:
        dataset = new_dataset(user, ("s3",))
        catalogue.datasets.insert(dataset)
        moved = replace(dataset, copies=[replace(dataset.copies[0], bucket="another-bucket")])
        assert claim(catalogue, moved)

    def test_an_insert_and_a_claim_of_one_object_never_both_hold_it(
        self, catalogue: Catalogue, user: uuid.UUID
    ) -> None:
        for _ in range(10):
            dataset = new_dataset(user)
            had = held(catalogue, dataset, lease=NOW)
            steps = [
                lambda dataset=dataset, had=had: catalogue.datasets.insert(dataset, claims=[had]),
                lambda dataset=dataset: claim(catalogue, dataset, "the sweep"),
            ]
            inserted, claimed = at_once(2, lambda n, steps=steps: steps[n]())
            assert (inserted == dataset and claimed is None) or isinstance(inserted, LeaseLostError)

    def test_only_abandoned_ones_are_listed_the_longest_abandoned_first(
        self, catalogue: Catalogue, user: uuid.UUID
    ) -> None:
        second, first, live = sorted((new_dataset(user) for _ in range(3)), key=lambda one: one.storage_path)
        held(catalogue, second, lease=-timedelta(hours=1))
        held(catalogue, first, lease=-timedelta(hours=2))
        held(catalogue, live)
        assert [one.dataset_id for one in catalogue.pending.expired(1000) if one.user_id == user] == [
            first.id,
            second.id,
        ]
        assert len(catalogue.pending.expired(1)) == 1


class TestTheApplicationsTables:
    def deployment(self, user: uuid.UUID, **changed: Any) -> dict[str, Any]:
        values = {
            "id": uuid.uuid4(),
            "user_id": user,
            "platform": "sagemaker",
            "status": "running",
            "created_at": datetime.now(UTC),
        }
        return values | changed

    def test_money_moments_lists_and_json_come_back_exactly(self, catalogue: Catalogue, user: uuid.UUID) -> None:
        given = self.deployment(
            user,
            estimated_cost=Decimal("0.10"),
            actual_cost=Decimal("12345678901234567890.123456789012345678"),
            budget_limit=Decimal(0),
            checkpoint_urls=["s3://b/1", 'a "quoted", {one}', ""],
            config=["a", 1.5, None],
            metrics={"loss": 0.1},
            started_at=datetime(1999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
        )
        with catalogue.database.writing() as connection:
            connection.execute(insert(cloud_deployments).values(given))
            query = select(cloud_deployments).where(cloud_deployments.c.user_id == user)
            found = dict(connection.execute(query).one()._mapping)
        assert {name: found[name] for name in given} == given
        assert all(found[name] is None for name in found if name not in given)
        assert found["estimated_cost"].as_tuple() == Decimal("0.10").as_tuple()

    @pytest.mark.parametrize("changed", [{"platform": "lambda"}, {"platform": "lambda-labs"}, {"status": "asleep"}])
    def test_platforms_and_statuses_there_are_not_are_refused(
        self, catalogue: Catalogue, user: uuid.UUID, changed: dict[str, str]
    ) -> None:
        with pytest.raises(IntegrityError), catalogue.database.writing() as connection:
            connection.execute(insert(cloud_deployments).values(self.deployment(user, **changed)))

    def test_a_storage_provider_there_is_not_is_refused(self, catalogue: Catalogue, user: uuid.UUID) -> None:
        with pytest.raises(IntegrityError):
            insert_as_the_application(catalogue, replace(new_dataset(user), storage_provider="gcs"))

    def test_a_moment_without_a_zone_or_an_inexact_amount_is_a_mistake(
        self, catalogue: Catalogue, user: uuid.UUID
    ) -> None:
        naive = datetime(2026, 1, 1)  # noqa: DTZ001
        for changed in ({"created_at": naive}, {"actual_cost": 0.1}, {"actual_cost": Decimal("NaN")}):
            with (
                pytest.raises(Exception, match=r"no time zone|not an exact amount"),
                catalogue.database.writing() as connection,
            ):
                connection.execute(insert(cloud_deployments).values(self.deployment(user, **changed)))

    def test_a_config_keeps_what_json_can_say(self, catalogue: Catalogue, user: uuid.UUID) -> None:
        config = {"deep": [[{"ü": "\\ \" '"}], -0.5, True, None]}
        with catalogue.database.writing() as connection:
            connection.execute(
                insert(training_configs).values(id=uuid.uuid4(), user_id=user, name="c", config_json=config)
            )
            query = select(training_configs.c.config_json).where(training_configs.c.user_id == user)
            assert connection.execute(query).scalar_one() == config


def pages(catalogue: Catalogue, user: uuid.UUID, limit: int) -> list[Dataset]:
    """All of a user's datasets, page by page."""
    page = catalogue.datasets.page(user, limit=limit)
    found = list(page.datasets)
    while page.cursor:
        assert len(page.datasets) == limit
        page = catalogue.datasets.page(user, limit=limit, cursor=page.cursor)
        found += page.datasets
    return found


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

CLAIM_EVERYTHING = """
import json, uuid
from catalogues import LEASE
from trainmaster.errors import UploadUnderWayError

user, holder, won = uuid.UUID(sys.argv[3]), sys.argv[4], []
print("ready", flush=True)
sys.stdin.readline()
for n in range(20):
    try:
        catalogue.pending.claim(provider="s3", bucket="race", path=f"{user}/{n}", dataset_id=user, user_id=user, holder=holder, lease=LEASE)
        won.append(str(n))
    except UploadUnderWayError:
        pass
print(json.dumps(won))
"""
