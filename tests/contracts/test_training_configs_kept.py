"""Training configs as the catalogue shows them, on SQLite and PostgreSQL alike."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from catalogues import at_once, new_dataset
from sqlalchemy import insert

from trainmaster.catalog.catalogue import Catalogue
from trainmaster.catalog.datasets import Dataset
from trainmaster.catalog.tables import training_config_datasets, training_configs
from trainmaster.errors import DatasetMissingError, DatasetRefusedError

CONFIG = {"trainer": "house-prices", "nested": {"b": [1, None, "ü"], "a": 2.5}}


def keep(catalogue: Catalogue, user: uuid.UUID, datasets: Sequence[Dataset]) -> uuid.UUID:
    """A config of that user's that names these datasets, all of them catalogued."""
    config_id = uuid.uuid4()
    for dataset in datasets:
        catalogue.datasets.insert(dataset)
    with catalogue.database.writing() as connection:
        connection.execute(insert(training_configs).values(id=config_id, user_id=user, name="c", config_json=CONFIG))
        for dataset in reversed(datasets):
            connection.execute(insert(training_config_datasets).values(config_id=config_id, dataset_id=dataset.id))
    return config_id


def test_a_config_comes_with_its_datasets_oldest_first(catalogue: Catalogue) -> None:
    user, now = uuid.uuid4(), datetime.now(UTC)
    ours = [new_dataset(user, ["supabase", "s3"], created_at=now + timedelta(seconds=n)) for n in (0, 1, 1, 2)]
    found = catalogue.configs.get(keep(catalogue, user, ours), user)
    assert found
    assert (found.config, found.name, found.others) == (CONFIG, "c", 0)
    assert [each.id for each in found.datasets] == [
        each.id for each in sorted(ours, key=lambda each: (each.created_at, str(each.id)))
    ]
    assert all(len(each.copies) == 2 for each in found.datasets)


def test_a_config_of_another_user_is_none_and_datasets_of_another_are_counted_only(catalogue: Catalogue) -> None:
    user, stranger = uuid.uuid4(), uuid.uuid4()
    ours, theirs = new_dataset(user), new_dataset(stranger)
    config_id = keep(catalogue, user, [ours, theirs])
    assert catalogue.configs.get(config_id, stranger) is None
    assert catalogue.configs.get(uuid.uuid4(), user) is None
    found = catalogue.configs.get(config_id, user)
    assert found
    assert [each.id for each in found.datasets] == [ours.id]
    assert found.others == 1


def test_a_config_may_have_no_datasets(catalogue: Catalogue) -> None:
    user = uuid.uuid4()
    found = catalogue.configs.get(keep(catalogue, user, []), user)
    assert found
    assert (list(found.datasets), found.others) == ([], 0)


def test_an_added_config_is_found_again_by_the_same_user_name_and_content_alone(catalogue: Catalogue) -> None:
    user, stranger = uuid.uuid4(), uuid.uuid4()
    ours, more = new_dataset(user), new_dataset(user)
    for dataset in (ours, more):
        catalogue.datasets.insert(dataset)
    kept, is_new = catalogue.configs.add(user, "c", CONFIG, [ours.id, ours.id])
    assert is_new
    assert (kept.name, kept.config, [one.id for one in kept.datasets]) == ("c", CONFIG, [ours.id])
    assert catalogue.configs.add(user, "c", dict(reversed(CONFIG.items())), [ours.id]) == (kept, False)
    assert catalogue.configs.get(kept.id, user) == kept
    others = [
        catalogue.configs.add(user, "d", CONFIG, [ours.id]),
        catalogue.configs.add(user, "c", CONFIG | {"epochs": 3}, [ours.id]),
        catalogue.configs.add(user, "c", CONFIG, [ours.id, more.id]),
        catalogue.configs.add(stranger, "c", CONFIG),
    ]
    assert all(added for _, added in others)
    assert len({kept.id, *(one.id for one, _ in others)}) == 5
    assert [(one.name, one.datasets) for one in catalogue.configs.named(user, "d")] == [("d", 1)]
    assert [one.name for one in catalogue.configs.named(user)] == ["c", "c", "c", "d"]
    assert len(catalogue.configs.named(user, limit=2)) == 2


def test_a_config_on_a_dataset_of_another_user_is_not_added(catalogue: Catalogue) -> None:
    user = uuid.uuid4()
    theirs = new_dataset(uuid.uuid4())
    catalogue.datasets.insert(theirs)
    with pytest.raises(DatasetMissingError, match=str(theirs.id)):
        catalogue.configs.add(user, "c", CONFIG, [theirs.id])
    assert catalogue.configs.named(user) == []


@pytest.mark.parametrize("config", [{"a": "\0"}, {"a": "\ud800"}], ids=["NUL", "half a character"])
def test_a_config_with_text_a_database_cannot_keep_is_refused(catalogue: Catalogue, config: dict[str, str]) -> None:
    with pytest.raises(DatasetRefusedError, match="cannot keep what describes training config 'c'"):
        catalogue.configs.add(uuid.uuid4(), "c", config)


def test_a_config_added_by_many_at_once_is_one(catalogue: Catalogue) -> None:
    user = uuid.uuid4()
    ours = new_dataset(user)
    catalogue.datasets.insert(ours)
    added = at_once(8, lambda _: catalogue.configs.add(user, "c", CONFIG, [ours.id]))
    assert sorted(is_new for _, is_new in added) == [False] * 7 + [True]
    assert len({kept.id for kept, _ in added}) == 1
    assert all([one.id for one in kept.datasets] == [ours.id] for kept, _ in added)
