"""The desk that commands work at."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from trainmaster.aws.clients import default_clients
from trainmaster.settings import Settings
from trainmaster.training.desk import Desk, open_desk


@contextmanager
def desk_in(settings: Settings, region: str = "") -> Iterator[Desk]:
    """What training is arranged with, by AWS's default chain, in the configured region or another."""
    if region:
        settings = settings.model_copy(update={"region": region})
    with open_desk(settings, default_clients(settings.region)) as desk:
        yield desk
