"""Variants registered with Application Auto Scaling: described, refused, really scaled, and forgotten with their endpoint."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError
from hosting import Hosting

DIMENSION = "sagemaker:variant:DesiredInstanceCount"
POLICY = {
    "TargetValue": 20.0,
    "PredefinedMetricSpecification": {"PredefinedMetricType": "SageMakerVariantInvocationsPerInstance"},
}


class Scaled:
    """One endpoint's variant AllTraffic, and the service's calls about it."""

    def __init__(self, hosting: Hosting, name: str) -> None:
        self.hosting, self.name = hosting, name
        self.client = hosting.embedded.client("application-autoscaling")
        self.target = {
            "ServiceNamespace": "sagemaker",
            "ResourceId": f"endpoint/{name}/variant/AllTraffic",
            "ScalableDimension": DIMENSION,
        }

    def register(self, least: int, most: int) -> None:
        self.client.register_scalable_target(**self.target, MinCapacity=least, MaxCapacity=most)

    def follow(self, **policy: Any) -> None:
        self.client.put_scaling_policy(
            **self.target,
            PolicyName="traffic",
            PolicyType="TargetTrackingScaling",
            TargetTrackingScalingPolicyConfiguration={**POLICY, **policy},
        )

    def instances(self) -> int:
        [variant] = self.hosting.settled(self.name)["ProductionVariants"]
        return int(variant["CurrentInstanceCount"])

    def registered(self) -> list[dict[str, Any]]:
        found = self.client.describe_scalable_targets(
            ServiceNamespace="sagemaker", ResourceIds=[self.target["ResourceId"]]
        )
        return list(found["ScalableTargets"])

    def policies(self) -> list[dict[str, Any]]:
        return list(self.client.describe_scaling_policies(**self.target)["ScalingPolicies"])

    def causes(self) -> list[str]:
        found = self.client.describe_scaling_activities(**self.target)["ScalingActivities"]
        assert {each["StatusCode"] for each in found} <= {"Successful"}
        return [each["Cause"] for each in found]


@pytest.fixture
def hosting(embedded: Any) -> Iterator[Hosting]:
    hosting = Hosting(embedded)
    yield hosting
    hosting.remove()


@pytest.fixture
def scaled(hosting: Hosting) -> Scaled:
    return Scaled(hosting, hosting.serve())


def test_a_variant_gets_more_instances_when_each_is_asked_more_than_its_share(scaled: Scaled) -> None:
    scaled.register(1, 2)
    scaled.follow()
    [policy] = scaled.policies()
    assert policy["TargetTrackingScalingPolicyConfiguration"]["TargetValue"] == 20.0

    def grown() -> bool:
        scaled.hosting.invoke(scaled.name)
        return scaled.instances() == 2

    scaled.hosting.wait_until(grown)
    seen = {scaled.hosting.invoke(scaled.name)["instance"] for _ in range(40)}

    assert len(seen) == 2
    assert scaled.causes() == ["monitor alarm AlarmHigh in state ALARM triggered policy traffic"]


def test_limits_hold_as_soon_as_they_are_registered(scaled: Scaled) -> None:
    scaled.register(2, 4)
    scaled.hosting.wait_until(lambda: scaled.instances() == 2)

    scaled.register(1, 1)
    scaled.hosting.wait_until(lambda: scaled.instances() == 1)

    assert scaled.causes() == ["maximum capacity was set to 1", "minimum capacity was set to 2"]


def test_what_a_variant_grew_to_outlives_an_update_that_retains_it(scaled: Scaled) -> None:
    hosting = scaled.hosting
    config = hosting.config(hosting.variant(hosting.model("v2")))
    scaled.register(2, 4)
    hosting.wait_until(lambda: scaled.instances() == 2)

    hosting.sagemaker.update_endpoint(
        EndpointName=scaled.name, EndpointConfigName=config, RetainAllVariantProperties=True
    )

    assert scaled.instances() == 2
    assert hosting.invoke(scaled.name)["version"] == "v2"
    assert [(one["MinCapacity"], one["MaxCapacity"]) for one in scaled.registered()] == [(2, 4)]


def test_a_registered_variant_keeps_its_instance_type_until_it_is_deregistered(scaled: Scaled) -> None:
    hosting = scaled.hosting
    config = hosting.config(hosting.variant(hosting.model("v2"), InstanceType="ml.c5.large"))
    scaled.register(1, 2)

    with pytest.raises(ClientError, match="Deregister them as scalable targets before"):
        hosting.sagemaker.update_endpoint(EndpointName=scaled.name, EndpointConfigName=config)

    scaled.client.deregister_scalable_target(**scaled.target)
    hosting.sagemaker.update_endpoint(EndpointName=scaled.name, EndpointConfigName=config)
    assert hosting.settled(scaled.name)["EndpointConfigName"] == config


def test_policies_go_with_the_target_and_targets_with_the_endpoint(scaled: Scaled) -> None:
    for _ in range(2):
        scaled.register(1, 2)
        scaled.follow(DisableScaleIn=True)
        scaled.client.deregister_scalable_target(**scaled.target)
        assert (scaled.registered(), scaled.policies()) == ([], [])
    scaled.register(1, 2)
    scaled.follow()

    scaled.hosting.sagemaker.delete_endpoint(EndpointName=scaled.name)

    scaled.hosting.wait_until(lambda: (scaled.registered(), scaled.policies()) == ([], []))


def test_what_cannot_be_scaled_is_refused(hosting: Hosting, scaled: Scaled) -> None:
    serverless = {"MemorySizeInMB": 2048, "MaxConcurrency": 1}
    name = hosting.serve({"VariantName": "AllTraffic", "ModelName": hosting.model(), "ServerlessConfig": serverless})

    for nowhere in (Scaled(hosting, "nobody-made-it"), Scaled(hosting, name)):
        with pytest.raises(ClientError, match="No scalable resource found for service namespace: sagemaker"):
            nowhere.register(1, 2)
    with pytest.raises(ClientError, match="MaxCapacity at least MinCapacity"):
        scaled.register(3, 2)
    scaled.register(1, 2)
    with pytest.raises(ClientError, match="SageMakerVariantInvocationsPerInstance only"):
        scaled.follow(PredefinedMetricSpecification={"PredefinedMetricType": "ECSServiceAverageCPUUtilization"})
