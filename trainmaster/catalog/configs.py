"""Training configs as the application keeps them, each shown to its own user, with the datasets it is to be trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import and_, func, select

from trainmaster.catalog.database import Database
from trainmaster.catalog.datasets import Dataset, datasets_of_config
from trainmaster.catalog.tables import training_config_datasets, training_configs


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


class Configs:
    """The training configs of all users. Methods are transactions; see Database for what they raise."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, config_id: UUID, user_id: UUID) -> TrainingConfig | None:
        """A config of this user's; None when there is none of that id, or it is somebody else's."""
        column, link = training_configs.c, training_config_datasets.c
        with self._database.reading() as connection:
            row = connection.execute(
                select(training_configs).where(and_(column.id == config_id, column.user_id == user_id))
            ).one_or_none()
            if row is None:
                return None
            datasets = datasets_of_config(connection, config_id, user_id)
            named = connection.execute(select(func.count()).where(link.config_id == config_id)).scalar_one()
        return TrainingConfig(row.id, row.user_id, row.name, row.config_json, datasets, named - len(datasets))
