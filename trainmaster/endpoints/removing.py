"""Taking an endpoint away with all that was made for it, and nothing else. The artifacts in S3 stay."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pydantic import BaseModel

from trainmaster.aws.polling import Patience
from trainmaster.endpoints.deploying import delete, delete_endpoint, find_config, find_endpoint, find_model, is_ours
from trainmaster.endpoints.plan import ENDPOINT_TAG
from trainmaster.errors import NameConflictError

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
    """The endpoint, and the configurations and models that were tagged as made for it.

    Raises NameConflictError for an endpoint that Trainmaster did not make.
    """
    endpoint = find_endpoint(sagemaker, endpoint_name)
    if endpoint and not is_ours(sagemaker, endpoint["EndpointArn"], endpoint_name):
        raise NameConflictError(
            f"Endpoint {endpoint_name} was not made by Trainmaster, which removes only its own. Remove it in the AWS console,"
            f" or hand it over by the tag {ENDPOINT_TAG}={endpoint_name}."
        )
    return Belongings(
        endpoint=endpoint_name if endpoint else None,
        configs=[name for name, arn in _configs(sagemaker, endpoint_name) if is_ours(sagemaker, arn, endpoint_name)],
        models=[name for name, arn in _models(sagemaker, endpoint_name) if is_ours(sagemaker, arn, endpoint_name)],
    )


def remove(sagemaker: SageMakerClient, found: Belongings, patience: Patience) -> None:
    """Delete them, the endpoint first: it is what costs money, and AWS forgets what it runs on without its configuration.

    Safe to repeat; what is gone already is fine. Raises DeploymentFailedError when AWS keeps the endpoint.
    """
    if found.endpoint:
        delete_endpoint(sagemaker, found.endpoint, patience)
    for config in found.configs:
        delete(
            lambda config=config: sagemaker.delete_endpoint_config(EndpointConfigName=config),  # type: ignore[misc]
            lambda config=config: find_config(sagemaker, config) is not None,  # type: ignore[misc]
        )
    for model in found.models:
        delete(
            lambda model=model: sagemaker.delete_model(ModelName=model),  # type: ignore[misc]
            lambda model=model: find_model(sagemaker, model) is not None,  # type: ignore[misc]
        )


def _configs(sagemaker: SageMakerClient, endpoint_name: str) -> Iterator[tuple[str, str]]:
    for page in sagemaker.get_paginator("list_endpoint_configs").paginate(NameContains=endpoint_name):
        for config in page["EndpointConfigs"]:
            yield config["EndpointConfigName"], config["EndpointConfigArn"]


def _models(sagemaker: SageMakerClient, endpoint_name: str) -> Iterator[tuple[str, str]]:
    for page in sagemaker.get_paginator("list_models").paginate(NameContains=endpoint_name):
        for model in page["Models"]:
            yield model["ModelName"], model["ModelArn"]
