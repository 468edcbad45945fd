"""One user's datasets on their way from Supabase to S3, and what the runs that move them show in Prefect."""

from __future__ import annotations

import json
from contextlib import AbstractContextManager
from typing import Any
from uuid import UUID, uuid4

import httpx
from prefect import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId, LogFilter, LogFilterFlowRunId
from prefect.client.schemas.objects import Artifact, State
from prefect.logging.handlers import APILogWorker
from sqlalchemy import select

from benchmarks.scale_out import catalogue_in, stock
from flows.migrate_datasets import migrate_datasets
from trainmaster.catalog.catalogue import Catalogue
from trainmaster.catalog.tables import dataset_copies, training_datasets
from trainmaster.migration.request import MigrateDatasetsRequest
from trainmaster.settings import Settings

SIZE = 3_000


class Depot:
    """One user's datasets: in Supabase at first."""

    def __init__(self, stack: Any) -> None:
        self.stack, self.settings = stack, Settings()
        self.user_id = uuid4()

    def stock(self, count: int) -> None:
        self.user_id = stock(self.stack.environment, self.settings.state_dir, count, SIZE)

    def run(self, **asked: Any) -> State[Any]:
        request = MigrateDatasetsRequest.model_validate({"user_id": str(self.user_id), **asked})
        return migrate_datasets(request, return_state=True)

    def rows(self) -> list[Any]:
        """In the order of a run."""
        with self.catalogue() as catalogue, catalogue.database.reading() as connection:
            column = training_datasets.c
            return list(connection.execute(select(column).where(column.user_id == self.user_id).order_by(column.id)))

    def copies(self, dataset_id: UUID) -> set[str]:
        with self.catalogue() as catalogue:
            found = catalogue.datasets.get(dataset_id, self.user_id)
        assert found
        return {copy.provider for copy in found.copies}

    def verified(self) -> dict[UUID, Any]:
        """When the copy in S3 of each dataset that has one was read and found sound."""
        column = dataset_copies.c
        of_user = column.dataset_id.in_(
            select(training_datasets.c.id).where(training_datasets.c.user_id == self.user_id)
        )
        with self.catalogue() as catalogue, catalogue.database.reading() as connection:
            found = connection.execute(
                select(column.dataset_id, column.verified_at).where(of_user, column.provider == "s3")
            )
            return {dataset_id: verified_at for dataset_id, verified_at in found}  # noqa: C416 - a result is no mapping

    def in_s3(self) -> set[str]:
        prefix = f"{self.user_id}/datasets/"
        listed = self.stack.client("s3").list_objects_v2(Bucket=self.stack.bucket, Prefix=prefix)
        return {one["Key"] for one in listed.get("Contents", [])}

    def in_supabase(self, path: str) -> bool:
        return self._object("GET", path).status_code == 200

    def put(self, path: str, data: bytes) -> None:
        self._object("POST", path, content=data, headers={"x-upsert": "true"}).raise_for_status()

    def remove(self, path: str) -> None:
        self._object("DELETE", path).raise_for_status()

    def _object(self, method: str, path: str, headers: dict[str, str] | None = None, **sent: Any) -> httpx.Response:
        key = self.settings.required("supabase_service_role_key")
        url = f"{self.settings.supabase_url}/storage/v1/object/training-datasets/{path}"
        return httpx.request(method, url, headers={"Authorization": f"Bearer {key}", **(headers or {})}, **sent)

    def catalogue(self) -> AbstractContextManager[Catalogue]:
        return catalogue_in(self.settings.state_dir)


def artifacts(state: State[Any]) -> dict[str, Artifact]:
    of_this_run = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[state.state_details.flow_run_id]))
    with get_client(sync_client=True) as api:
        return {str(one.key): one for one in api.read_artifacts(artifact_filter=of_this_run)}


def log(state: State[Any]) -> str:
    APILogWorker.drain_all(timeout=10)
    of_this_run = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[state.state_details.flow_run_id]))
    with get_client(sync_client=True) as api:
        return "\n".join(line.message for line in api.read_logs(log_filter=of_this_run, limit=200))


def cells(artifact: Artifact) -> list[dict[str, str]]:
    read: list[dict[str, str]] = json.loads(str(artifact.data))
    return read
