"""Ids that nobody has are refused before anything is done; who is at what, and where all datasets stand, is known."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from catalogues import new_dataset

from trainmaster.catalog.candidates import Selection
from trainmaster.catalog.catalogue import Catalogue, open_catalogue
from trainmaster.catalog.standings import longest_claim, standings
from trainmaster.errors import DatasetMissingError
from trainmaster.migration.naming import refuse_unknown
from trainmaster.migration.showing import text
from trainmaster.migration.status import page_of
from trainmaster.storage.library import Library

GB7 = 7_000_000_000


@pytest.fixture
def catalogue(tmp_path: Path) -> Iterator[Catalogue]:
    opened = open_catalogue(None, tmp_path)
    yield opened
    opened.close()


@pytest.fixture
def library(catalogue: Catalogue) -> Library:
    stores: Any = None  # none is asked
    return Library(catalogue, stores)


def test_ids_that_are_no_dataset_are_refused_and_named(library: Library) -> None:
    user, other, unknown = uuid4(), uuid4(), [str(uuid4()) for _ in range(7)]
    there, theirs = new_dataset(user), new_dataset(other)
    for dataset in (there, theirs):
        library.catalogue.datasets.insert(dataset)
    refuse_unknown(library, "", [str(there.id), str(theirs.id).upper(), str(there.id)])
    refuse_unknown(library, str(user), [])
    refuse_unknown(library, "", [])
    with pytest.raises(DatasetMissingError, match=f"No dataset has the id {unknown[0]}: 1 of 2 ids asked for"):
        refuse_unknown(library, "", [str(there.id), unknown[0]])
    with pytest.raises(DatasetMissingError, match=f"{unknown[4]} and 2 more: 7 of 8 ids"):
        refuse_unknown(library, "", [str(there.id), *unknown])
    with pytest.raises(DatasetMissingError, match=f"No dataset of user {user} has the id {theirs.id}"):
        refuse_unknown(library, str(user), [str(theirs.id)])


def test_a_user_without_any_dataset_is_refused(library: Library) -> None:
    nobody = str(uuid4())
    with pytest.raises(DatasetMissingError, match=f"User {nobody} has no dataset"):
        refuse_unknown(library, nobody, [])


def test_a_claim_is_known_by_how_long_it_holds_yet(catalogue: Catalogue) -> None:
    dataset = new_dataset(uuid4())
    catalogue.datasets.insert(dataset)
    assert longest_claim(catalogue.database, [dataset.id]) == timedelta(0)
    [candidate] = catalogue.migrations.candidates(Selection(dataset_ids=[dataset.id]))
    catalogue.migrations.claim([(candidate, "s3", "bucket", "path")], holder="one", lease=timedelta(hours=9))
    assert timedelta(hours=8) < longest_claim(catalogue.database, [uuid4(), dataset.id]) <= timedelta(hours=9)
    catalogue.migrations.renew("one", timedelta(0))
    assert longest_claim(catalogue.database, [dataset.id]) == timedelta(0)


def test_where_datasets_stand_is_counted_for_everybody_or_one_user(catalogue: Catalogue) -> None:
    user = uuid4()
    noted, both = new_dataset(user), new_dataset(user, ("supabase", "s3"))
    promoted, pruned = new_dataset(user, ("s3", "supabase")), new_dataset(user, ("s3",))
    for dataset in (noted, both, promoted, pruned, new_dataset(uuid4())):
        catalogue.datasets.insert(dataset)
    [candidate] = catalogue.migrations.candidates(Selection(dataset_ids=[noted.id]))
    catalogue.migrations.hindered([(noted.id, "source_missing", "It is gone.", "Upload it.", candidate.updated_at)])
    catalogue.migrations.claim([(candidate, "s3", "bucket", "path")], holder="one", lease=timedelta(hours=9))

    found = standings(catalogue.database, user)
    assert (found.datasets, found.promoted) == ({"supabase": 1, "both": 2, "s3": 1}, 2)
    assert (found.bytes, found.hindered) == ({"supabase": GB7, "both": 2 * GB7, "s3": GB7}, {"source_missing": 1})
    [held] = found.under_way
    assert (held.holder, held.objects, held.left > timedelta(hours=8)) == ("one", 1, True)
    said = text(page_of(found))
    assert "Supabase only   1 dataset, 7.0 GB\nBoth            2 datasets, 14.0 GB\nS3 only" in said
    assert "Hindered        1 source missing\n" in said
    assert "one: 1 object since " in said
    assert sum(standings(catalogue.database).datasets.values()) == 5
    assert standings(catalogue.database, uuid4()).under_way == []
