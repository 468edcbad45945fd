"""What training is arranged and overseen with: AWS, the catalogue and the books, opened together and passed on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from trainmaster.aws.clients import Clients
from trainmaster.budget.ledger import Ledger
from trainmaster.budget.prices import PriceList, known_prices
from trainmaster.catalog.catalogue import Catalogue, open_catalogue
from trainmaster.catalog.deployments import Deployments
from trainmaster.settings import Settings

Client = Callable[[str], Any]
"""From the name of an AWS service to a boto3 client of the region and account that is trained in."""


@dataclass(frozen=True)
class Desk:
    """Everything at hand. `client` makes each client once, until it is renewed: see `trainmaster.aws.clients.renew`."""

    settings: Settings
    client: Client
    catalogue: Catalogue
    ledger: Ledger

    @property
    def deployments(self) -> Deployments:
        return self.catalogue.deployments

    @property
    def prices(self) -> PriceList:
        return known_prices(self.settings.refreshed_prices)

    @property
    def account(self) -> str:
        """The AWS account of the execution role. Raises NotConfiguredError."""
        return self.settings.required("execution_role_arn").split(":")[4]


@contextmanager
def open_desk(settings: Settings, client: Client) -> Iterator[Desk]:
    """Closes the database when the block ends. Raises NotConfiguredError."""
    catalogue = open_catalogue(settings.catalogue_url, settings.state_dir)
    try:
        yield Desk(settings, Clients(client), catalogue, Ledger(catalogue.database))
    finally:
        catalogue.close()
