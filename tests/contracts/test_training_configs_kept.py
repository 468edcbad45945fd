"""Training configs as the catalogue shows them, on SQLite and PostgreSQL alike."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from catalogues import new_dataset
from sqlalchemy import insert

from trainmaster.catalog.catalogue import Catalogue
from trainmaster.catalog.datasets import Dataset
from trainmaster.catalog.tables import training_config_datasets, training_configs

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
