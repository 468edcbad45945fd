"""A library over the session's real stores, with a user and a catalogue of one's own; and datasets to put in it."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import boto3
from sqlalchemy import func, select, update

from trainmaster.aws.clients import client_config
from trainmaster.catalog.catalogue import open_catalogue
from trainmaster.catalog.tables import pending_objects, training_datasets
from trainmaster.datasets.request import UploadDatasetRequest
from trainmaster.settings import Settings
from trainmaster.storage import intake
from trainmaster.storage.library import Library
from trainmaster.storage.store import ObjectStore, StorageProvider
from trainmaster.storage.stores import Stores
from trainmaster.storage.uploading import NewDataset

SUPABASE, S3 = StorageProvider.SUPABASE, StorageProvider.S3
BAD = '{"messages": "no list"}'


def chats(count: int = 3, marker: str = "") -> list[str]:
    """Lines of a sound ChatML file; `marker` makes them differ from others."""
    said = [
        {"role": "user", "content": f"What is {marker}?"},
        {"role": "assistant", "content": "A thing, of some length."},
    ]
    return [
        json.dumps({"messages": [{**said[0], "content": f"{said[0]['content']} {n}"}, said[1]]}) for n in range(count)
    ]


class Shelves:
    """One user's view of a library in `folder`. `environment` is that of the embedded AWS and Supabase."""

    def __init__(self, environment: Mapping[str, str], folder: Path, user_id: UUID | None = None) -> None:
        self.folder, self.user_id = folder, user_id or uuid4()
        self.settings = Settings.model_validate(
            {
                "AWS_REGION": environment["AWS_REGION"],
                "bucket": environment["TRAINMASTER_BUCKET"],
                "SUPABASE_URL": environment["SUPABASE_URL"],
                "SUPABASE_SERVICE_ROLE_KEY": environment["SUPABASE_SERVICE_ROLE_KEY"],
                "user_id": str(self.user_id),
                "state_dir": str(folder / "state"),
                "allow_private_addresses": True,
            }
        )
        self.catalogue = open_catalogue(None, self.settings.state_dir)
        self.s3 = boto3.client(
            "s3",
            endpoint_url=environment["AWS_ENDPOINT_URL_S3"],
            region_name=environment["AWS_REGION"],
            aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
            config=client_config(),
        )
        self.library = Library(self.catalogue, Stores(self.settings, lambda: self.s3))

    def store(self, provider: StorageProvider) -> ObjectStore:
        return self.library.stores.home(provider, self.user_id)

    def request(self, lines: Sequence[str], **choices: Any) -> UploadDatasetRequest:
        """To upload these lines, from a file that is written for it."""
        file = self.folder / f"{uuid4().hex}.jsonl"
        file.write_text("".join(f"{line}\n" for line in lines))
        return UploadDatasetRequest.model_validate({"name": "my chats", "file": str(file), **choices})

    def sound(self, request: UploadDatasetRequest) -> NewDataset:
        """Checked, and ready to be stored."""
        work = self.folder / uuid4().hex
        work.mkdir()
        source = intake.fetch_source(request, work, self.settings, lambda: self.s3)
        report = intake.check_source(request, source, work)
        return intake.accepted(request, source, report, work, self.settings)

    def objects(self, user_id: UUID | None = None) -> set[str]:
        """Everything of the user's that lies in either store, as provider://path."""
        prefix = f"{user_id or self.user_id}/"
        return {f"{at}://{found.key}" for at in (SUPABASE, S3) for found in self.store(at).list(prefix)}

    def rows(self) -> int:
        with self.catalogue.database.reading() as connection:
            return int(connection.execute(select(func.count()).select_from(training_datasets)).scalar_one())

    def pending(self) -> int:
        with self.catalogue.database.reading() as connection:
            return int(connection.execute(select(func.count()).select_from(pending_objects)).scalar_one())

    def leases(self) -> list[datetime]:
        """When the user's claims run out."""
        until = select(pending_objects.c.lease_until).where(pending_objects.c.user_id == self.user_id)
        with self.catalogue.database.reading() as connection:
            return sorted(connection.execute(until).scalars())

    def run_out(self) -> None:
        """Let all claims have run out, so long ago that nobody will go on with what is there."""
        with self.catalogue.database.writing() as connection:
            connection.execute(update(pending_objects).values(lease_until=datetime.now(UTC) - timedelta(days=3)))

    def content(self, provider: StorageProvider, path: str) -> list[Any]:
        """The examples in an object."""
        with self.store(provider).get(path) as chunks:
            return [json.loads(line) for line in gzip.decompress(b"".join(chunks)).splitlines()]
