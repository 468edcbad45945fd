"""Imports what a worker, a server and the HTTP API import, so that their bytecode lies in the image and no first run has to make it."""

from __future__ import annotations

import importlib
from pathlib import Path

CODE = Path(__file__).parents[2]
PROGRAMS = (
    "prefect.cli", "prefect.server.api.server", "prefect.server.services.base", "prefect.engine", "prefect.flow_engine",
    "prefect.workers.process", "prefect_aws.workers", "prefect_redis.messaging", "prefect_redis.ordering", "prefect_redis.lease_storage",
    "asyncpg", "psycopg", "obstore", "pyarrow.parquet", "pandas", "matplotlib.backends.backend_agg", "sagemaker.core.image_uris",
    "trainmaster.cli", "trainmaster.http_api.application", "trainmaster.doctor.prefect", "deployments.set_up.applying",
)  # fmt: skip


def main() -> None:
    """Raises ImportError for whatever the image lacks."""
    flows = sorted(f"flows.{path.stem}" for path in (CODE / "flows").glob("*.py") if path.stem != "__init__")
    for name in (*PROGRAMS, *flows):
        importlib.import_module(name)


if __name__ == "__main__":
    main()
