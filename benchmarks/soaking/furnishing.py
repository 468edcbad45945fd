"""What there is before a soak begins: a program and datasets in S3, a training config for each errand, budgets that are tight."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy import insert

from benchmarks.soaking.errands import TEAMS, USERS, Errand
from trainmaster.budget.budgets import ACCOUNT, Budget
from trainmaster.budget.money import CENT
from trainmaster.catalog.tables import training_config_datasets, training_configs
from trainmaster.datasets.request import UploadDatasetRequest
from trainmaster.storage import intake
from trainmaster.storage.library import Library
from trainmaster.storage.store import StorageProvider
from trainmaster.storage.stores import Stores
from trainmaster.storage.uploading import upload
from trainmaster.training.desk import Desk

PROGRAM = Path(__file__).with_name("job") / "train.py"
IMAGE = "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-scikit-learn:1.4-2-cpu-py3"
JOB_BUDGET = Decimal("1.00")
"""The most one job may cost; at worst they cost up to 0.71."""


def furnish(desk: Desk, errands: Sequence[Errand], folder: Path, followers: int) -> None:
    """Everything the errands ask for; and so little money that now and then a launch has to wait until others have ended."""
    source_uri = _program(desk)
    datasets = {user: _dataset(desk, user, folder) for user in {errand.user for errand in errands}}
    with desk.catalogue.database.writing() as connection:
        for errand in errands:
            config = {"id": errand.config_id, "user_id": errand.user, "name": errand.name}
            connection.execute(insert(training_configs).values(**config, config_json=_settings(errand, source_uri)))
            link = {"config_id": errand.config_id, "dataset_id": datasets[errand.user]}
            connection.execute(insert(training_config_datasets).values(**link))
    budgets = [Budget("user", str(user)) for user in USERS] + [Budget("team", team) for team in filter(None, TEAMS)]
    desk.ledger.set_limit(ACCOUNT, (JOB_BUDGET * followers / 3).quantize(CENT), set_by="the soak")
    for budget in budgets:
        desk.ledger.set_limit(budget, JOB_BUDGET, set_by="the soak")


def _settings(errand: Errand, source_uri: str) -> dict[str, Any]:
    trainer = {
        "image_uri": IMAGE,
        "source_uri": source_uri,
        "entry_point": PROGRAM.name,
        "checkpoints": True,
        "metrics": {"loss": "loss=([0-9.]+)"},
    }
    return {"trainer": trainer, "lines": errand.lines, "pace": errand.pace, "fails-at": errand.fails_at}


def _program(desk: Desk) -> str:
    packed, bucket = io.BytesIO(), desk.settings.required("bucket")
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        tar.add(PROGRAM, arcname=PROGRAM.name)
    desk.client("s3").put_object(Bucket=bucket, Key="soak/sourcedir.tar.gz", Body=packed.getvalue())
    return f"s3://{bucket}/soak/sourcedir.tar.gz"


def _dataset(desk: Desk, user: UUID, folder: Path) -> UUID:
    """One in S3, the way users bring theirs."""
    work = folder / f"dataset-{user.int}"
    work.mkdir()
    file = work / "chats.jsonl"
    said = [{"role": "user", "content": "What is it?"}, {"role": "assistant", "content": "A thing, of some length."}]
    file.write_text("".join(f"{json.dumps({'messages': said, 'number': number})}\n" for number in range(3)))
    settings = desk.settings.model_copy(update={"user_id": user})
    request = UploadDatasetRequest(name="chats", file=str(file))
    source = intake.fetch_source(request, work, settings, lambda: desk.client("s3"))
    new = intake.accepted(request, source, intake.check_source(request, source, work), work, settings)
    library = Library(desk.catalogue, Stores(settings, lambda: desk.client("s3")))
    upload(library, new, [StorageProvider.S3])
    return new.id
