"""Taking an endpoint away with all that was made for it, and nothing else. The artifacts in S3 stay."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pydantic import BaseModel

from trainmaster.aws.polling import Patience
from trainmaster.endpoints.deploying import delete_quietly, find_endpoint, settle
from trainmaster.endpoints.plan import ENDPOINT_TAG

if TYPE_CHECKING:
    from mypy_boto3_sagemaker import SageMakerClient


class Belongings(BaseModel):
    """What stands in AWS for an endpoint's name."""

    endpoint: str | None
    configs: list[str]
    models: list[str]

    def __str__(self) -> str:
        named = ([f"endpoint {self.endpoint}"] if self.endpoint else []) + [f"config {name}" for name in self.configs]
        return ", ".join(named + [f"model {name}" for name in self.models]) or "nothing"


def belongings(sagemaker: SageMakerClient, endpoint_name: str) -> Belongings:
    """The endpoint, and the configurations and models that were tagged as made for it."""
    return Belongings(
        endpoint=endpoint_name if find_endpoint(sagemaker, endpoint_name) else None,
        configs=list(_tagged(sagemaker, _configs(sagemaker, endpoint_name), endpoint_name)),
        models=list(_tagged(sagemaker, _models(sagemaker, endpoint_name), endpoint_name)),
    )


def remove(sagemaker: SageMakerClient, found: Belongings, patience: Patience) -> None:
    """Delete them, the endpoint first: it is what costs money. Safe to repeat; what is gone already is fine."""
    if found.endpoint:
        settle(sagemaker, found.endpoint, patience)
        delete_quietly(sagemaker.delete_endpoint, EndpointName=found.endpoint)
        settle(sagemaker, found.endpoint, patience)
    for config in found.configs:
        delete_quietly(sagemaker.delete_endpoint_config, EndpointConfigName=config)
    for model in found.models:
        delete_quietly(sagemaker.delete_model, ModelName=model)


def _configs(sagemaker: SageMakerClient, endpoint_name: str) -> Iterator[tuple[str, str]]:
    for page in sagemaker.get_paginator("list_endpoint_configs").paginate(NameContains=endpoint_name):
        for config in page["EndpointConfigs"]:
            yield config["EndpointConfigName"], config["EndpointConfigArn"]


def _models(sagemaker: SageMakerClient, endpoint_name: str) -> Iterator[tuple[str, str]]:
    for page in sagemaker.get_paginator("list_models").paginate(NameContains=endpoint_name):
        for model in page["Models"]:
            yield model["ModelName"], model["ModelArn"]


def _tagged(sagemaker: SageMakerClient, named: Iterator[tuple[str, str]], endpoint_name: str) -> Iterator[str]:
    for name, arn in named:
        tags = {tag["Key"]: tag["Value"] for tag in sagemaker.list_tags(ResourceArn=arn)["Tags"]}
        if tags.get(ENDPOINT_TAG) == endpoint_name:
            yield name
