"""The catalogue as one thing to open and pass on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from pydantic import SecretStr

from trainmaster.catalog.configs import Configs
from trainmaster.catalog.database import Database, open_database
from trainmaster.catalog.datasets import Datasets
from trainmaster.catalog.deployments import Deployments
from trainmaster.catalog.idempotency import IdempotencyKeys
from trainmaster.catalog.installation import installation_of
from trainmaster.catalog.log_positions import LogPositions
from trainmaster.catalog.migrations import Migrations
from trainmaster.catalog.pending import PendingObjects
from trainmaster.catalog.workspaces import Workspaces


@dataclass(frozen=True)
class Catalogue:
    """Everything that is known, in one database."""

    database: Database
    datasets: Datasets
    pending: PendingObjects
    deployments: Deployments
    configs: Configs
    log_positions: LogPositions
    migrations: Migrations
    workspaces: Workspaces
    idempotency_keys: IdempotencyKeys

    @property
    def installation(self) -> UUID:
        """Which installation this is, for others in the same AWS account to know."""
        return installation_of(self.database)

    def close(self) -> None:
        """Close the connections."""
        self.database.close()


def open_catalogue(url: str | SecretStr | None, state_dir: Path) -> Catalogue:
    """The catalogue at a PostgreSQL address, or in the state folder. Raises NotConfiguredError."""
    database = open_database(url, state_dir)
    return Catalogue(
        database,
        Datasets(database),
        PendingObjects(database),
        Deployments(database),
        Configs(database),
        LogPositions(database),
        Migrations(database),
        Workspaces(database),
        IdempotencyKeys(database),
    )
