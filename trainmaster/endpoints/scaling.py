"""A variant's number of instances that follows its traffic, by AWS's Application Auto Scaling."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Literal

from botocore.exceptions import ClientError

from trainmaster.endpoints.request import Scaling

if TYPE_CHECKING:
    from mypy_boto3_application_autoscaling import ApplicationAutoScalingClient
    from mypy_boto3_application_autoscaling.type_defs import TargetTrackingScalingPolicyConfigurationTypeDef

METRIC: Literal["SageMakerVariantInvocationsPerInstance"] = "SageMakerVariantInvocationsPerInstance"
POLICY = "invocations-per-instance"
_TAG = re.compile(r"(\d+)-(\d+)@(\d+)")


def scaling_tag(scaling: Scaling) -> str:
    """As a configuration's tag says it: `least-most@target`."""
    return f"{scaling.min_instances}-{scaling.max_instances}@{scaling.target_invocations}"


def tagged_scaling(value: str | None) -> Scaling | None:
    """What `scaling_tag` said; None for what it did not say."""
    told = _TAG.fullmatch(value or "")
    if told is None:
        return None
    least, most, target = map(int, told.groups())
    return Scaling(min_instances=least, max_instances=most, target_invocations=target)


def described_scaling(autoscaling: ApplicationAutoScalingClient, endpoint_name: str, variant: str) -> Scaling | None:
    """What the variant is registered with, with our policy; None where it is not."""
    target = _target(endpoint_name, variant)
    found = autoscaling.describe_scalable_targets(
        ServiceNamespace="sagemaker",
        ResourceIds=[target["ResourceId"]],
        ScalableDimension="sagemaker:variant:DesiredInstanceCount",
    )["ScalableTargets"]
    if not found:
        return None
    policies = autoscaling.describe_scaling_policies(**target, PolicyNames=[POLICY])["ScalingPolicies"]
    invocations = [one["TargetTrackingScalingPolicyConfiguration"]["TargetValue"] for one in policies]
    least, most = found[0]["MinCapacity"], found[0]["MaxCapacity"]
    # without the policy it is registered and does not follow anything: told apart from what is wanted by its target
    return Scaling.model_construct(
        min_instances=least, max_instances=most, target_invocations=int(invocations[0]) if invocations else 0
    )


def register_scaling(
    autoscaling: ApplicationAutoScalingClient, endpoint_name: str, variant: str, scaling: Scaling
) -> None:
    """Register the variant, which must be in service, and attach the policy; or make both what they should be."""
    target = _target(endpoint_name, variant)
    following: TargetTrackingScalingPolicyConfigurationTypeDef = {
        "TargetValue": float(scaling.target_invocations),
        "PredefinedMetricSpecification": {"PredefinedMetricType": METRIC},
    }
    autoscaling.register_scalable_target(**target, MinCapacity=scaling.min_instances, MaxCapacity=scaling.max_instances)
    autoscaling.put_scaling_policy(
        **target,
        PolicyName=POLICY,
        PolicyType="TargetTrackingScaling",
        TargetTrackingScalingPolicyConfiguration=following,
    )


def stop_scaling(autoscaling: ApplicationAutoScalingClient, endpoint_name: str, variant: str) -> None:
    """Deregister the variant, with which AWS deletes its policies; where it is not registered, nothing."""
    try:
        autoscaling.deregister_scalable_target(**_target(endpoint_name, variant))
    except ClientError:
        if described_scaling(autoscaling, endpoint_name, variant) is not None:
            raise


def _target(endpoint_name: str, variant: str) -> dict[str, Any]:
    return {
        "ServiceNamespace": "sagemaker",
        "ResourceId": f"endpoint/{endpoint_name}/variant/{variant}",
        "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
    }
