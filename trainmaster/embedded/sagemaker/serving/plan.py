"""What an endpoint config asks for, resolved against its models: all a fleet needs to start, now or after a restart."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from trainmaster.embedded.sagemaker.account import Account
from trainmaster.embedded.sagemaker.wire import AwsError, Json, invalid, not_found

STARTUP_SECONDS = 120.0  # AWS waits several minutes by default; nothing is pulled or booted here
QUOTA = 20  # instances of one type in all endpoints; each is a process on this machine


@dataclass(frozen=True)
class VariantPlan:
    """One production variant. Kept as JSON in the endpoint's record: it serves on when its config and model are deleted."""

    name: str
    image: str
    artifact: str | None
    artifact_is_prefix: bool
    environment: dict[str, str]
    instance_type: str | None
    instances: int
    weight: float
    startup_seconds: float = STARTUP_SECONDS
    random_routing: bool = False
    serverless: dict[str, int] = field(default_factory=dict)
    shadow: bool = False
    """It gets copies of requests, a share as great as its weight is of the production variant's; nobody sees its answers."""


def planned(account: Account, config_name: str) -> list[VariantPlan]:
    """The variants of a config; raises AwsError when it or a model does not exist, and for what is not embedded."""
    config = account.records.get("endpoint-config", config_name)
    if config is None:
        raise not_found(f'Could not find endpoint configuration "{account.arn("endpoint-config", config_name)}".')
    for member in ("AsyncInferenceConfig", "ExplainerConfig"):
        if config.get(member):
            raise invalid(f"The embedded AWS serves real-time variants only; {config_name} has {member}.")
    return [
        *(_variant(account, variant) for variant in config["ProductionVariants"]),
        *(_variant(account, variant, shadow=True) for variant in config.get("ShadowProductionVariants") or []),
    ]


def captured(account: Account, config_name: str) -> Json | None:
    """The DataCaptureConfig of a config that exists; None where nothing is captured."""
    config = account.records.get("endpoint-config", config_name) or {}
    capture: Json | None = config.get("DataCaptureConfig")
    return capture if capture and capture.get("EnableCapture", True) else None


def _variant(account: Account, variant: Json, *, shadow: bool = False) -> VariantPlan:
    name = variant["VariantName"]
    if not variant.get("ModelName"):
        raise invalid(f"The embedded AWS has no inference components; production variant {name} needs a ModelName.")
    model = account.records.get("model", variant["ModelName"])
    if model is None:
        raise not_found(f'Could not find model "{account.arn("model", variant["ModelName"])}".')
    containers = [model["PrimaryContainer"]] if model.get("PrimaryContainer") else model.get("Containers") or []
    if len(containers) != 1 or containers[0].get("Mode") == "MultiModel":
        raise invalid(f"The embedded AWS serves one single-model container; model {variant['ModelName']} has another.")
    container = containers[0]
    source = (container.get("ModelDataSource") or {}).get("S3DataSource") or {}
    artifact = container.get("ModelDataUrl") or source.get("S3Uri")
    serverless = variant.get("ServerlessConfig") or {}
    return VariantPlan(
        name=name,
        image=container.get("Image", ""),
        artifact=artifact,
        artifact_is_prefix=bool(source) and source.get("CompressionType") == "None",
        environment=container.get("Environment") or {},
        instance_type=variant.get("InstanceType"),
        instances=1 if serverless else variant.get("InitialInstanceCount", 1),
        weight=variant.get("InitialVariantWeight", 1.0),
        startup_seconds=variant.get("ContainerStartupHealthCheckTimeoutInSeconds", STARTUP_SECONDS),
        random_routing=(variant.get("RoutingConfig") or {}).get("RoutingStrategy") == "RANDOM",
        serverless=serverless,
        shadow=shadow,
    )


def check_quota(account: Account, endpoint: str, wanted: Iterable[VariantPlan]) -> None:
    """Raises ResourceLimitExceeded when the endpoint, grown to `wanted`, would need more instances of a type than there may be."""
    others = [body for body in account.records.all("endpoint") if body["EndpointName"] != endpoint]
    running = [plan for body in others for plan in (body["Pending"] or body)["Plan"]]
    for instance_type in {plan.instance_type for plan in wanted if plan.instance_type}:
        used = sum(plan["instances"] for plan in running if plan["instance_type"] == instance_type)
        more = sum(plan.instances for plan in wanted if plan.instance_type == instance_type)
        if used + more > QUOTA:
            raise AwsError(
                "ResourceLimitExceeded",
                f"The account-level service limit '{instance_type} for endpoint usage' is {QUOTA} Instances, with current "
                f"utilization of {used} Instances and a request delta of {more} Instances. "
                "Please use AWS Service Quotas to request an increase for this quota.",
            )


def retained(plans: list[VariantPlan], before: list[VariantPlan], excluded: set[str]) -> list[VariantPlan]:
    """The new plans with the weights and instance counts the variants have now, as RetainAllVariantProperties asks."""
    now = {plan.name: plan for plan in before}
    kept = []
    for plan in plans:
        old = now.get(plan.name, plan)
        weight = plan.weight if "DesiredWeight" in excluded else old.weight
        instances = plan.instances if "DesiredInstanceCount" in excluded or plan.serverless else old.instances
        kept.append(replace(plan, weight=weight, instances=instances))
    return kept


def resized(plan: VariantPlan, wanted: Json) -> VariantPlan:
    """The plan with what UpdateEndpointWeightsAndCapacities wants of it; raises AwsError for what it cannot have."""
    count = wanted.get("DesiredInstanceCount", plan.instances)
    changed = wanted.get("ServerlessUpdateConfig", {})
    if plan.serverless and count != plan.instances:
        raise invalid(f"Production variant {plan.name} is serverless: it has no DesiredInstanceCount.")
    if changed and not plan.serverless:
        raise invalid(f"Production variant {plan.name} runs on instances: it has no ServerlessUpdateConfig.")
    if count < 1:
        raise invalid(f"Production variant {plan.name}: DesiredInstanceCount must be at least 1.")
    return replace(
        plan,
        weight=wanted.get("DesiredWeight", plan.weight), instances=count, serverless={**plan.serverless, **changed},
    )  # fmt: skip


def stored(plans: Iterable[VariantPlan]) -> list[dict[str, Any]]:
    return [vars(plan) for plan in plans]


def restored(plans: Iterable[dict[str, Any]]) -> list[VariantPlan]:
    return [VariantPlan(**plan) for plan in plans]
