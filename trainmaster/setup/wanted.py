"""What there should be on the Prefect server besides the deployments of `prefect.yaml` and what tells people: as data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from trainmaster.setup.plan import Facts

PoolType = Literal["process", "ecs", "kubernetes"]
POOL_TYPES: tuple[PoolType, ...] = ("process", "ecs", "kubernetes")

POOL = "trainmaster"
POOL_TYPE: PoolType = "process"
"""Of a pool that is not there yet, where nobody says otherwise."""

PAID_QUEUE, DEFAULT_QUEUE, BACKGROUND_QUEUE = "paid", "default", "background"

POOLS: Mapping[str, Facts] = {
    POOL: {"description": "Trainmaster's runs. `prefect worker start --pool trainmaster` carries them out."}
}
QUEUES: Mapping[str, Facts] = {
    PAID_QUEUE: {"priority": 1, "description": "What begins, watches or ends something that costs money by the hour."},
    DEFAULT_QUEUE: {"priority": 2, "description": "What else people wait for."},
    BACKGROUND_QUEUE: {"priority": 3, "description": "What nobody waits for: nightly copies, sweeps and reports."},
}
"""Of a worker that is busy, or a pool with a concurrency limit: the lower the priority, the sooner."""

LAUNCHES = "trainmaster-launches"
LIMITS: Mapping[str, Facts] = {
    # Three at once, then one a second: AWS takes one CreateTrainingJob a second of an account, and throttles the rest.
    LAUNCHES: {"limit": 3, "slot_decay_per_second": 1.0}
}
