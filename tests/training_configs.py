"""Training configs for tests: rows as the application writes them, datasets of a real library, programs of a user's own in S3."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from desks import desk_at
from library_shelves import Shelves, chats
from sqlalchemy import insert

from trainmaster.catalog.tables import training_config_datasets, training_configs
from trainmaster.storage.store import StorageProvider
from trainmaster.storage.uploading import upload
from trainmaster.training.desk import Desk
from trainmaster.training.image import SKLEARN_IMAGE
from trainmaster.training.request import TrainingRequest

IMAGE = f"683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-scikit-learn:{SKLEARN_IMAGE}-cpu-py3"
"""AWS's scikit-learn container, in us-east-1."""


class Bench:
    """A user with a library, training configs and a desk to launch them from, all on one catalogue."""

    def __init__(self, shelves: Shelves, desk: Desk) -> None:
        self.shelves, self.desk, self.user_id = shelves, desk, shelves.user_id
        self.bucket = desk.settings.required("bucket")

    def dataset(self, marker: str, *providers: StorageProvider, count: int = 3) -> UUID:
        """A new one of `count` examples, uploaded to S3 unless other providers are given."""
        request = self.shelves.request(chats(count, marker), name=f"chats about {marker}")
        new = self.shelves.sound(request)
        upload(self.shelves.library, new, providers or [StorageProvider.S3])
        return new.id

    def config(
        self, config: Any, datasets: Sequence[UUID] = (), *, user_id: UUID | None = None, name: str = "my config"
    ) -> str:
        """The id of a new config."""
        id_ = uuid4()
        with self.desk.catalogue.database.writing() as connection:
            connection.execute(
                insert(training_configs).values(id=id_, user_id=user_id or self.user_id, name=name, config_json=config)
            )
            for dataset_id in datasets:
                connection.execute(insert(training_config_datasets).values(config_id=id_, dataset_id=dataset_id))
        return str(id_)

    def program(self, script: str) -> dict[str, Any]:
        """A `trainer` for configs: this script in AWS's scikit-learn container, packed and put in S3."""
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w:gz") as tar:
            member = tarfile.TarInfo("train.py")
            member.size = len(script.encode())
            tar.addfile(member, io.BytesIO(script.encode()))
        key = f"programs/{uuid4().hex}/sourcedir.tar.gz"
        self.desk.client("s3").put_object(Bucket=self.bucket, Key=key, Body=packed.getvalue())
        source_uri = f"s3://{self.bucket}/{key}"
        return {"image_uri": IMAGE, "source_uri": source_uri, "entry_point": "train.py", "checkpoints": True}

    def request(self, config_id: str, **choices: Any) -> TrainingRequest:
        asked = {"training_config_id": config_id, "max_runtime_seconds": 600, "budget_limit": "1.00"}
        return TrainingRequest.model_validate({**asked, **choices})


@contextmanager
def bench_at(folder: Path, environment: Mapping[str, str], **settings: Any) -> Iterator[Bench]:
    shelves = Shelves(environment, folder)
    given = {
        "user_id": str(shelves.user_id),
        "SUPABASE_URL": environment["SUPABASE_URL"],
        "SUPABASE_SERVICE_ROLE_KEY": environment["SUPABASE_SERVICE_ROLE_KEY"],
        **settings,
    }
    with desk_at(shelves.settings.state_dir, environment, **given) as desk:
        yield Bench(shelves, desk)
    shelves.catalogue.close()
