"""Ending what an endpoint costs and keeping what brings it back: fewer instances, or the endpoint alone taken away."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from trainmaster.aws.failures import code_of, is_denied
from trainmaster.endpoints.deploying import find_config, find_endpoint, is_ours, tags_of
from trainmaster.endpoints.plan import HOURS_TAG, IDLE_TAG, KEEP_TAG, WHEN_OVER_TAG

if TYPE_CHECKING:
    from mypy_boto3_application_autoscaling import ApplicationAutoScalingClient
    from mypy_boto3_sagemaker import SageMakerClient


def shrinkable(endpoint: Mapping[str, Any]) -> bool:
    """Whether a variant runs more than one instance; those autoscaling asks for are known only when it is tried."""
    return any(variant.get("CurrentInstanceCount", 0) > 1 for variant in endpoint.get("ProductionVariants", []))


def scale_down(
    sagemaker: SageMakerClient, scaling: ApplicationAutoScalingClient, endpoint: Mapping[str, Any]
) -> dict[str, int]:
    """One instance for each variant, or as many as autoscaling keeps at least. By variant how many there are to be; empty when
    they are as few already, or when the endpoint is changing and may be tried again."""
    name = endpoint["EndpointName"]
    least = _least(scaling, endpoint)
    fewer = {
        variant["VariantName"]: least.get(variant["VariantName"], 1)
        for variant in endpoint["ProductionVariants"]
        if variant.get("CurrentInstanceCount", 0) > least.get(variant["VariantName"], 1)
    }
    if not fewer:
        return {}
    try:
        sagemaker.update_endpoint_weights_and_capacities(
            EndpointName=name,
            DesiredWeightsAndCapacities=[
                {"VariantName": variant, "DesiredInstanceCount": count} for variant, count in fewer.items()
            ],
        )
    except ClientError as error:
        if not _has_changed(sagemaker, error, endpoint):
            raise
        return {}
    return fewer


def take_away(sagemaker: SageMakerClient, endpoint: Mapping[str, Any]) -> bool:
    """Delete the endpoint, if it is still as it was described; its configuration and model stay, and what its tags say of
    its life with the configuration, for `start`. False when it has changed or is gone: whoever changed it wanted it."""
    if not is_as(endpoint, find_endpoint(sagemaker, endpoint["EndpointName"])):
        return False
    _keep_tags(sagemaker, endpoint)
    try:
        sagemaker.delete_endpoint(EndpointName=endpoint["EndpointName"])
    except ClientError as error:
        if not _has_changed(sagemaker, error, endpoint):
            raise
        return False
    return True


def _keep_tags(sagemaker: SageMakerClient, endpoint: Mapping[str, Any]) -> None:
    """With its configuration, where that was made for it and not for another endpoint that it was only tried for."""
    config = find_config(sagemaker, endpoint["EndpointConfigName"])
    if config is None or not is_ours(sagemaker, config["EndpointConfigArn"], endpoint["EndpointName"]):
        return
    tags = tags_of(sagemaker, endpoint["EndpointArn"])
    kept = {key: tags[key] for key in (HOURS_TAG, IDLE_TAG, WHEN_OVER_TAG, KEEP_TAG) if key in tags}
    if kept:
        every: Any = [{"Key": key, "Value": value} for key, value in kept.items()]
        sagemaker.add_tags(ResourceArn=config["EndpointConfigArn"], Tags=every)


def is_as(before: Mapping[str, Any], now: Mapping[str, Any] | None) -> bool:
    """Whether nothing was changed of an endpoint since it was described."""
    told = ("EndpointStatus", "EndpointConfigName", "LastModifiedTime", "CreationTime")
    return now is not None and all(now[member] == before[member] for member in told)


def _has_changed(sagemaker: SageMakerClient, error: ClientError, endpoint: Mapping[str, Any]) -> bool:
    """A refusal that is none of ours to raise: the endpoint was changed, or went, since it was described."""
    now = find_endpoint(sagemaker, endpoint["EndpointName"])
    refused = code_of(error) == "ValidationException" or (is_denied(error) and now is None)  # what is gone has no tags
    return refused and not is_as(endpoint, now)


def _least(scaling: ApplicationAutoScalingClient, endpoint: Mapping[str, Any]) -> dict[str, int]:
    """By variant, the fewest instances autoscaling keeps; those it does not scale are absent."""
    prefix = f"endpoint/{endpoint['EndpointName']}/variant/"
    found = scaling.describe_scalable_targets(
        ServiceNamespace="sagemaker",
        ResourceIds=[prefix + variant["VariantName"] for variant in endpoint["ProductionVariants"]],
        ScalableDimension="sagemaker:variant:DesiredInstanceCount",
    )["ScalableTargets"]
    return {one["ResourceId"].removeprefix(prefix): one["MinCapacity"] for one in found}
