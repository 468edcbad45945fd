"""From a request to a plan: every question about it answered, everything wrong with it said at once, nothing launched."""

from __future__ import annotations

import io
import json
from typing import Any

from trainmaster.errors import DatasetRefusedError
from trainmaster.storage.address import S3Address
from trainmaster.storage.bodies import measured
from trainmaster.storage.s3 import S3Store, prefix_checksum, require_bucket
from trainmaster.training.desk import Desk
from trainmaster.training.image import sklearn_image_uri
from trainmaster.training.plan import Channel, Place, TrainingInputs, TrainingPlan, plan_training
from trainmaster.training.request import TrainingRequest, approve
from trainmaster.training.source import source_archive, source_name
from trainmaster.training.trainers import HOUSE_PRICES


def prepare_training(desk: Desk, request: TrainingRequest) -> TrainingPlan:
    """The plan of a request that can be launched. Raises TrainingRefusedError with every problem it has."""
    region = request.region or desk.settings.region
    role_arn, bucket = desk.settings.required("execution_role_arn"), desk.settings.required("bucket")
    approval = approve(request, region, desk.prices)
    require_bucket(desk.client("s3"), bucket)
    checksum, objects, _size = prefix_checksum(desk.client("s3"), S3Address.parse(request.data_uri))
    if not objects:
        raise DatasetRefusedError(f"There is nothing below {request.data_uri}. Upload the data first.")
    name = request.model_name or "house-prices"
    inputs = TrainingInputs(
        name=name,
        trainer=HOUSE_PRICES,
        channels=(Channel("training", request.data_uri, checksum),),
        source_uri=_ensure_source(desk.client("s3"), bucket, f"trainmaster/{name}"),
        image_uri=sklearn_image_uri(region, request.instance_type),
        hyperparameters={key: json.dumps(value) for key, value in request.hyperparameters.items()},
    )
    return plan_training(request, inputs, approval, Place(region, role_arn, f"s3://{bucket}/trainmaster/{name}/jobs"))


def _ensure_source(s3: Any, bucket: str, folder: str) -> str:
    """Where the training code is in S3; put there unless it is."""
    source = source_archive()
    key = f"{folder}/source/{source_name(source)}"
    store = S3Store(s3, bucket)
    if not store.stat(key):  # named after what is packed: other gzip bytes there hold the same code
        sha256, length = measured(io.BytesIO(source))
        store.put(key, io.BytesIO(source), size=length, sha256=sha256, content_type="application/gzip")
    return str(S3Address(bucket, key))
