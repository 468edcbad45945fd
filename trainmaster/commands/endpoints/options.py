"""What `trainmaster endpoints plan|deploy` is told: an option for each field of an endpoint's request, or a file with it."""

from __future__ import annotations

from trainmaster.commands.terminal.request_options import RequestOptions
from trainmaster.endpoints.request import EndpointRequest

_S3 = "give the model.tar.gz of a training job, such as s3://bucket/jobs/cats-1/output/model.tar.gz"
REQUEST = RequestOptions(
    EndpointRequest,
    example='{"model_uri": "s3://…"}',
    without=frozenset({"dry_run"}),  # `endpoints plan` is the dry run
    spelled={"user_id": ("--user",)},
    patterns={
        "model_uri": _S3,
        "challenger.model_uri": _S3,
        "shadow.model_uri": _S3,
        "endpoint_name": "letters, digits and single hyphens between them",
        "model_group": "letters, digits and single hyphens between them",
        "instance_type": "give a SageMaker type, such as ml.m5.large",
        "user_id": "give an id, a UUID",
        "team": "letters, digits, dots, dashes, at most 63",
        "data_classification": "lower-case letters, digits and hyphens",
    },
)
