"""Batches: everything to copy in exactly one of them, none too large, as many as are wanted and no page read before."""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest
from catalogues import new_dataset
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import insert

from trainmaster.catalog.catalogue import Catalogue, open_catalogue
from trainmaster.catalog.tables import training_datasets
from trainmaster.errors import NotConfiguredError
from trainmaster.migration import planning
from trainmaster.migration.batches import MOST_BYTES, MOST_DATASETS, Batch, batches, portion
from trainmaster.migration.copying import limits_of
from trainmaster.migration.deadline import Deadline
from trainmaster.migration.plan import Amount
from trainmaster.migration.planning import plan_migration
from trainmaster.migration.request import MigrateDatasetsRequest
from trainmaster.storage.library import Library

MB = 10**6
NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Catalogue]:
    opened = open_catalogue(None, tmp_path_factory.mktemp("batches"))
    yield opened
    opened.close()


class Buckets:
    """Everybody's, or one for each user but some. Knows how often it was looked."""

    def __init__(
        self, *, without: Sequence[UUID] = (), shared: bool = True, sizes: int = 0, other_sizes: Mapping[str, int] = {}
    ) -> None:
        self.is_shared, self._without, self._sizes, self._other_sizes = shared, without, sizes, other_sizes
        self.looked: list[UUID] = []

    def home(self, provider: str, user: UUID) -> Any:
        if provider == "supabase":
            return SimpleNamespace(stat=lambda path: SimpleNamespace(size=self._other_sizes.get(path, self._sizes)))
        self.looked.append(user)
        if user in self._without:
            raise NotConfiguredError(f"S3 bucket of {user} does not exist.")
        return None


def filled(catalogue: Catalogue, sizes: Sequence[int | None], user: UUID | None = None) -> UUID:
    """Rows as the application writes them; the user whose they are."""
    user = user or uuid4()
    rows = []
    for size in sizes:
        dataset = new_dataset(user, file_size_bytes=size)
        rows.append({column.name: getattr(dataset, column.name) for column in training_datasets.columns})
    with catalogue.database.writing() as connection:
        if rows:
            connection.execute(insert(training_datasets), rows)
    return user


def cut(catalogue: Catalogue, user: UUID | None, buckets: Buckets | None = None, **choices: Any) -> Iterator[Batch]:
    chosen = {name: choices.pop(name) for name in ("most_datasets", "most_bytes", "until", "clock") if name in choices}
    library = Library(catalogue, buckets or Buckets())  # type: ignore[arg-type]
    return batches(library, asked(user, **choices), **chosen)


def asked(user: UUID | None, **choices: Any) -> MigrateDatasetsRequest:
    return MigrateDatasetsRequest.model_validate({"user_id": str(user or ""), **choices})


@settings(max_examples=40)
@given(st.lists(st.none() | st.integers(0, 40), max_size=25), st.integers(1, 6), st.integers(1, 60), st.integers(1, 9))
def test_everything_is_in_exactly_one_batch_and_no_batch_is_too_large(
    catalogue: Catalogue, sizes: list[int | None], most_datasets: int, most_bytes: int, page: int
) -> None:
    user = filled(catalogue, sizes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(planning, "PAGE", page)
        made = list(cut(catalogue, user, most_datasets=most_datasets, most_bytes=most_bytes))
    ids = [one.id for batch in made for one in batch.datasets]
    assert len(ids) == len(set(ids)) == len(sizes)
    assert ids == sorted(ids)
    assert sum(batch.bytes for batch in made) == sum(size or 0 for size in sizes)
    assert [batch.number for batch in made] == list(range(1, len(made) + 1))
    for batch in made:
        assert 1 <= len(batch.datasets) <= most_datasets
        assert batch.bytes <= most_bytes or len(batch.datasets) == 1


def test_limits_are_those_of_the_plan(catalogue: Catalogue) -> None:
    user = filled(catalogue, [5 * MB, None, 7 * MB, 4 * MB, None, 9 * MB, 3 * MB, 1 * MB])
    there = {one.storage_path: one.file_size_bytes or 0 for one in catalogue.datasets.page(user).datasets}
    library = Library(catalogue, Buckets())  # type: ignore[arg-type]
    for limits in ({"limit": 3}, {"limit": 100}, {"max_gigabytes": 0.012}, {"max_gigabytes": 0.012, "limit": 2}):
        made = cut(catalogue, user, Buckets(other_sizes=there), most_datasets=2, **limits)
        taken = sum(len(batch.datasets) for batch in made)
        assert taken == plan_migration(library, asked(user, **limits)).now.datasets


def test_sizes_that_nobody_recorded_are_asked_for_where_bytes_are_limited(catalogue: Catalogue) -> None:
    user = filled(catalogue, [None] * 9)
    [batch] = cut(catalogue, user, Buckets(sizes=4 * MB), max_gigabytes=0.01)
    assert (len(batch.datasets), batch.bytes) == (3, 12 * MB)
    [batch] = cut(catalogue, user, Buckets(sizes=4 * MB))
    assert (len(batch.datasets), batch.bytes) == (9, 0)


def test_a_limit_of_bytes_is_one_of_what_is_there_and_not_of_what_rows_say(catalogue: Catalogue) -> None:
    user = filled(catalogue, [1, None, -5, 1, 10**15, 0, 1])
    [batch] = cut(catalogue, user, Buckets(sizes=4 * MB), max_gigabytes=0.01)
    assert (len(batch.datasets), batch.bytes) == (3, 12 * MB)


def test_pages_are_read_as_batches_are_wanted(catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    user, read = filled(catalogue, [1] * 20), list[int]()
    monkeypatch.setattr(planning, "PAGE", 5)
    real = catalogue.migrations.candidates

    def counted(*args: Any, **kwargs: Any) -> Any:
        page = real(*args, **kwargs)
        read.append(len(page))
        return page

    monkeypatch.setattr(catalogue.migrations, "candidates", counted)
    made = cut(catalogue, user, most_datasets=2)
    assert len(next(made).datasets) == 2
    assert read == [5]
    assert sum(len(batch.datasets) for batch in made) == 18


def test_a_dataset_that_is_deleted_meanwhile_takes_no_other_with_it(
    catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = filled(catalogue, [1] * 10)
    monkeypatch.setattr(planning, "PAGE", 2)
    made = cut(catalogue, user, most_datasets=2)
    first = next(made)
    for one in first.datasets:
        catalogue.datasets.delete(
            one.id, user, holder="x", lease=timedelta(0), buckets={"supabase": "training-datasets"}
        )
    assert sum(len(batch.datasets) for batch in made) == 8


def test_a_batch_is_small_and_says_what_is_in_it(catalogue: Catalogue) -> None:
    [batch] = cut(
        catalogue, filled(catalogue, [12 * MB] * 100), window="22:00-06:00", clock=lambda: NOON.replace(hour=23)
    )
    assert len(pickle.dumps(batch)) < 20_000
    assert pickle.loads(pickle.dumps(batch)) == batch  # noqa: S301 - our own
    assert batch.title == "batch 1: 100 datasets, 1.2 GB"


def test_no_batch_begins_once_the_window_has_closed(catalogue: Catalogue) -> None:
    user, now = filled(catalogue, [1] * 9), NOON
    made = cut(catalogue, user, most_datasets=2, window="11:00-13:00", clock=lambda: now)
    assert [next(made).number, next(made).number] == [1, 2]
    now = NOON.replace(hour=13)
    assert list(made) == []
    assert list(cut(catalogue, user, window="11:00-13:00", clock=lambda: now)) == []


def test_no_batch_begins_once_its_time_is_up_and_each_knows_when_that_is(catalogue: Catalogue) -> None:
    user, now = filled(catalogue, [1] * 9), NOON
    made = cut(catalogue, user, most_datasets=2, max_minutes=30, clock=lambda: now)
    said = "30 minutes were asked for at most"
    assert [next(made).until, next(made).until] == [Deadline(NOON + timedelta(minutes=30), said)] * 2
    now = NOON + timedelta(minutes=30)
    assert list(made) == []


def test_the_time_of_batches_began_with_that_of_their_run(catalogue: Catalogue) -> None:
    user, until = filled(catalogue, [1] * 9), Deadline(NOON, "it began an hour ago")
    made = cut(catalogue, user, max_minutes=60, until=until, clock=lambda: NOON - timedelta(minutes=1))
    assert {batch.until for batch in made} == {until}
    assert list(cut(catalogue, user, max_minutes=60, until=until, clock=lambda: NOON)) == []


@given(st.integers(0, 10**6), st.integers(0, 10**14), st.integers(1, 64))
def test_little_work_is_cut_into_some_batches_for_each_worker(datasets: int, size: int, workers: int) -> None:
    most = portion(Amount(datasets, size), workers)
    assert 5 <= most.datasets <= MOST_DATASETS
    assert 256 << 20 <= most.bytes <= MOST_BYTES
    if 5 * workers * 4 <= datasets <= MOST_DATASETS * workers * 4:
        assert workers * 4 - 4 * workers / 5 <= datasets / most.datasets <= workers * 4


@pytest.mark.parametrize(("count", "among", "cap"), [(3, 1, 8_000_000), (6, 2, 4_000_000), (60, 4, 2_000_000)])
def test_batches_share_a_bandwidth_with_those_there_are_and_never_exceed_it(
    catalogue: Catalogue, count: int, among: int, cap: int
) -> None:
    user = filled(catalogue, [MB] * count)
    made = list(cut(catalogue, user, most_datasets=5, workers=4))
    assert {batch.among for batch in made} == {among}
    request = asked(user, workers=4, megabytes_per_second=8)
    assert {limits_of(request, batch.among).bytes_per_second for batch in made} == {cap}


class TestHomes:
    def test_users_without_a_bucket_are_left_out_and_each_is_looked_for_once(
        self, catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(planning, "PAGE", 3)
        users = [filled(catalogue, [1] * 5) for _ in range(3)]
        everybody = [str(one.id) for user in users for one in catalogue.datasets.page(user).datasets]
        buckets = Buckets(without=users[:1], shared=False)
        made = list(cut(catalogue, None, buckets, dataset_ids=everybody))
        assert sum(len(batch.datasets) for batch in made) == 10
        assert sorted(buckets.looked) == sorted(users)
        plan = plan_migration(Library(catalogue, buckets), asked(None, dataset_ids=everybody))  # type: ignore[arg-type]
        assert plan.homeless.first == ((users[0], f"S3 bucket of {users[0]} does not exist.", 5),)

    def test_without_the_one_bucket_of_everybody_there_is_no_run(self, catalogue: Catalogue) -> None:
        user = filled(catalogue, [1])
        with pytest.raises(NotConfiguredError):
            list(cut(catalogue, user, Buckets(without=[user])))

    def test_a_shared_bucket_is_looked_for_once(self, catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(planning, "PAGE", 1)
        users = [filled(catalogue, [1]) for _ in range(3)]
        ids = [str(one.id) for user in users for one in catalogue.datasets.page(user).datasets]
        buckets = Buckets()
        assert len(list(cut(catalogue, None, buckets, dataset_ids=ids))) == 1
        assert len(buckets.looked) == 1


def test_filters_select_what_is_cut(catalogue: Catalogue) -> None:
    user = uuid4()
    old = new_dataset(user, created_at=NOON - timedelta(days=9), format="alpaca")
    new = new_dataset(user, created_at=NOON)
    for dataset in (old, new):
        catalogue.datasets.insert(dataset)

    def ids(**choices: Any) -> list[UUID]:
        return [one.id for batch in cut(catalogue, user, **choices) for one in batch.datasets]

    assert ids(older_than="2026-11-20") == ids(format="alpaca") == ids(dataset_ids=[str(old.id)]) == [old.id]
    assert sorted(ids()) == sorted([old.id, new.id])
