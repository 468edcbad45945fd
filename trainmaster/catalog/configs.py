"""Training configs as the application keeps them, each shown to its own user, with the datasets it is to be trained on."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid5

from sqlalchemy import Connection, and_, func, select

from trainmaster.catalog.database import Database
from trainmaster.catalog.datasets import Dataset, datasets_of_config
from trainmaster.catalog.refusals import check_text, integrity_refused
from trainmaster.catalog.tables import training_config_datasets, training_configs, training_datasets
from trainmaster.errors import DatasetMissingError

MOST_LISTED = 200
_NAMESPACE = UUID("0c0f8a3e-8f55-5d0a-9a53-2f6d0f6e1b77")


@dataclass(frozen=True)
class TrainingConfig:
    """A row of `training_configs` and its datasets, oldest first. `config` is whatever JSON the application put there."""

    id: UUID
    user_id: UUID
    name: str
    config: Any
    datasets: Sequence[Dataset] = ()
    others: int = 0
    """How many datasets it names that are not its user's."""


@dataclass(frozen=True)
class NamedConfig:
    """A config as a list names it, and how many datasets it is trained on."""

    id: UUID
    name: str
    datasets: int


class Configs:
    """The training configs of all users. Methods are transactions; see Database for what they raise."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, config_id: UUID, user_id: UUID) -> TrainingConfig | None:
        """A config of this user's; None when there is none of that id, or it is somebody else's."""
        with self._database.reading() as connection:
            return _get(connection, config_id, user_id)

    def add(
        self, user_id: UUID, name: str, config: Any, datasets: Collection[UUID] = ()
    ) -> tuple[TrainingConfig, bool]:
        """A new config on datasets of this user's, and True; the same one again is found, and False.

        Its id is made of all of it, so that repeating it, or racing, adds one. Raises DatasetMissingError for a dataset this user
        has not, DatasetRefusedError for text a database cannot keep.
        """
        check_text(name, None, {"config": config}, "training config")
        named = sorted(set(datasets))
        content = json.dumps([str(user_id), name, config, [str(one) for one in named]], sort_keys=True)
        config_id = uuid5(_NAMESPACE, content)
        with integrity_refused(f"Training config {name!r}"), self._database.writing() as connection:
            missing = set(named) - _owned(connection, named, user_id)
            if missing:
                raise DatasetMissingError(
                    f"User {user_id} has no dataset {', '.join(map(str, sorted(missing)))}."
                    " `trainmaster datasets list` shows which there are."
                )
            row = self._database.insert(training_configs).values(
                id=config_id, user_id=user_id, name=name, config_json=config
            )
            added = connection.execute(
                row.on_conflict_do_nothing(index_elements=["id"]).returning(training_configs.c.id)
            ).first()
            if added and named:
                link = self._database.insert(training_config_datasets)
                connection.execute(link, [{"config_id": config_id, "dataset_id": one} for one in named])
            kept = _get(connection, config_id, user_id)
        assert kept is not None  # noqa: S101 - its id is made of the user's too
        return kept, added is not None

    def named(self, user_id: UUID, name: str | None = None, *, limit: int = MOST_LISTED) -> list[NamedConfig]:
        """This user's, by name; only those of exactly that name when one is given."""
        column, link = training_configs.c, training_config_datasets.c
        count = select(func.count()).where(link.config_id == column.id).scalar_subquery()
        query = select(column.id, column.name, count.label("datasets")).where(column.user_id == user_id)
        if name is not None:
            query = query.where(column.name == name)
        with self._database.reading() as connection:
            rows = connection.execute(query.order_by(column.name, column.id).limit(limit)).all()
        return [NamedConfig(row.id, row.name, row.datasets) for row in rows]


def _get(connection: Connection, config_id: UUID, user_id: UUID) -> TrainingConfig | None:
    column, link = training_configs.c, training_config_datasets.c
    row = connection.execute(
        select(training_configs).where(and_(column.id == config_id, column.user_id == user_id))
    ).one_or_none()
    if row is None:
        return None
    datasets = datasets_of_config(connection, config_id, user_id)
    named = connection.execute(select(func.count()).where(link.config_id == config_id)).scalar_one()
    return TrainingConfig(row.id, row.user_id, row.name, row.config_json, datasets, named - len(datasets))


def _owned(connection: Connection, datasets: Collection[UUID], user_id: UUID) -> set[UUID]:
    column = training_datasets.c
    query = select(column.id).where(column.id.in_(datasets), column.user_id == user_id)
    return set(connection.execute(query).scalars())
