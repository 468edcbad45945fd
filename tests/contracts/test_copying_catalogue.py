"""What copying asks of the catalogue besides: how fast datasets were copied lately, and beside which lie dropped examples."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from catalogues import copy_of, insert_as_the_application, new_dataset
from sqlalchemy import insert

from trainmaster.catalog.catalogue import Catalogue
from trainmaster.catalog.dropped import with_dropped
from trainmaster.catalog.pace import RecentPace, recent_pace
from trainmaster.catalog.tables import dataset_moves

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
MB = 10**6


@pytest.mark.parametrize(
    ("metadata", "lies_there"),
    [
        ({"dropped": {"examples": 3, "sha256": "x"}}, True),
        ({"dropped": {"examples": 0}}, False),
        ({"dropped": None}, False),
        ({"dropped": "many"}, False),
        ({"dropped": {"examples": "many"}}, False),
        ({"dropped": {"examples": {"examples": 1}}}, False),
        ({"dropped": {"examples": -1}}, False),
        ({"dropped": [3]}, False),
        ([{"dropped": 3}], False),
        ("dropped", False),
        (7, False),
        ({}, False),
        (None, False),
    ],
)
def test_dropped_examples_lie_there_where_the_metadata_says_how_many(
    catalogue: Catalogue, metadata: Any, lies_there: bool
) -> None:
    dataset = new_dataset(uuid4(), metadata=metadata)
    insert_as_the_application(catalogue, dataset)
    assert (with_dropped(catalogue.database, [dataset.id, uuid4()]) == {dataset.id}) is lies_there


def test_the_pace_is_told_from_one_settling_to_the_next_of_each_run(catalogue: Catalogue) -> None:
    assert recent_pace(catalogue.database) is None
    for second in range(60):
        moved(catalogue, second, by="a run of small ones", size=1000)
    moved(catalogue, 0, by="a short run")
    moved(catalogue, 10, by="a short run", size=63 * MB)
    assert recent_pace(catalogue.database) is None  # what moved little says nothing of how long much would take
    moved(catalogue, 0)
    assert recent_pace(catalogue.database) is None
    moved(catalogue, 0.5, size=200 * MB)
    assert recent_pace(catalogue.database) is None  # too short to tell
    moved(catalogue, 10, size=5 * MB)
    moved(catalogue, 10, size=6 * MB)
    assert recent_pace(catalogue.database) == RecentPace(211 * MB / 10, 3)
    moved(catalogue, 4, by="another run", size=900 * MB)
    moved(catalogue, 14, by="another run", size=100 * MB)
    assert recent_pace(catalogue.database) == RecentPace(311 * MB / 20, 4)
    moved(catalogue, 86_400, size=900 * MB)  # a night lies between
    moved(catalogue, 86_410, size=7 * MB)
    assert recent_pace(catalogue.database) == RecentPace(318 * MB / 30, 5)
    gone = moved(catalogue, 86_420, size=900 * MB)
    catalogue.datasets.delete(*gone, holder="x", lease=timedelta(0), buckets={})
    moved(catalogue, 86_430, phase="promote", size=900 * MB)
    assert recent_pace(catalogue.database) == RecentPace(318 * MB / 30, 5)


def moved(
    catalogue: Catalogue, second: float, *, by: str = "a run", size: int = MB, phase: str = "copy"
) -> tuple[UUID, UUID]:
    """As if a dataset had been copied then; its id, and its user's."""
    user, id_ = uuid4(), uuid4()
    copies = [copy_of(id_, user, provider, size_bytes=size) for provider in ("supabase", "s3")]
    catalogue.datasets.insert(new_dataset(user, id=id_, copies=copies))
    move = {"dataset_id": id_, "phase": phase, "at": NOON + timedelta(seconds=second), "by": by}
    with catalogue.database.writing() as connection:
        connection.execute(insert(dataset_moves).values(move))
    return id_, user
