"""What a dataset picker may rely on, on SQLite and on PostgreSQL alike."""

from __future__ import annotations

import base64
import random
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from catalogues import LEASE, insert_as_the_application, new_dataset

from trainmaster.catalog.catalogue import Catalogue
from trainmaster.catalog.datasets import TRAINING_PROVIDERS, Dataset, DatasetCounts
from trainmaster.errors import (
    UnknownChoiceError,
)

BEFORE_ALL_TIME = (
    base64.urlsafe_b64encode(f"0001-01-01T00:00:00+23:59|{uuid.UUID(int=0)}".encode()).decode().rstrip("=")
)


@pytest.fixture
def user() -> uuid.UUID:
    return uuid.uuid4()


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

    def test_counts_are_of_all_of_a_users_own_by_where_their_bytes_are(
        self, catalogue: Catalogue, user: uuid.UUID
    ) -> None:
        assert catalogue.datasets.counts(user) == DatasetCounts(0, {"supabase": 0, "s3": 0})
        for where in (["s3"], ["supabase"], ["supabase", "s3"]):
            catalogue.datasets.insert(new_dataset(user, where))
        insert_as_the_application(catalogue, replace(new_dataset(user), copies=()))
        catalogue.datasets.insert(new_dataset(uuid.uuid4()))
        assert catalogue.datasets.counts(user) == DatasetCounts(4, {"supabase": 3, "s3": 2})

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
        "cursor",
        ["", "x", "ü", "AAAA", "MjAyNi0wMS0wMXxub3QtYS11dWlk", "\0", "=" * 5, "fA", "a" * 10_000, BEFORE_ALL_TIME],
    )
    def test_a_cursor_that_is_none_is_refused(self, catalogue: Catalogue, user: uuid.UUID, cursor: str) -> None:
        with pytest.raises(UnknownChoiceError, match="Start without a cursor") as refusal:
            catalogue.datasets.page(user, cursor=cursor)
        assert len(str(refusal.value)) < 300


def pages(catalogue: Catalogue, user: uuid.UUID, limit: int) -> list[Dataset]:
    """All of a user's datasets, page by page."""
    page = catalogue.datasets.page(user, limit=limit)
    found = list(page.datasets)
    while page.cursor:
        assert len(page.datasets) == limit
        page = catalogue.datasets.page(user, limit=limit, cursor=page.cursor)
        found += page.datasets
    return found
