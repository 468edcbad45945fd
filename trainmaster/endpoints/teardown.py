"""Everything that endpoints cost taken away in one go: they, their public APIs, alarms, configurations and models. What costs nothing
or next to it, and cannot be made again, is kept and named."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError
from pydantic import BaseModel, ConfigDict

from trainmaster.aws.polling import Patience
from trainmaster.endpoints.api.stack import Withdrawal, find_api, withdraw_api
from trainmaster.endpoints.deploying import find_config, find_model, tags_of
from trainmaster.endpoints.desired import CAPTURED
from trainmaster.endpoints.metering import meter_endpoint
from trainmaster.endpoints.plan import ENDPOINT_TAG, PACKAGE_TAG
from trainmaster.endpoints.removing import Belongings, belongings, model_names, remove
from trainmaster.errors import TrainmasterError
from trainmaster.training.desk import Desk

if TYPE_CHECKING:
    from mypy_boto3_sagemaker import SageMakerClient

FAILURES = (ClientError, BotoCoreError, TrainmasterError)
"""What keeps one endpoint from being torn down, and no other."""


class TornDown(BaseModel):
    """What was taken away for one endpoint's name, or would be; `kept` is what stays, and `failure` why something stays that should
    not, and goes on costing money."""

    model_config = ConfigDict(frozen=True)

    endpoint_name: str
    found: Belongings | None = None
    api: Withdrawal | None = None
    kept: list[str] = []
    removed: bool = False
    failure: str = ""

    def sentence(self) -> str:
        if self.failure:
            return f"Endpoint {self.endpoint_name} could not be torn down, and what is left costs money: {self.failure}"
        parts = [str(self.found)] if self.found else []
        parts += [f"stack {self.api.stack}"] if self.api and self.api.stack else []
        kept = f" Kept: {', '.join(self.kept)}." if self.kept else ""
        return f"{'Removed' if self.removed else 'Would remove'} {', '.join(parts) or 'nothing'}.{kept}"


def names_to_tear_down(desk: Desk) -> list[str]:
    """Every name that something of ours stands for in this account and region: an endpoint, a configuration or model without one,
    or a stack."""
    sagemaker: SageMakerClient = desk.client("sagemaker")
    tagged = {tags_of(sagemaker, arn).get(ENDPOINT_TAG, "") for arn in _arns(sagemaker)}
    stacks = desk.client("cloudformation").get_paginator("describe_stacks").paginate()
    published = {
        tag["Value"]
        for page in stacks
        for stack in page["Stacks"]
        for tag in stack.get("Tags", [])
        if tag["Key"] == ENDPOINT_TAG and stack["StackStatus"] != "DELETE_COMPLETE"
    }
    return sorted((tagged | published) - {""})


def teardown(desk: Desk, names: Sequence[str], patience: Patience, *, dry_run: bool = False) -> Iterator[TornDown]:
    """What became of each of these endpoints. What fails for one, or for its API, keeps nothing else from going; safe to repeat.

    Its hours are billed until now; what CloudWatch may not have shown yet of one that is paid by use `reconcile` bills later.
    """
    for name in names:
        torn, failures = TornDown(endpoint_name=name), list[str]()
        for part in (_serving, _published):  # what costs most first, and neither keeps the other from going
            try:
                torn = part(desk, torn, patience, dry_run)
            except FAILURES as error:
                failures.append(str(error))
        yield torn.model_copy(update={"removed": not (dry_run or failures), "failure": " ".join(failures)})


def _serving(desk: Desk, torn: TornDown, patience: Patience, dry_run: bool) -> TornDown:
    sagemaker, name, bucket = desk.client("sagemaker"), torn.endpoint_name, desk.settings.required("bucket")
    found = belongings(desk.client, name)
    kept = list(_kept(desk, sagemaker, found, bucket, name))
    if not dry_run:
        remove(desk.client, found, patience)
        for each in filter(None, (name, found.rehearsal)):
            meter_endpoint(desk, each)
    return torn.model_copy(update={"found": found, "kept": kept})


def _published(desk: Desk, torn: TornDown, patience: Patience, dry_run: bool) -> TornDown:
    stack, s3, bucket = desk.client("cloudformation"), desk.client("s3"), desk.settings.required("bucket")
    api = find_api(stack, s3, torn.endpoint_name, bucket)
    if not dry_run:
        quick = replace(patience, poll_seconds=min(patience.poll_seconds, 5.0))
        withdraw_api(stack, s3, api, bucket, quick, on_status=lambda _: None)
    return torn.model_copy(update={"api": api})


def _kept(desk: Desk, sagemaker: SageMakerClient, found: Belongings, bucket: str, name: str) -> Iterator[str]:
    """The artifacts of its models, the registry's versions of them, and what was captured: nobody could make those again."""
    models = {
        *found.models,
        *(model for config in found.configs for model in model_names(find_config(sagemaker, config))),
    }
    uris = {
        (find_model(sagemaker, model) or {}).get("PrimaryContainer", {}).get("ModelDataUrl", "") for model in models
    }
    yield from sorted(uris - {""})
    packages = set()
    for config in found.configs:
        described = find_config(sagemaker, config)
        if described:
            packages.add(tags_of(sagemaker, described["EndpointConfigArn"]).get(PACKAGE_TAG, ""))
    yield from sorted(packages - {""})
    prefix = f"{CAPTURED}/{name}/"
    if desk.client("s3").list_objects_v2(Bucket=bucket, Prefix=prefix, MaxKeys=1).get("KeyCount"):
        yield f"s3://{bucket}/{prefix}"


def _arns(sagemaker: SageMakerClient) -> Iterator[str]:
    for endpoints in sagemaker.get_paginator("list_endpoints").paginate():
        yield from (one["EndpointArn"] for one in endpoints["Endpoints"])
    for configs in sagemaker.get_paginator("list_endpoint_configs").paginate():
        yield from (one["EndpointConfigArn"] for one in configs["EndpointConfigs"])
    for models in sagemaker.get_paginator("list_models").paginate():
        yield from (one["ModelArn"] for one in models["Models"])
