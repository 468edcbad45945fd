"""Objects on their way in or out: of all who want one, one has it, on SQLite and on PostgreSQL alike."""

from __future__ import annotations

import json
import uuid
from dataclasses import replace
from datetime import timedelta

import pytest
from catalogues import LEASE, NOW, Place, at_once, claim, copy_of, held, insert_as_the_application, new_dataset

from trainmaster.catalog.catalogue import Catalogue
from trainmaster.errors import (
    LeaseLostError,
    UploadUnderWayError,
)


@pytest.fixture
def user() -> uuid.UUID:
    return uuid.uuid4()


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

    def test_of_many_processes_one_gets_each_object(self, catalogue_place: Place, user: uuid.UUID) -> None:
        processes = [catalogue_place.start(CLAIM_EVERYTHING, str(user), f"process {n}") for n in range(3)]
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

    @pytest.mark.parametrize(
        ("left", "is_listed"),
        [
            (("s3", ("supabase",), 47), False),
            (("s3", ("supabase",), 49), True),
            (("s3", ("supabase", "s3"), 47), True),
            (("supabase", ("s3",), 47), True),
            (("s3", (), 47), True),
        ],
        ids=["to be taken up", "given up", "has its copy", "of no migration", "no such dataset"],
    )
    def test_what_the_next_migration_goes_on_with_is_left_alone_for_two_days(
        self, catalogue: Catalogue, user: uuid.UUID, left: tuple[str, tuple[str, ...], int], is_listed: bool
    ) -> None:
        """`left` is where something lies, where the dataset has copies, and for how many hours nobody has been at it."""
        provider, copies, hours = left
        dataset = new_dataset(user, copies or ("supabase",))
        if copies:
            catalogue.datasets.insert(dataset)
        place = copy_of(dataset.id, user, provider, path=f"{user}/left-there")
        held(catalogue, new_dataset(user, (provider,), id=dataset.id, copies=(place,)), lease=-timedelta(hours=hours))
        listed = [one.path for one in catalogue.pending.expired(1000) if one.user_id == user]
        assert listed == ([place.path] if is_listed else [])

    def test_what_is_left_alone_keeps_nothing_else_from_being_listed(
        self, catalogue: Catalogue, user: uuid.UUID
    ) -> None:
        left, abandoned = new_dataset(user), new_dataset(user)
        catalogue.datasets.insert(left)
        there = replace(left, storage_provider="s3", copies=(copy_of(left.id, user, "s3"),))
        held(catalogue, there, lease=-timedelta(hours=40))
        held(catalogue, abandoned, lease=-timedelta(hours=39))
        before = [one for one in catalogue.pending.expired(1000) if one.user_id != user]
        assert abandoned.id in {one.dataset_id for one in catalogue.pending.expired(len(before) + 1)}


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
