"""Steps that look at data and bring it to S3."""

from __future__ import annotations

import tempfile
from typing import IO, cast

from prefect import get_run_logger

from tasks.aws import client, step
from trainmaster.datasets.houses import open_houses, require_sound_houses
from trainmaster.datasets.tables import CheckedTable, write_normalised
from trainmaster.main_job import UploadedTable
from trainmaster.settings import Settings
from trainmaster.storage.address import S3Address
from trainmaster.storage.bodies import measured
from trainmaster.storage.s3 import S3Store, require_bucket


@step(task_run_name="check data", retries=0)
def check_data(path: str, validation_fraction: float) -> CheckedTable:
    """Read the whole file and refuse it, with line and column of every problem, unless it can be trained on."""
    checked = require_sound_houses(path, validation_fraction)
    get_run_logger().info("%s", checked.summary())
    return checked


@step(task_run_name="upload data")
def upload_data(path: str, checked: CheckedTable, model_name: str, settings: Settings) -> UploadedTable:
    """Normalise the checked table and store it under its checksum: the same table is sent once."""
    s3, bucket = client(settings, "s3"), settings.required("bucket")
    require_bucket(s3, bucket)
    folder = S3Address(bucket, f"trainmaster/{model_name}/data/{str(checked.normalised_sha256)[:16]}/")
    with open_houses(path) as source, tempfile.TemporaryFile() as file:
        normalised = cast("IO[bytes]", file)
        write_normalised(source, checked, normalised)
        sha256, size = measured(normalised)
        sent = S3Store(s3, bucket).put(
            folder.key + "data.csv", normalised, size=size, sha256=sha256, content_type="text/csv"
        )
    uploaded = UploadedTable(
        name=checked.name,
        uri=str(folder),
        rows=checked.rows,
        columns=dict(checked.columns),
        ignored=list(checked.ignored),
        notes=list(checked.notes),
        sha256=str(checked.normalised_sha256),
        sent=sent,
    )
    get_run_logger().info("%s %s", "Stored at" if sent else "Was stored already at", folder)
    return uploaded
